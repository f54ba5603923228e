"""Rules of all kinds against those of the token and the one before it: latents a second, and what they gain.

Each latent is searched for twice, as it is and shifted, and its rule is scored, as `sparselex explain` does, in one
process. At 4,096 latents and a million tokens the goal is 100 latents a second on two cores. `--workspace PATH` takes
the main run of a workspace (the demo's); without it a smaller one is made first.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.corpus import small_run
from benchmarks.ratios import interleaved, options, ratio, show
from sparselex.base.figures import Figure
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.keys import KeyTable
from sparselex.explain.kinds import KINDS, SIMPLEST
from sparselex.explain.records import Explanation
from sparselex.explain.scorers.exact import ExactScorer
from sparselex.explain.search import RuleSearch, beats
from sparselex.features.index import FeatureIndex

N_LATENTS, N_LATENTS_QUICK = 300, 60


class Bench:
    """Some latents of an index, explained by one search and scored."""

    def __init__(self, index: FeatureIndex, search: RuleSearch, latents: list[int]):
        self.evidence, self.search, self.latents = Evidence(index), search, latents
        self.scorer = ExactScorer(HeldOut(index), ExplainConfig())

    def run(self) -> dict[int, tuple[float, float]]:
        """F1 and its null of every latent that has a rule."""
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
                found[latent] = f1.value, f1.null or 0.0
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


def gains(results: dict[str, dict[int, tuple[float, float]]], n: int) -> list[Figure]:
    """Share that is explained, and median F1 and mean null over what both explain."""
    both = sorted(set.intersection(*(set(found) for found in results.values())))
    figures = []
    for name, found in results.items():
        f1, null = np.array([found[latent] for latent in both]).T
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


if __name__ == "__main__":
    arguments = options(__doc__, workspace="take the main run of this workspace")
    folder = Path(tempfile.mkdtemp(prefix="sparselex-benchmark-"))
    index = small_run(Path(arguments.workspace) if arguments.workspace else None, folder, arguments.quick).index
    alive = np.flatnonzero(index.table["train_n_active"] >= ExplainConfig().min_active)
    n = min(len(alive), N_LATENTS_QUICK if arguments.quick else N_LATENTS)
    latents = np.random.default_rng(0).permutation(alive)[:n].tolist()
    train, validation = (KeyTable(index.counted_tokens(split)) for split in ("train", "validation"))
    simple = Bench(index, RuleSearch(train, validation, SIMPLEST, depth=1), latents)
    complete = Bench(index, RuleSearch(train, validation, tuple(KINDS)), latents)
    results: dict[str, dict[int, tuple[float, float]]] = {}
    times = interleaved(
        {
            "simple": lambda: results.update(simple=simple.run()),
            "all": lambda: results.update(all=complete.run()),
        },
        2 if arguments.quick else 5,
    )
    of = f"{n} of {len(alive):,} on {index.n_tokens['train']:,} training tokens, one process"
    figures = [per_second(name, times[name], n, of) for name in times]
    words = "seconds with the token, the one before it and both / with every kind and lists of three"
    figures.append(ratio("explain/all against simple", times["simple"], times["all"], words))
    show("Rules", [*figures, *gains(results, n)], arguments.json)
