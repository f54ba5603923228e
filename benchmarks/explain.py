"""Rules of all kinds against those of the token and the one before it: latents a second, and what they gain.

Each latent is searched for twice, as it is and shifted, and its rule is scored, as `sparselex explain` does, in one
process. At 4,096 latents and a million tokens the goal is 100 latents a second on two cores. `--workspace PATH` takes
the main run of a workspace (the demo's); without it a smaller one is made first.

`--ablate all`, or a list such as `--ablate gaps,next`, tells instead what each family of kinds is for: the same latents
are explained without it, and what that changes stands beside the interval of a paired bootstrap over latents. A kind
behind one that is left out costs a little less, as its place in the list comes sooner.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.corpus import small_run
from benchmarks.ratios import interleaved, options, ratio, show
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.keys import KeyTable
from sparselex.explain.kinds import KINDS, RECENT, SIMPLEST, Kind
from sparselex.explain.records import Explanation
from sparselex.explain.rules import DEPTH, Rule
from sparselex.explain.scorers.exact import ExactScorer
from sparselex.explain.search import RuleSearch, beats
from sparselex.features.index import FeatureIndex

N_LATENTS, N_LATENTS_QUICK, N_ABLATED = 300, 60, 1000
N_RESAMPLES, LEAST = 2000, 10
"""Bootstrap samples, and latents below which they say nothing."""

FAMILIES: dict[str, tuple[Kind, ...]] = {
    "spelling": ("spelling", "spelling before"),
    "affixes": ("prefix of 2", "prefix of 3", "suffix of 2", "suffix of 3"),
    "shapes": ("shape", "shape before"),
    "shape with token": ("token after shape", "shape after token"),
    "gaps": ("gap of 2", "gap of 3", "gap of 4"),
    "token after gap": ("token after gap",),
    "next": ("next",),
    "place in line": ("place in line",),
    "indentation": ("indentation",),
    "place in row": ("place in row",),
    "recent": (RECENT,),
}
LISTS = "lists"
"""Not kinds but the tables in front of the last."""


class Found(NamedTuple):
    """The rule of a latent, its F1 on test documents and that of its null."""

    rule: Rule
    f1: float
    null: float


class Bench:
    """Some latents of an index, explained by one search and scored."""

    def __init__(self, index: FeatureIndex, search: RuleSearch, latents: list[int]):
        self.evidence, self.search, self.latents = Evidence(index), search, latents
        self.scorer = ExactScorer(HeldOut(index), ExplainConfig())

    def run(self) -> dict[int, Found]:
        """What every latent that has a rule has."""
        found = {}
        for latent in self.latents:
            train, validation = self.evidence.train, self.evidence.validation
            chosen = self.search.best(train.column(latent), validation.column(latent))
            null = self.search.best(train.shifted(latent), validation.shifted(latent))
            if chosen is not None and beats(chosen, null):
                predictor = chosen.rule.to_json() | {"null": null.rule.to_json() if null else None}
                words = {"explainer": "rule", "status": "explained", "text": "x", "title": "x"}
                scored = self.scorer.score(Explanation(latent=latent, predictor=predictor, **words))
                f1 = next(score for score in scored.scores if score.metric == "f1")
                found[latent] = Found(chosen.rule, f1.value, f1.null or 0.0)
        return found


def per_second(name: str, seconds: np.ndarray, n: int, of: str) -> Figure:
    """Latents a second: median over rounds, with the slowest and the fastest."""
    each = n / seconds
    words = f"latents a second, {of}; median over rounds"
    return Figure(
        name=f"explain/{name}/speed",
        value=float(np.median(each)),
        ci_low=float(each.min()),
        ci_high=float(each.max()),
        n=len(each),
        definition=words,
    )


def gains(results: dict[str, dict[int, Found]], n: int) -> list[Figure]:
    """Share that is explained, and median F1 and mean null over what both explain."""
    both = sorted(set.intersection(*(set(found) for found in results.values())))
    figures = []
    for name, found in results.items():
        f1, null = np.array([found[latent][1:] for latent in both]).T
        figures += [
            Figure(name=f"explain/{name}/explained_share", value=len(found) / n, n=n, definition="share with a rule"),
            Figure(
                name=f"explain/{name}/f1",
                value=float(np.median(f1)),
                n=len(both),
                definition="median F1 on test documents, over latents that both explain",
            ),
            Figure(
                name=f"explain/{name}/null",
                value=float(null.mean()),
                n=len(both),
                definition="mean F1 of the rule found for shifted activations, over the same",
            ),
        ]
    return figures


def speed(index: FeatureIndex, tables: list[KeyTable], latents: list[int], of: str, n_rounds: int) -> list[Figure]:
    """Latents a second by the simplest kinds and by all, and what the others gain."""
    simple = Bench(index, RuleSearch(*tables, SIMPLEST, depth=1), latents)
    complete = Bench(index, RuleSearch(*tables), latents)
    results: dict[str, dict[int, Found]] = {}
    acts = {
        "simple": lambda: results.update(simple=simple.run()),
        "all": lambda: results.update(all=complete.run()),
    }
    times = interleaved(acts, n_rounds)
    words = "seconds with the token, the one before it and both / with every kind and lists of three"
    figures = [per_second(name, times[name], len(latents), of) for name in times]
    figures.append(ratio("explain/all against simple", times["simple"], times["all"], words))
    return figures + gains(results, len(latents))


def ablation(index: FeatureIndex, tables: list[KeyTable], latents: list[int], families: Sequence[str]) -> list[Figure]:
    """What leaving out each family changes."""
    complete, figures = Bench(index, RuleSearch(*tables), latents).run(), []
    for name in families:
        kinds = [kind for kind in KINDS if kind not in FAMILIES.get(name, ())]
        search = RuleSearch(*tables, kinds, depth=1 if name == LISTS else DEPTH)
        figures += losses(name, latents, complete, Bench(index, search, latents).run())
    return figures


def losses(name: str, latents: list[int], complete: dict[int, Found], without: dict[int, Found]) -> list[Figure]:
    """What leaving out one family changes. Which rules have a table of it was settled on validation documents, so that
    test documents tell fairly what it does for these."""
    prefix, results = f"explain/without {name}", (complete, without)
    used = {latent for latent, found in complete.items() if _uses(found.rule, name)}
    explained = np.array([[latent in found for found in results] for latent in latents], dtype=np.float64)
    both = sorted(complete.keys() & without.keys())
    f1, null = np.moveaxis(np.array([[found[latent][1:] for found in results] for latent in both]), 2, 0)
    f1_used = f1[[latent in used for latent in both]]
    words = "share of the rules of all kinds that have such a table"
    share = len(used) / max(1, len(complete))
    measured = {
        "f1": (f1, np.median, "change of the median F1 on test documents, where both explain"),
        "f1_where_used": (f1_used, np.mean, "change of the mean F1 of latents whose rule has such a table"),
        "explained_share": (explained, np.mean, "change of the share with a rule"),
        "null": (null, np.mean, "change of the mean F1 for shifted activations, where both explain"),
    }
    return [
        Figure(name=f"{prefix}/used_share", value=share, n=len(complete), definition=words),
        *(changed(f"{prefix}/{end}", *what) for end, what in measured.items() if len(what[0]) >= LEAST),
    ]


def changed(name: str, pairs: Floats, statistic: Callable[..., Floats], definition: str) -> Figure:
    """By how much a statistic of `[n, 2]` values of the same latents, with all and without a family, changes; with the
    interval of a bootstrap over latents."""
    draws = np.random.default_rng(0).integers(0, len(pairs), (N_RESAMPLES, len(pairs)))
    value, *resampled = np.diff(statistic(np.concatenate([pairs[None], pairs[draws]]), axis=1))[:, 0].tolist()
    low, high = np.quantile(resampled, (0.025, 0.975)).tolist()
    return Figure(name=name, value=value, ci_low=low, ci_high=high, n=len(pairs), definition=definition)


def _uses(rule: Rule, name: str) -> bool:
    return bool(rule.first) if name == LISTS else any(clause.kind in FAMILIES[name] for clause in rule.clauses)


def named(text: str) -> list[str]:
    """The families that `--ablate` names."""
    known = [*FAMILIES, LISTS]
    found = known if text == "all" else text.split(",")
    if unknown := [name for name in found if name not in known]:
        raise UserError(
            f"--ablate names {', '.join(unknown)}.",
            f"`all`, or some of {', '.join(known)}, with commas between them",
            "name one of these.",
        )
    return found


if __name__ == "__main__":
    arguments = options(
        __doc__,
        workspace="take the main run of this workspace",
        ablate="leave out each of these families of kinds, or of `all`",
    )
    families = named(arguments.ablate) if arguments.ablate else []
    folder = Path(tempfile.mkdtemp(prefix="sparselex-benchmark-"))
    index = small_run(Path(arguments.workspace) if arguments.workspace else None, folder, arguments.quick).index
    alive = np.flatnonzero(index.table["train_n_active"] >= ExplainConfig().min_active)
    most = N_LATENTS_QUICK if arguments.quick else N_ABLATED if families else N_LATENTS
    n = min(len(alive), most)
    latents = np.random.default_rng(0).permutation(alive)[:n].tolist()
    tables = [KeyTable(index.counted_tokens(split)) for split in ("train", "validation")]
    of = f"{n} of {len(alive):,} on {index.n_tokens['train']:,} training tokens, one process"
    if families:
        show("Without some kinds of rules", ablation(index, tables, latents, families), arguments.json)
    else:
        show("Rules", speed(index, tables, latents, of, 2 if arguments.quick else 5), arguments.json)
