"""Tokens that explaining and scoring a latent takes, beside published ones: `python -m benchmarks.tokens [--quick]`.

The real `explain --llm` runs over real HTTP on this machine against a scripted judge that misses a fifth of the windows
in which a latent is active and says of a fifth of the others that they fit. Read and written tokens are counted by the
tokenizer of SmolLM2, or where that is not installed by the run's own; of `embedding` they are those of the sentence
encoder. Beside them stands the published accounting of the reference pipeline (Paulo et al. 2024, arXiv:2410.13928) for
100 examples of 32 tokens a latent, and the explanation's 4,000 to 5,000 for 40 of them.

Both are compared at equal standard error: ours are multiplied by the square of our standard error (the jackknife over
documents, as it is reported) over that of the reference. The reference's is that of 100 independent windows with the
same errors: of balanced accuracy by the formula, of AUROC and correlation by the jackknife over windows, of whose
results these are. `--workspace PATH` takes the main run of a workspace (the demo's), which is copied; without it a
smaller one is made first.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.corpus import small_run
from benchmarks.ratios import options, write
from benchmarks.token_costs import Bench, Cost
from sparselex.base.estimates import figure_of
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats
from sparselex.base.workspace import MAIN, Workspace
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.embedding.config import PACKAGED
from sparselex.explain.embedding.encoder import lacking
from sparselex.recipes.run import Run

N_LATENTS, N_LATENTS_QUICK = 20, 4

PUBLISHED = {
    "explanation": 4_500,
    "embedding": 4_000,
    "detection": 17_000 + 240,
    "fuzzing": 19_600 + 249,
    "simulation": 104_900 + 5,
    "simulation_each": 496_900 + 46_700,
}
"""Tokens read and written for a latent; the explanation's are read, the middle of 4,000 and 5,000."""


def equal(name: str, parts: Sequence[tuple[Mapping[int, Cost], int]], words: str) -> Figure:
    """Our tokens at the reference's standard error, over its tokens: all parts together, over the latents that every
    one of them has."""
    latents = sorted(set.intersection(*(set(costs) for costs, _ in parts)))
    sums = np.array([[1.0, *(value for costs, _ in parts for value in costs[latent])] for latent in latents])
    published = sum(one for _, one in parts)

    def statistic(s: Floats) -> Floats:
        each = [s[..., 1 + 3 * place : 4 + 3 * place] for place in range(len(parts))]
        total = sum(one[..., 0] / s[..., 0] * one[..., 1] / one[..., 2] for one in each)
        return np.asarray(total / published)

    return figure_of(
        f"tokens/{name}/ratio",
        sums.reshape(-1, 1 + 3 * len(parts)),
        statistic,
        f"tokens of {words} at equal standard error, over the published ones",
        over="latents",
        better="lower",
    )


class Row(NamedTuple):
    """One way of scoring, or the explanation."""

    name: str
    published: str
    """Whose accounting it is held against."""

    costs: Mapping[int, Cost]
    nulls: float
    """Mean tokens a latent for the null, with the default share of latents."""

    trial: float
    """Tokens of the trial, once for all latents."""

    words: str

    @property
    def tokens(self) -> float:
        """Mean tokens a latent, nulls and trial left out."""
        return float(np.mean([one.tokens for one in self.costs.values()]))

    @property
    def errors(self) -> tuple[float, float]:
        """Our standard error and the reference's, root mean squares over latents."""
        rows = list(self.costs.values())
        return tuple(float(np.sqrt(np.mean([row[place] for row in rows]))) for place in (1, 2))

    def with_nulls(self) -> dict[int, Cost]:
        """The same with a latent's share of the nulls."""
        return {latent: cost._replace(tokens=cost.tokens + self.nulls) for latent, cost in self.costs.items()}

    def ratio(self) -> Figure:
        """Of tokens at equal standard error, without nulls."""
        return equal(self.name, [(self.costs, PUBLISHED[self.published])], self.words)

    def figures(self) -> list[Figure]:
        """All that the table shows."""
        ratio, (ours, theirs) = self.ratio(), self.errors
        assert ratio.value is not None
        with_nulls = ratio.value * (self.tokens + self.nulls) / self.tokens
        plain = {
            "tokens": (self.tokens, "tokens", f"read and written for a latent by {self.words}"),
            "nulls": (
                self.nulls,
                "tokens",
                "the same for the nulls of a fifth of the latents, over all of them",
            ),
            "trial": (self.trial, "tokens", "for the judge's trial, once for all latents"),
            "standard_error": (ours, "", "of its measure; root mean square over latents"),
            "reference_standard_error": (theirs, "", "of 100 independent windows with the same errors"),
            "ratio_with_nulls": (with_nulls, "", "as the ratio, nulls counted with the scores"),
        }
        rows = [
            Figure(name=f"tokens/{self.name}/{name}", value=value, unit=unit, n=len(self.costs), definition=words)
            for name, (value, unit, words) in plain.items()
        ]
        return [*rows, ratio]


SCORERS = ("detection", "fuzzing", "embedding", "simulation")


def measure(bench: Bench) -> tuple[list[Row], Figure]:
    """Every scorer as published, then the ways that differ; and how long windows are."""
    scorers = [name for name in SCORERS if name != "embedding" or not lacking(PACKAGED)]
    server = bench.ask(scorers, check=AskConfig().check)
    trials = {purpose: n for (purpose, what), n in server.spent.items() if what == "trial"}
    costs, window = {name: bench.costs(name) for name in scorers}, bench.window()
    explained = {latent: Cost(n) for latent, n in bench.tokens("").items()}
    alone = {name: _mean(bench.tokens(name)) for name in scorers}
    bench.ask(scorers, null_share=AskConfig().null_share)
    nulls = {name: _mean(bench.tokens(name)) - alone[name] for name in scorers}
    rows = [Row("explanation", "explanation", explained, 0.0, 0.0, "writing an explanation from 40 windows")]
    for name in scorers:
        trial = bench.encoded_in_trial() if name == "embedding" else trials.get(name, 0)
        words = f"{name}, 50 active and 50 silent windows"
        rows.append(Row(name, name, costs[name], nulls[name], trial, words))
    return [*rows, *_otherwise(bench, rows)], window


