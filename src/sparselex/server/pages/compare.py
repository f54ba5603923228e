"""`/runs/<run>/compare/<other>`: the dictionaries of two runs beside each other."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from sparselex.atlas.compare.records import MEASURES, Compared, Comparison, Measure, Side, folder_name
from sparselex.base.config import Config
from sparselex.base.figures import FIGURES, Figure, Figures
from sparselex.base.runs import RunCard
from sparselex.base.seeds import generator
from sparselex.explain.pairs import said_of
from sparselex.explain.store import ExplanationStore
from sparselex.server.likeness import Likeness, Pair, likeness
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, Page, PageRecord
from sparselex.server.pages.beside import LookedAt, looked_at
from sparselex.server.pages.brief import LatentView, brief
from sparselex.server.pages.feature import Latent
from sparselex.server.pages.features import Order
from sparselex.server.stamps import database_stamps

PER_PAGE = 25
N_DRAWN = 600
"""Latents in the plot; of more, so many are drawn at random."""

N_PARTS = 5
"""Parts of a latent that are shown."""

Show = Literal["pairs", "a", "b", "parts-a", "parts-b"]
"""The pairs of the one-to-one matching, what only one side has, and what one side has in parts on the other."""


class PairRow(Config):
    """Two latents."""

    own: LatentView
    """That of the first run, or of the side that is looked at."""

    other: LatentView | None
    """That of the other; None where there is none."""

    value: float | None
    """How alike they are."""

    also: float | None
    """The same by the other measure, where both were taken of this pair."""

    words: dict[str, float | None] = {}
    """How alike the explanations of the two are, by explainer; None where one of them is missing. Of pairs alone."""


class PartView(Config):
    """A part of a latent."""

    latent: LatentView
    """What it is."""

    share: float
    """Share of the latent's active tokens on which it is active."""

    inside: float
    """Share of its active tokens on which the latent is active."""


class PartedRow(Config):
    """A latent that the other side has in parts."""

    whole: LatentView
    """What it is."""

    covered: float
    """Share of its active tokens on which any of its parts is active."""

    n_parts: int
    """How many parts there are."""

    parts: list[PartView]
    """The largest of them."""


class Beside(Config):
    """A figure of two evaluations."""

    name: str
    """Its path."""

    a: Figure | None
    """Of the first run; None where it was not measured."""

    b: Figure | None
    """Of the other run."""


