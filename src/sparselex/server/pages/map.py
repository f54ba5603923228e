"""`/runs/<run>/map`: the latents of a run on a plane, a table of those that are looked at, examples of one."""

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from sparselex.atlas.maps.records import KIND, LatentMap, MapSummary
from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.explained import Entries, title_of
from sparselex.server.finding.columns import Columns
from sparselex.server.finding.find import columns_of, find
from sparselex.server.opened import OpenIndex, OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.pages.area import Selection, area_of
from sparselex.server.pages.feature import checked_latent, numbered
from sparselex.server.pages.features import Score, Words
from sparselex.server.pages.parts import HeadlineView, ScoredBy, headline_view, scored_by
from sparselex.server.pages.shades import Shade, shades

PER_PAGE = 25
N_EXAMPLES = 5
N_NEAR = 30
"""Latents around the one whose neighbourhood is shown."""

Edge = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
"""An edge of what is seen of a map."""

Chosen = Annotated[int, numbered("latent", 9)] | None
"""A latent that may be named."""


class View(Config):
    """A window on the map."""

    x0: float
    """Left edge."""

    y0: float
    """Lower edge."""

    x1: float
    """Right edge."""

    y1: float
    """Upper edge."""


class Step(Config):
    """A line of the legend."""

    label: str
    """What it stands for."""

    n: int
    """Latents on the map."""


class MapRow(Config):
    """A latent in the table."""

    latent: int
    """Its number."""

    title: str
    """Its explanation in short; empty if there is none."""

    score: HeadlineView | None
    """Its score, as `scored_by` says; None where it has none."""

    density: float
    """Share of counted tokens on which it is active."""

    cluster: int | None
    """Its cluster; None for none."""

    cosine: float | None
    """Cosine with the latent whose neighbourhood is shown, where that is among its nearest decoder rows."""


class FocusView(Config):
    """The latent that is looked at more closely."""

    row: MapRow
    """What the table has of it."""

    x: float
    """Where it lies."""

    y: float
    """Where it lies."""

    examples: list[ExampleView]
    """Its largest training activations."""


