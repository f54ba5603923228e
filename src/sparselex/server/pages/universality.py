"""`/runs/<run>/universality`: which features of a run are there again in others, beside neurons and chance."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from sparselex.atlas.universality.records import KIND, PAPER, OtherRun, Universal, Universality
from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.base.runs import RunCard
from sparselex.base.seeds import generator
from sparselex.server.charts import Chart
from sparselex.server.correlations import (
    Marks,
    activations_against,
    correlation_chart,
    edges_from,
    scatter,
    shares,
)
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, NotMadeYet, Page, PageRecord
from sparselex.server.pages.beside import LookedAt, looked_at
from sparselex.server.pages.brief import LatentView, brief
from sparselex.server.pages.feature import Latent
from sparselex.server.pages.in_others import universal_of

PER_PAGE = 25
N_DRAWN = 600
"""Latents in the plot; of more, so many are drawn at random."""

N_PLACES = 400
"""Tokens in the plot of a pair; of more, so many are drawn at random."""

Order = Literal["known", "most", "least"]
"""The best explained first, the most universal, or the least."""


class MatchRow(Config):
    """A latent and its match."""

    own: LatentView
    """The latent."""

    other: LatentView | None
    """Its match; None where there is none, or its run is gone."""

    r: float | None
    """Correlation of their activations on test documents."""

    null: float | None
    """The same of its best match under the null."""

    attribution: float | None
    """Correlation of what they do to the next token."""

    logit: float | None
    """Correlation of their logit weights."""

    neuron: int | None
    """The nearest neuron of the other model."""

    neuron_r: float | None
    """Correlation with it."""

    mutual: bool
    """Whether each is the other's best match."""


class PairView(Config):
    """A latent and its match side by side."""

    row: MatchRow
    """What was measured."""

    left: LookedAt | None
    """The latent with examples."""

    right: LookedAt | None
    """Its match."""

    n_either: int
    """Counted tokens of test documents on which either is active."""

    n_both: int
    """Those on which both are."""

    places: list[tuple[float, float]]
    """Activations of both on some of them."""

    def plot(self) -> Marks | None:
        """These as marks."""
        if not self.places:
            return None
        return activations_against(self.places, (max(x for x, _ in self.places), max(y for _, y in self.places)))