class ComparePage(PageRecord):
    """`/runs/<run>/compare/<other>`: two dictionaries beside each other."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    run: RunCard
    """The first run."""

    other: RunCard
    """The run beside it."""

    summary: Comparison | None
    """What was found; None where they were not compared, or where either was indexed anew since."""

    words_changed: bool
    """Whether latents of either run were explained anew since."""

    measure: Measure | None
    """By what latents are matched here."""

    show: Show
    """What is listed."""

    descending: bool
    """The most alike first."""

    pairs: list[PairRow]
    """One page of pairs, or of latents that only one side has with their best match."""

    parted: list[PartedRow]
    """One page of latents that the other side has in parts."""

    n_found: int
    """How many there are in all."""

    page: int
    """Number of this page, from 1."""

    n_pages: int
    """Number of pages."""

    drawn: list[tuple[int, float, float, float]]
    """Latents of the first run in the plot: number, density, best match, best match under the null."""

    figures: list[Beside]
    """Figures of both evaluations."""

    left: LookedAt | None
    """A latent of the first run that is looked at."""

    right: LookedAt | None
    """One of the other."""

    state: dict[str, str]
    """What the address says of all this."""

    def plot(self) -> Likeness | None:
        """The best matches beside their null."""
        found = self.summary.measures[self.measure] if self.summary and self.measure else None
        return likeness([Pair(*one) for one in self.drawn], found.null_95["a"]) if found else None


def compare_page(
    opened: OpenWorkspace,
    run: str,
    other: str,
    measure: Measure | None = None,
    show: Show = "pairs",
    order: Order = "desc",
    page: PositiveInt = 1,
    left: Latent | None = None,
    right: Latent | None = None,
) -> ComparePage:
    """Two dictionaries side by side. Raises `NoSuchPage` for runs and latents that there are not."""
    cards = opened.card(run), opened.card(other)
    if run == other:
        raise NoSuchPage(f"{run!r} beside itself.", "two runs", "choose another one.")
    found = comparison(opened, run, other)
    known = [name for name in MEASURES if found and name in found.summary.measures]
    chosen = measure if measure in known else next(iter(known), None)
    rows = _rows(found, show, chosen, order != "asc") if found and chosen else np.zeros(0, dtype=np.int64)
    n_pages = max(1, -(-len(rows) // PER_PAGE))
    page = min(page, n_pages)
    shown = rows[(page - 1) * PER_PAGE : page * PER_PAGE].tolist()
    said = {"measure": measure, "show": show, "order": order, "left": left, "right": right}
    lists = _Lists(opened, (run, other), found, chosen) if found and chosen else None
    return ComparePage(
        title=f"{run} beside {other}",
        typed=opened.workspace.typed,
        run=cards[0],
        other=cards[1],
        summary=found.summary if found else None,
        words_changed=found is not None and _words_changed(opened, run, other, found.summary),
        measure=chosen,
        show=show,
        descending=order != "asc",
        pairs=[lists.pair(show, row) for row in shown] if lists and not show.startswith("parts") else [],
        parted=[lists.parted(show, row) for row in shown] if lists and show.startswith("parts") else [],
        n_found=len(rows),
        page=page,
        n_pages=n_pages,
        drawn=lists.drawn() if lists else [],
        figures=_figures(opened, run, other),
        left=looked_at(opened, run, left),
        right=looked_at(opened, other, right),
        state={name: str(value) for name, value in said.items() if value is not None},
    )


PAGE = Page(path="/runs/{run}/compare/{other}", build=compare_page, template=TEMPLATES / "compare.html")


def turned(path: Path) -> Compared:
    """A comparison with the second dictionary as the first."""
    return Compared(path, turned=True)


def comparison(opened: OpenWorkspace, run: str, other: str) -> Compared | None:
    """The comparison of two runs, from whichever of them it was made; None where there is none of the indexes that they
    have now."""
    found = opened.artifact(run, folder_name(other), Compared) or opened.artifact(other, folder_name(run), turned)
    if found is None or not all(opened.has(name, "index") for name in (run, other)):
        return None
    ids = opened.index(run).index.id, opened.index(other).index.id
    return found if (found.summary.a.index, found.summary.b.index) == ids else None


def _words_changed(opened: OpenWorkspace, run: str, other: str, summary: Comparison) -> bool:
    """Whether the explanations of two runs are others than those that were compared."""
    ids = sorted(opened.index(name).index.id for name in (run, other))
    now = "".join(map(str, (*ids, *database_stamps(opened.workspace.database))))
    both = (summary.a.index, summary.b.index)
    store = ExplanationStore(opened.workspace.database)
    made = lambda _: {said_of(store, *pair) for pair in (both, both[::-1])}
    return summary.said not in opened.remembered("explanations compared", (now,), made)


def _rows(found: Compared, show: Show, measure: Measure, descending: bool) -> NDArray[np.int64]:
    """Latents of the side that is listed, in order."""
    side: Side = "b" if show.endswith("b") else "a"
    table = found.latents[side]
    if show.startswith("parts"):
        rows = np.flatnonzero(table["split"]) if "split" in table else np.zeros(0, dtype=np.int64)
        values = table["covered"][rows] if len(rows) else np.zeros(0)
    elif show == "pairs":
        rows = np.flatnonzero(table[f"{measure}_partner"] >= 0)
        values = table[f"{measure}_matched"][rows]
    else:
        rows = np.flatnonzero(table[measure] <= found.summary.measures[measure].null_95[side])
        values = table[measure][rows]
    return rows[np.argsort(-values if descending else values, kind="stable")]


class _Lists:
    """Rows of the lists of one comparison."""

    def __init__(self, opened: OpenWorkspace, runs: tuple[str, str], found: Compared, measure: Measure):
        self._opened, self._runs, self._found, self._measure = opened, runs, found, measure

    def pair(self, show: Show, latent: int) -> PairRow:
        """A pair of the matching, or a latent with its best match on the other side."""
        side: Side = "b" if show == "b" else "a"
        table, name = self._found.latents[side], self._measure
        number, value = ("partner", f"{name}_matched") if show == "pairs" else ("best", name)
        other = int(table[f"{name}_{number}"][latent])
        return PairRow(
            own=self._brief(side, latent),
            other=self._brief("b" if side == "a" else "a", other) if other >= 0 else None,
            value=_known(table[value][latent]),
            also=self._also(table, latent, other, number),
            words=self._words(table, latent) if show == "pairs" else {},
        )

    def _words(self, table: dict[str, NDArray], latent: int) -> dict[str, float | None]:
        """How alike the two explanations of a pair are, by explainer."""
        columns = {
            who: f"{self._measure}_{who}_similarity" for who in self._found.summary.measures[self._measure].words
        }
        return {who: _known(table[column][latent]) for who, column in columns.items() if column in table}

    def _also(self, table: dict[str, NDArray], latent: int, other: int, number: str) -> float | None:
        """The other measure of the pair, where it chose the same."""
        name = next((name for name in self._found.summary.measures if name != self._measure), None)
        if name is None or int(table[f"{name}_{number}"][latent]) != other:
            return None
        return _known(table[f"{name}_matched" if number == "partner" else name][latent])

    def parted(self, show: Show, latent: int) -> PartedRow:
        """A latent with its parts."""
        side: Side = "b" if show == "parts-b" else "a"
        table, parts = self._found.latents[side], self._found.parts(side, latent)
        other: Side = "b" if side == "a" else "a"
        columns = zip(*(column[:N_PARTS].tolist() for column in parts), strict=True)
        return PartedRow(
            whole=self._brief(side, latent),
            covered=float(table["covered"][latent]),
            n_parts=int(table["n_parts"][latent]),
            parts=[
                PartView(latent=self._brief(other, part), share=share, inside=inside) for part, share, inside in columns
            ],
        )

    def drawn(self) -> list[tuple[int, float, float, float]]:
        """Latents of the first run for the plot."""
        table, density = self._found.latents["a"], self._opened.index(self._runs[0]).index.table["density"]
        value, null = table[self._measure], table[f"{self._measure}_null"]
        rows = np.flatnonzero(np.isfinite(value) & np.isfinite(null) & (density > 0))
        if len(rows) > N_DRAWN:
            rows = np.sort(generator(0, "plot").choice(rows, N_DRAWN, replace=False))
        return [(int(row), float(density[row]), float(value[row]), float(null[row])) for row in rows]

    def _brief(self, side: Side, latent: int) -> LatentView:
        return brief(self._opened, self._runs[0 if side == "a" else 1], latent)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _figures(opened: OpenWorkspace, run: str, other: str) -> list[Beside]:
    """Figures of either evaluation, by name."""
    found = [opened.record(Figures, one, "evaluation", FIGURES) for one in (run, other)]
    by_name = [{figure.name: figure for figure in one.figures} if one else {} for one in found]
    names = dict.fromkeys([*by_name[0], *by_name[1]])
    return [Beside(name=name, a=by_name[0].get(name), b=by_name[1].get(name)) for name in names]
