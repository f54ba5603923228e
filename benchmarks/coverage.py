"""How often intervals hold what they should: `python -m benchmarks.coverage [--quick] [--workspace PATH]`.

Takes the documents of a workspace's training and test splits for all there are, draws some of them again and again,
and asks whether the interval made of those holds the figure of all. Without `--workspace` it first makes one.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.corpus import small_run
from sparselex.activations.live import Reader, spread
from sparselex.base.figures import Figure
from sparselex.base.intervals import LEAST_DOCUMENTS, LEAST_UNITS, Floats, Jackknife, effective_units, jackknife
from sparselex.evaluate.core import core_sums
from sparselex.evaluate.core_figures import core_estimates, pooled
from sparselex.evaluate.metrics import SiteSums
from sparselex.evaluate.moments import moments
from sparselex.evaluate.subjects import Itself
from sparselex.explain.evidence import SplitEvidence
from sparselex.explain.keys import KeyTable
from sparselex.explain.measures import confusion, f1_of
from sparselex.explain.overall import Tally, counts
from sparselex.explain.rules import Rule, rule_of
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.run import Run

N_DOCUMENTS = (20, 40, 60, 80, 105)
EVEN_ROWS = 600
"""Rows that an evaluation looks at by default: with them, no document is more than twice its even share."""

N_LATENTS = 300


def document_sums(run: Run, n_rows: int) -> SiteSums:
    """Core sums of every document in rows spread over training and test."""
    reader = Reader(run.model, run.corpus, run.sites, batch_rows=16)
    ranges = run.corpus.row_ranges
    rows = np.concatenate([spread(ranges["train"], n_rows), spread(ranges["test"], n_rows // 4)])
    sums = core_sums(reader, {"it": Itself(run.dictionary)}, moments(reader, 512).mean, rows)
    return pooled(sums["it"])


def even(sums: SiteSums, most: float) -> SiteSums:
    """The same where no document counts for more than `most` tokens."""
    weight = np.minimum(1.0, most / np.maximum(sums["n"], 1.0))
    return {name: (part.T * weight).T for name, part in sums.items()}


def covered(
    draw: Callable[[NDArray[np.int64]], dict[str, Jackknife]],
    n_all: int,
    n: int,
    n_draws: int,
    least: float,
    *,
    share: bool = False,
) -> dict[str, tuple[float, int]]:
    """By figure, the share of intervals of `n` documents that hold the figure of all, and how many were given."""
    truth, rng = draw(np.arange(n_all)), np.random.default_rng(n)
    hits: dict[str, list[bool]] = {}
    for _ in range(n_draws):
        for name, found in draw(rng.choice(n_all, n, replace=False)).items():
            interval = found.interval(least, share=share)
            if np.isfinite(interval.low):
                hits.setdefault(name, []).append(interval.low <= truth[name].value <= interval.high)
    return {name: (float(np.mean(found)), len(found)) for name, found in hits.items()}


def core_coverage(sums: SiteSums, n_ctx: int, n_draws: int) -> list[Figure]:
    """Coverage of the intervals of core figures, with rows of `n_ctx` tokens."""
    kept = sums["n"] > 0
    sums, n_all = {name: part[kept] for name, part in sums.items()}, int(kept.sum())
    found = []
    for n in N_DOCUMENTS:
        most = 2 * EVEN_ROWS * n_ctx / n  # tokens of a document at most, as in an evaluation of `n` test documents
        fair = even(sums, min(most, float(sums["n"].max())))

        def draw(chosen: NDArray[np.int64], fair: SiteSums = fair) -> dict[str, Jackknife]:
            drawn = {name: part[chosen] for name, part in fair.items()}
            return {one.figure.name: one.jackknife for one in core_estimates(drawn)}

        of_n = np.median([effective_units(fair["n"][_some(n_all, n, seed)]) for seed in range(50)])
        for name, (value, given) in covered(draw, n_all, n, n_draws, 0.0).items():
            words = (
                f"share of 95 % intervals of {n} documents (as many as {of_n:.0f} of one size) that hold the figure "
            )
            words += f"of all {n_all}; given in a report from {LEAST_DOCUMENTS:.0f} such documents"
            figure = Figure(
                name=f"coverage/{name}/{n}", value=value, n=given, n_effective=float(of_n), definition=words
            )
            found.append(figure)
    return found


def f1_coverage(run: Run, n_draws: int) -> list[Figure]:
    """Coverage of the intervals of single rules' F1, by how many documents speak of them."""
    evidence = SplitEvidence(run.index, "train", 0)
    table = KeyTable(evidence.tokens)
    rules = [e for e in ExplanationStore(run.workspace.database).all(run.index.id, "rule") if e.status == "explained"]
    rng = np.random.default_rng(0)
    hits: dict[int, list[bool]] = {}
    for number in rng.permutation(len(rules))[:N_LATENTS]:
        rule = rules[number]
        counts = confusion(Rule.of(rule.predictor or {}), table, evidence.column(rule.latent))
        per_document: Floats = np.stack(counts, axis=1).astype(float)
        truth = float(f1_of(per_document.sum(0)))
        for _ in range(max(1, n_draws // 50)):
            drawn = per_document[rng.choice(len(per_document), min(105, len(per_document)), replace=False)]
            sizes = drawn[:, 1] + drawn[:, 2]
            found = jackknife(drawn, f1_of, sizes)
            interval = found.interval(LEAST_UNITS, share=True)
            if np.isfinite(interval.low):
                bin_of = next(low for low in (40, 20, 10, 5) if found.n_effective >= low)
                hits.setdefault(bin_of, []).append(interval.low <= truth <= interval.high)
    return [
        Figure(
            name=f"coverage/explain/rule/f1/{low}",
            value=float(np.mean(given)),
            n=len(given),
            definition=f"share of 95 % intervals of one rule's F1 that hold its F1 on all documents, where as many as "
            f"{low} documents of one size or more speak of it",
        )
        for low, given in sorted(hits.items())
    ]


def overall_coverage(run: Run, n_draws: int) -> list[Figure]:
    """Coverage of the intervals of figures over all latents: latents and documents are drawn together."""
    evidence = SplitEvidence(run.index, "train", 0)
    table, rng = KeyTable(evidence.tokens), np.random.default_rng(1)
    said = ExplanationStore(run.workspace.database).all(run.index.id, "rule")
    pool = [said[number] for number in rng.permutation(len(said))[: 4 * N_LATENTS]]
    each = [counts(rule_of(one.predictor), table, evidence.column(one.latent)) for one in pool]
    sizes = table.counted.per_document
    hits: dict[str, list[bool]] = {}

    def told(latents: NDArray[np.int64], documents: NDArray[np.int64]) -> list[Figure]:
        tally = Tally(sizes[documents])
        for latent in latents:
            tally.add(each[latent][documents])
        return tally.figures("explain/rule", against_others=False)

    truth = {figure.name: figure.value for figure in told(np.arange(len(each)), np.arange(len(sizes)))}
    for _ in range(max(20, n_draws // 4)):
        documents = rng.choice(len(sizes), min(105, len(sizes)), replace=False)
        for figure in told(rng.choice(len(each), N_LATENTS, replace=False), documents):
            if figure.ci_low is not None and figure.ci_high is not None:
                is_held = figure.ci_low <= (truth[figure.name] or 0.0) <= figure.ci_high
                hits.setdefault(figure.name, []).append(is_held)
    words = (
        f"share of 95 % intervals of {N_LATENTS} latents on 105 documents that hold the figure of {len(each)} latents"
    )
    return [
        Figure(name=f"coverage/{name}", value=float(np.mean(given)), n=len(given), definition=f"{words} latents on all")
        for name, given in hits.items()
    ]


def _some(n_all: int, n: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).choice(n_all, n, replace=False)


def show(figures: list[Figure]) -> None:
    """Print the one table."""
    table = Table(title="coverage of 95 % intervals", title_justify="left")
    for column in ("figure", "coverage", "documents of one size", "intervals"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for figure in figures:
        effective = f"{figure.n_effective:.0f}" if figure.n_effective else ""
        table.add_row(figure.name, f"{figure.value:.3f}", effective, f"{figure.n:,}")
    Console(width=120).print(table)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rows and draws")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there as well")
    parser.add_argument("--workspace", type=Path, metavar="PATH", help="draw from this one's documents")
    options = parser.parse_args()
    n_rows, n_draws = (600, 200) if options.quick else (4_000, 1_000)
    with tempfile.TemporaryDirectory() as folder:
        run = small_run(options.workspace, Path(folder), options.quick)
        figures = core_coverage(document_sums(run, n_rows), run.corpus.n_ctx, n_draws)
        figures += f1_coverage(run, n_draws) + overall_coverage(run, n_draws)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps([figure.to_json() for figure in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