class MapPage(PageRecord):
    """`/runs/<run>/map`: latents near where their decoder rows are alike."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    run: RunCard
    """What the run says of itself."""

    summary: MapSummary | None
    """What the map is; None where the run has none, or one of another index than it has now."""

    scored_by: ScoredBy | None
    """Whose explanations are scored, by whom and by which measure: as was asked for, else that of most latents; None
    where nothing is."""

    scores: list[ScoredBy]
    """What may be asked for."""

    shade: Shade
    """What the map is coloured by."""

    steps: list[Step]
    """The legend, what is not known first; empty for clusters."""

    view: View
    """What is seen."""

    whole: View
    """The whole map."""

    selection: str
    """The selected part, as in the address; empty for all that is seen."""

    query: str
    """The search that latents have to fit."""

    near: int | None
    """The latent whose neighbourhood is shown."""

    nearest: list[int]
    """Its nearest decoder rows."""

    focus: FocusView | None
    """The latent that is looked at more closely."""

    rows: list[MapRow]
    """Those in the selection, or else in view, that fit the search: one page of them."""

    n_found: int
    """How many these are."""

    page: int
    """Number of this page, from 1."""

    n_pages: int
    """Number of pages."""

    state: dict[str, str]
    """What the address says of all this."""


class OpenMap(NamedTuple):
    """A map with the columns of its latents."""

    map: LatentMap
    found: OpenIndex
    columns: Columns
    entries: Entries


def open_map(opened: OpenWorkspace, run: str, score: str = "") -> OpenMap | None:
    """The map of a run, with the scores that `score` names; None where there is none, or one of another index. Raises
    like `columns_of`."""
    found = opened.index(run)
    read = opened.artifact(run, KIND, LatentMap)
    if read is None or read.manifest.inputs.get("index") != found.index.id:
        return None
    return OpenMap(read, found, columns_of(opened, run, score), opened.explained.entries(found.index))


def fits(opened: OpenWorkspace, run: str, one: OpenMap, q: str) -> NDArray[np.bool_]:
    """`[n_placed]`, whether each latent on the map fits a search."""
    if not q.strip():
        return np.ones(len(one.map.latents), dtype=bool)
    by = one.columns.headlines.by
    return np.isin(one.map.latents, find(opened, run, q, "text", by.key if by else "").latents)


def map_page(
    opened: OpenWorkspace,
    run: str,
    x0: Edge | None = None,
    y0: Edge | None = None,
    x1: Edge | None = None,
    y1: Edge | None = None,
    color: Shade = "density",
    sel: Selection = "",
    q: Words = "",
    near: Chosen = None,
    focus: Chosen = None,
    page: PositiveInt = 1,
    score: Score = "",
) -> MapPage:
    """One view of the map, with the scores that `score` names, such as `llm/detection/balanced_accuracy`. Raises
    `NoSuchPage` for a latent that there is not."""
    found = opened.index(run)
    for latent in (near, focus):
        if latent is not None:
            checked_latent(found, run, latent)
    one, edges = open_map(opened, run, score), _edges(x0, y0, x1, y1)
    every = whole(one.map.places if one else np.zeros((0, 2), dtype=np.float32))
    row = None if one is None or near is None else one.map.row(near)
    seen = every if one is None or row is None else around(one.map.places, row)
    asked = Asked(edges or seen, sel, q, near, _cosines(found, near), color)
    rows, steps = _looked_at(opened, run, one, asked) if one else (np.zeros(0, dtype=np.int64), [])
    n_pages = max(1, -(-len(rows) // PER_PAGE))
    page = min(page, n_pages)
    said = {"color": color, "sel": sel, "q": q, "near": near, "focus": focus, "score": score}
    said |= {name: f"{value:.6g}" for name, value in edges.to_json().items()} if edges else {}
    return MapPage(
        title=f"{run}: map",
        typed=opened.workspace.typed,
        run=opened.card(run),
        summary=one.map.summary if one else None,
        scored_by=scored_by(one.columns.headlines.by) if one else None,
        scores=[scored for each in opened.explained.foremost(found.index) if (scored := scored_by(each))],
        shade=color,
        steps=steps,
        view=asked.view,
        whole=every,
        selection=sel,
        query=q,
        near=near,
        nearest=list(asked.cosines),
        focus=_focus(one, focus, asked.cosines) if one and focus is not None else None,
        rows=[_row(one, row, asked.cosines) for row in _page_of(rows, page)] if one else [],
        n_found=len(rows),
        page=page,
        n_pages=n_pages,
        state={name: str(value) for name, value in said.items() if value not in (None, "")},
    )


PAGE = Page(path="/runs/{run}/map", build=map_page, template=TEMPLATES / "map.html", label="Map", needs=("index",))


class Asked(NamedTuple):
    """What of a map a reader looks at."""

    view: View
    sel: str
    q: str
    near: int | None
    cosines: dict[int, float]
    color: Shade


def _edges(x0: float | None, y0: float | None, x1: float | None, y1: float | None) -> View | None:
    """The view that an address names; None where it leaves out an edge."""
    if x0 is None or y0 is None or x1 is None or y1 is None:
        return None
    return View(x0=min(x0, x1), y0=min(y0, y1), x1=max(x0, x1), y1=max(y0, y1))


def _page_of(rows: NDArray[np.int64], page: int) -> list[int]:
    return rows[(page - 1) * PER_PAGE : page * PER_PAGE].tolist()


def _looked_at(opened: OpenWorkspace, run: str, one: OpenMap, asked: Asked) -> tuple[NDArray[np.int64], list[Step]]:
    """Rows of the map that are selected or else in view and fit the search, in order; and the legend."""
    places, shaded, view = one.map.places, shades(one.map, one.columns, asked.color), asked.view
    x, y = places.T
    is_neighbour = np.isin(one.map.latents, list(asked.cosines))
    inside = is_neighbour | ((x >= view.x0) & (x <= view.x1) & (y >= view.y0) & (y <= view.y1))
    if asked.sel:
        inside = area_of(asked.sel).holds(places, one.map.cluster)
    rows = np.flatnonzero(inside & fits(opened, run, one, asked.q))
    own = None if asked.near is None else one.map.row(asked.near)
    key = shaded.values[rows] if asked.color == "cluster" else -shaded.values[rows]
    if own is not None:  # itself, its nearest decoder rows, then the others by how near they lie
        cosines = np.array([asked.cosines.get(int(latent), -2.0) for latent in one.map.latents[rows]])
        away = np.hypot(*(places[rows] - places[own]).T)
        key = np.where(rows == own, -3.0, np.where(cosines > -2, -cosines - 1, away + 1))
    counts = np.bincount(shaded.step, minlength=len(shaded.labels)).tolist()
    steps = [Step(label=label, n=n) for label, n in zip(shaded.labels, counts, strict=False)]
    return rows[np.argsort(np.nan_to_num(key, nan=np.inf), kind="stable")], steps


def whole(places: NDArray[np.float32]) -> View:
    """A square that holds all places, with a margin."""
    if not len(places):
        return View(x0=0, y0=0, x1=1, y1=1)
    low, high = places.min(0).astype(float), places.max(0).astype(float)
    middle, half = (low + high) / 2, max(float((high - low).max()) * 0.53, 1e-3)
    return _square(middle, half)


def around(places: NDArray[np.float32], row: int) -> View:
    """A square around a place that holds those which lie nearest to it."""
    away = np.abs(places - places[row]).max(axis=1)
    n = min(N_NEAR, len(away) - 1)
    return _square(places[row].astype(float), max(float(np.partition(away, n)[n]) * 1.1, 1e-3))


def _square(middle: NDArray[np.float64], half: float) -> View:
    x, y = middle.tolist()
    return View(x0=x - half, y0=y - half, x1=x + half, y1=y + half)


def _cosines(found: OpenIndex, near: int | None) -> dict[int, float]:
    """The nearest decoder rows of a latent."""
    return {} if near is None else {one.latent: one.cosine for one in found.index.record(near).neighbours}


def _row(one: OpenMap, row: int, cosines: dict[int, float]) -> MapRow:
    latent, cluster = int(one.map.latents[row]), int(one.map.cluster[row])
    return MapRow(
        latent=latent,
        title=title_of(one.entries, latent, one.columns.headlines.explainer),
        score=headline_view(one.columns.headlines.of(latent)),
        density=float(one.found.index.table["density"][latent]),
        cluster=None if cluster < 0 else cluster,
        cosine=cosines.get(latent),
    )


def _focus(one: OpenMap, latent: int, cosines: dict[int, float]) -> FocusView | None:
    row, index = one.map.row(latent), one.found.index
    if row is None:
        return None
    x, y = one.map.places[row].tolist()
    views = Windows(index, latent, one.found.texts).views(index.record(latent).top[:N_EXAMPLES])
    return FocusView(row=_row(one, row, cosines), x=x, y=y, examples=views)