class UniversalityPage(PageRecord):
    """`/runs/<run>/universality`: which features of a run are there again in others."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    run: RunCard
    """What the run says of itself."""

    found: Universality
    """What was measured."""

    other: OtherRun
    """The run that is looked at beside it."""

    compared: bool
    """Whether the two runs have a page of their comparison."""

    paper: dict[str, float]
    """What the 2023 paper gives, by the name of a figure."""

    low: float
    """Where the first bin of the histograms begins."""

    histograms: dict[str, tuple[str, list[float]]]
    """By kind (features, neurons, chance), what is said of it and the share in each bin of correlation."""

    drawn: list[tuple[int, float, float, float]]
    """Latents in the plot: number, correlation of activations, of attributions, and of those with another match."""

    order: Order
    """What comes first in the table."""

    rows: list[MatchRow]
    """One page of latents with their matches."""

    n_found: int
    """How many were compared."""

    page: int
    """Number of this page, from 1."""

    n_pages: int
    """Number of pages."""

    pair: PairView | None
    """The pair that is looked at."""

    state: dict[str, str]
    """What the address says of all this."""

    def chart(self) -> Chart:
        """The histograms as shapes."""
        return correlation_chart(self.histograms, self.low, cut="chance")

    def scatter(self) -> Marks | None:
        """The plot as shapes."""
        found = [(f"{latent}: {r:.2f} and {a:.2f}", r, a) for latent, r, a, _ in self.drawn]
        null = [(f"{latent} with another’s match: {a:.2f}", r, a) for latent, r, _, a in self.drawn]
        return scatter(found, null)

    def figure(self, name: str) -> Figure | None:
        """A figure of the run looked at."""
        return self.other.figure(name)


def universality_page(
    opened: OpenWorkspace,
    run: str,
    other: str = "",
    order: Order = "known",
    page: PositiveInt = 1,
    latent: Latent | None = None,
) -> UniversalityPage:
    """How universal a run's latents are. Raises `NotMadeYet` where that was not measured of the index that the run has
    now, `NoSuchPage` for a run beside it or a latent that there is not."""
    card, universal = opened.card(run), universal_of(opened, run)
    if universal is None or opened.stale(run, KIND):
        raise NotMadeYet(
            f"How universal the latents of run {run!r} are was not measured of its index.",
            "a run of which it was",
            f"run `sparselex analyse universality {opened.workspace.typed} --run {run}`.",
        )
    found = universal.found
    beside = found.other(other) if other else found.others[0]
    if beside is None:
        names = ", ".join(one.run for one in found.others)
        raise NoSuchPage(f"Run {run!r} was not held against {other!r}.", f"one of {names}", "choose one of these.")
    table = universal.latents(beside.run)
    rows = _ordered(opened, run, table, order)
    n_pages = max(1, -(-len(rows) // PER_PAGE))
    page = min(page, n_pages)
    there = opened.still_indexed(beside.run, beside.index)
    low, histograms = _histograms(universal, beside)
    said = {"other": other, "order": order, "latent": latent}
    return UniversalityPage(
        title=f"{run}: universality",
        typed=opened.workspace.typed,
        run=card,
        found=found,
        other=beside,
        compared=there and any(opened.has(*two) for two in _comparisons(run, beside.run)),
        paper=PAPER,
        low=low,
        histograms=histograms,
        drawn=_drawn(table),
        order=order,
        rows=[
            _row(opened, run, beside, table, int(row), there=there) for row in rows[(page - 1) * PER_PAGE :][:PER_PAGE]
        ],
        n_found=len(rows),
        page=page,
        n_pages=n_pages,
        pair=None if latent is None else _pair(opened, run, beside, table, latent, there=there),
        state={name: str(value) for name, value in said.items() if value not in (None, "")},
    )


PAGE = Page(path="/runs/{run}/universality", build=universality_page, template=TEMPLATES / "universality.html")


def _comparisons(run: str, other: str) -> list[tuple[str, str]]:
    return [(run, f"compare-{other}"), (other, f"compare-{run}")]


def _ordered(opened: OpenWorkspace, run: str, table: dict[str, NDArray], order: Order) -> NDArray[np.int64]:
    """Latents that were compared, in order."""
    rows = np.flatnonzero(np.isfinite(table["r"]))
    if order == "known":
        scores = opened.explained.headlines(opened.index(run).index).score[rows]
        return rows[np.lexsort((-table["r"][rows], -np.nan_to_num(scores, nan=-np.inf)))]
    values = table["r"][rows]
    return rows[np.argsort(-values if order == "most" else values, kind="stable")]


def _row(
    opened: OpenWorkspace, run: str, other: OtherRun, table: dict[str, NDArray], latent: int, *, there: bool
) -> MatchRow:
    match, neuron = int(table["match"][latent]), int(table["neuron"][latent]) if "neuron" in table else -1
    known = lambda name: _known(table[name][latent]) if name in table else None
    return MatchRow(
        own=brief(opened, run, latent),
        other=brief(opened, other.run, match) if there and match >= 0 else None,
        r=known("r"),
        null=known("null"),
        attribution=known("attribution"),
        logit=known("logit"),
        neuron=neuron if neuron >= 0 else None,
        neuron_r=known("neuron_r"),
        mutual=bool(table["mutual"][latent]),
    )


def _pair(
    opened: OpenWorkspace, run: str, other: OtherRun, table: dict[str, NDArray], latent: int, *, there: bool
) -> PairView:
    left = looked_at(opened, run, latent)  # refuses a number that is no latent
    row = _row(opened, run, other, table, latent, there=there)
    match = row.other.latent if row.other else None
    right = looked_at(opened, other.run, match) if match is not None else None
    places = _together(opened, (run, other.run), (latent, match)) if match is not None else np.zeros((0, 2))
    drawn = places
    if len(places) > N_PLACES:
        chosen = generator(0, "pair", latent).choice(len(places), N_PLACES, replace=False)
        drawn = places[np.sort(chosen)]
    return PairView(
        row=row,
        left=left,
        right=right,
        n_either=len(places),
        n_both=int((places != 0).all(axis=1).sum()),
        places=[(float(x), float(y)) for x, y in drawn],
    )


def _together(opened: OpenWorkspace, runs: tuple[str, str], latents: tuple[int, int]) -> NDArray[np.float64]:
    """`[n, 2]`, activations of both latents on the tokens of test documents that both indexes counted and on which
    either is active."""
    indexes = [opened.index(run).index for run in runs]
    columns = [index.split_column(latent, "test") for index, latent in zip(indexes, latents, strict=True)]
    every = np.union1d(columns[0][0], columns[1][0])
    every = every[np.logical_and.reduce([index.counted[every] for index in indexes])]
    found = np.zeros((len(every), 2))
    for side, (positions, values) in enumerate(columns):
        _, at, own = np.intersect1d(every, positions, return_indices=True)
        found[at, side] = values[own]
    return found


def _histograms(found: Universal, other: OtherRun) -> tuple[float, dict[str, tuple[str, list[float]]]]:
    """Where the bins begin, and by kind what is said of it and its shares."""
    table, neurons = found.latents(other.run), found.neurons(other.run)
    kinds = {"features": (table["r"], "latents"), "neurons": (neurons.get("r", np.zeros(0)), "neurons")}
    kinds["chance"] = (table["null"], "latents, shifted")
    known = {name: (values[np.isfinite(values)], of) for name, (values, of) in kinds.items()}
    least = min((float(values.min()) for values, _ in known.values() if len(values)), default=0.0)
    low = max(-1.0, min(0.0, np.floor(least * 4) / 4))
    edges = edges_from(float(low))
    return float(low), {
        name: (f"median {np.median(values):.2f} of {len(values):,} {of}", shares(values.tolist(), edges))
        for name, (values, of) in known.items()
        if len(values)
    }


def _drawn(table: dict[str, NDArray]) -> list[tuple[int, float, float, float]]:
    """Latents for the plot."""
    if "attribution" not in table:
        return []
    columns = [table[name] for name in ("r", "attribution", "attribution_null")]
    rows = np.flatnonzero(np.logical_and.reduce([np.isfinite(one) for one in columns]))
    if len(rows) > N_DRAWN:
        rows = np.sort(generator(0, "plot").choice(rows, N_DRAWN, replace=False))
    r, attribution, null = (one[rows].astype(float).tolist() for one in columns)
    return list(zip(rows.tolist(), r, attribution, null, strict=True))


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