def _otherwise(bench: Bench, rows: Sequence[Row]) -> list[Row]:
    """Other ways to ask."""
    bench.ask(("detection",), strengths=False)
    bare = {latent: Cost(n) for latent, n in bench.tokens("").items()}
    found = [Row("explanation_bare", "explanation", bare, 0.0, 0.0, "writing an explanation without strengths")]
    for name, given, words in (
        ("defaults", {"silent": 30, "hard": 20}, "50 active, 30 silent windows and 20 that are easily mistaken"),
        ("looks", {"looks": 5, "until_better": True}, "looking five times, until it is surely better than a guess"),
    ):
        bench.ask(("detection", "fuzzing"), **given)
        found += [
            Row(f"{judge}_{name}", judge, bench.costs(judge), 0.0, 0.0, f"{judge}, {words}")
            for judge in ("detection", "fuzzing")
        ]
    at_once = next(row for row in rows if row.name == "simulation")
    few = {"latents": max(2, bench.n // 10)}
    bench.ask(("simulation",), continues=False, **few)
    written = _as(at_once, bench.tokens("simulation"))
    found.append(Row("simulation_written", "simulation", written, 0.0, 0.0, "simulation, digits written in one answer"))
    bench.ask(("simulation",), token_by_token=True, **few)
    each = _as(at_once, bench.tokens("simulation"))
    found.append(Row("simulation_each", "simulation_each", each, 0.0, 0.0, "simulation token by token"))
    return found


def _as(row: Row, tokens: Mapping[int, float]) -> dict[int, Cost]:
    """Other tokens for the same results: the mean of some latents, which hardly differ, for all."""
    return {latent: cost._replace(tokens=_mean(tokens)) for latent, cost in row.costs.items()}


def _mean(tokens: Mapping[int, float]) -> float:
    return float(np.mean(list(tokens.values()))) if tokens else 0.0


def together(rows: Sequence[Row]) -> list[Figure]:
    """The explanation and every scorer as published, in one figure; and in one with the nulls."""
    main = [row for row in rows if row.name in ("explanation", *SCORERS)]
    words = "the explanation and all of these scorers together"
    own = [(row.costs, PUBLISHED[row.published]) for row in main]
    more = [(row.with_nulls(), PUBLISHED[row.published]) for row in main]
    return [equal("together", own, words), equal("together_with_nulls", more, f"{words}, with nulls")]


def show(rows: Sequence[Row], whole: Sequence[Figure], title: str) -> None:
    """Print one table, a scorer a row."""
    table = Table(title=title, title_justify="left")
    columns = ("scorer", "tokens", "nulls", "trial", "SE", "SE, 100 windows", "at equal SE", "published", "ratio")
    for column in (*columns, "with nulls", "half?"):
        table.add_column(column, justify="left" if column == "scorer" else "right")
    for row in rows:
        named = {figure.name.rpartition("/")[2]: figure for figure in row.figures()}
        ratio, (ours, theirs) = named["ratio"].value or 0.0, row.errors
        errors = ("", "") if row.published == "explanation" else (f"{ours:.4f}", f"{theirs:.4f}")
        cells = (f"{row.tokens:,.0f}", f"{row.nulls:,.0f}", f"{row.trial:,.0f}", *errors)
        at_equal = f"{ratio * PUBLISHED[row.published]:,.0f}"
        with_nulls = named["ratio_with_nulls"].value
        shown = (f"{PUBLISHED[row.published]:,}", _spread(named["ratio"]), f"{with_nulls:.2f}")
        table.add_row(row.name, *cells, at_equal, *shown, "yes" if ratio <= 0.5 else "no")
    published = sum(PUBLISHED[row.published] for row in rows if row.name in ("explanation", *SCORERS))
    is_half = "yes" if (whole[0].value or 1) <= 0.5 else "no"
    table.add_row("together", *[""] * 6, f"{published:,}", _spread(whole[0]), f"{whole[1].value:.2f}", is_half)
    Console(width=170).print(table)


def _spread(figure: Figure) -> str:
    ends = "" if figure.ci_low is None else f" ({figure.ci_low:.2f} to {figure.ci_high:.2f})"
    return f"{figure.value:.2f}{ends}"


def main() -> None:
    """Entry point."""
    given = options(__doc__, workspace="take the main run of this workspace, which is copied")
    with tempfile.TemporaryDirectory(prefix="sparselex-benchmark-") as folder:
        copy = Path(folder) / "workspace"
        if given.workspace:
            shutil.copytree(given.workspace, copy)
        run = Run.open(Workspace(copy), MAIN) if given.workspace else small_run(None, Path(folder), given.quick)
        bench = Bench(run, N_LATENTS_QUICK if given.quick else N_LATENTS)
        rows, window = measure(bench)
    whole = together(rows)
    title = f"Tokens a latent, {bench.n} latents, counted by {bench.counted_by}: {window.value:.1f} a window of 32"
    show(rows, whole, title)
    write([*(figure for row in rows for figure in row.figures()), *whole, window], given.json)


if __name__ == "__main__":
    main()
