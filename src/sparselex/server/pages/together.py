"""`/runs/<run>/map/together`: latents of dictionaries of several widths on one plane, and a list of their clusters."""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from sparselex.atlas.maps.records import KIND
from sparselex.atlas.maps.together import JointCluster, JointMap, Together
from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.base.seeds import generator
from sparselex.server.joint_picture import Layer, Window, joint_picture
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, NotMadeYet, Page, PageRecord
from sparselex.server.pages.feature import numbered
from sparselex.server.pages.map import View, around, whole
from sparselex.server.pages.widths import words_of

MOST = 1500
"""Latents that are drawn at once; of more, as many of each dictionary as it has, or as the others leave."""

MOST_OTHERS = 500
"""Latents of others that are drawn where a cluster is looked at."""

PER_PAGE = 50
"""Lines of a table."""

_KEPT = 0.9
"""Share of a cluster that is seen at least: one of ten dimensions may be torn on the plane."""

Order = Literal["likeness", "size"]
"""How the list is ordered: what is alike together, or the largest clusters first."""


class PointView(Config):
    """A latent on the map."""

    run: int
    """Which of the dictionaries it is of."""

    latent: int
    """Its number."""

    x: float
    """Where it lies."""

    y: float
    """Where it lies."""

    cluster: int | None
    """Its cluster; None for none."""

    words: str
    """What is said of it, or the token on which it is most active."""


class EntryView(Config):
    """A line of the list: a cluster, or a latent that is in none."""

    cluster: JointCluster | None
    """The cluster."""

    point: PointView | None
    """The latent: of a cluster the one that is most like all of it."""


class TogetherPage(PageRecord):
    """`/runs/<run>/map/together`: latents of dictionaries of several widths on one plane."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    run: RunCard
    """What the run says of itself."""

    found: Together
    """What the map is, and its figures."""

    view: View
    """What is seen."""

    points: list[PointView]
    """Latents that are drawn."""

    n_in_view: int
    """How many there are where is looked."""

    n_outside: int
    """Latents of the cluster that lie elsewhere on the plane."""

    cluster: JointCluster | None
    """The cluster that is looked at."""

    near: PointView | None
    """The latent whose neighbourhood is looked at."""

    members: list[PointView]
    """Latents of the cluster, or the nearest on the map; none where the whole is looked at. One page of them."""

    entries: list[EntryView]
    """The list, where the whole is looked at. One page of it."""

    order: Order
    """How the list is ordered."""

    n_found: int
    """Lines of the list, or latents of the cluster."""

    page: int
    """Number of this page, from 1."""

    n_pages: int
    """Number of pages."""

    def picture(self) -> list[Layer]:
        """The marks of the points."""
        seen = Window(self.view.x0, self.view.y0, self.view.x1, self.view.y1)
        return joint_picture([one.run for one in self.points], [(one.x, one.y) for one in self.points], seen)


def joint_of(opened: OpenWorkspace, run: str) -> JointMap | None:
    """The map of several dictionaries that lies in a run, of the indexes that all of them have now; None where there is
    none."""
    return opened.over_runs(run, KIND, JointMap.at, lambda one: one.found.runs)


def together_page(
    opened: OpenWorkspace,
    run: str,
    cluster: Annotated[int, Field(ge=0, le=10**9)] | None = None,
    of: str = "",
    latent: Annotated[int, numbered("latent", 9)] | None = None,
    order: Order = "likeness",
    page: PositiveInt = 1,
) -> TogetherPage:
    """The whole map, one cluster of it, or the neighbourhood of a latent `of` a run (left out, of this one). Raises
    `NotMadeYet` where there is no map of several dictionaries as they are indexed now, `NoSuchPage` for a cluster or a
    latent that is not on it."""
    card, one = opened.card(run), joint_of(opened, run)
    if one is None:
        raise NotMadeYet(
            f"Run {run!r} was not laid out with dictionaries of other widths as these are indexed now.",
            "a run that was",
            f"run `sparselex map {opened.workspace.typed} --run {run} --others NAME`, with --others once for each.",
        )
    looked_at = _cluster(one, cluster)
    own = None if latent is None else _row(one, of or run, latent)
    rows, view = _members(one, looked_at, own)
    is_whole = looked_at is None and own is None
    inside = np.arange(len(one.latents)) if is_whole else _inside(one, view)
    first = rows[np.isin(rows, inside)][:MOST] if looked_at else rows[:0]
    others = _thinned(one.run, np.setdiff1d(inside, first), MOST if looked_at is None else MOST_OTHERS)
    drawn = np.union1d(first, others)
    lines = _lines(one, order) if is_whole else []
    n_found = len(lines) if is_whole else len(rows)
    n_pages = max(1, -(-n_found // PER_PAGE))
    page = min(page, n_pages)
    part = slice((page - 1) * PER_PAGE, page * PER_PAGE)
    shown, listed = rows[part].tolist(), lines[part]
    near = [] if own is None else [own]
    views = _views(opened, one, np.unique(np.array([*drawn.tolist(), *shown, *near, *(row for _, row in listed)])))
    return TogetherPage(
        title=f"{run}: map of {', '.join(level.run for level in one.found.runs)}",
        typed=opened.workspace.typed,
        run=card,
        found=one.found,
        view=view,
        points=[views[row] for row in drawn.tolist()],
        n_in_view=len(inside),
        n_outside=0 if looked_at is None else int((~np.isin(rows, inside)).sum()),
        cluster=looked_at,
        near=None if own is None else views[own],
        members=[views[row] for row in shown],
        entries=[EntryView(cluster=found, point=views[row]) for found, row in listed],
        order=order,
        n_found=n_found,
        page=page,
        n_pages=n_pages,
    )


PAGE = Page(path="/runs/{run}/map/together", build=together_page, template=TEMPLATES / "together.html")


def _cluster(one: JointMap, number: int | None) -> JointCluster | None:
    if number is None:
        return None
    if number >= len(one.found.clusters):
        raise NoSuchPage(
            f"There is no cluster {number}.", f"a number below {len(one.found.clusters)}", "choose one of the list."
        )
    return one.found.clusters[number]


def _row(one: JointMap, of: str, latent: int) -> int:
    number = one.found.number_of(of)
    row = None if number is None else one.row(number, latent)
    if row is None:
        raise NoSuchPage(
            f"Latent {latent} of run {of!r} is not on this map.",
            f"a latent that is ever active, of one of {', '.join(level.run for level in one.found.runs)}",
            "choose another.",
        )
    return row


def _members(one: JointMap, cluster: JointCluster | None, own: int | None) -> tuple[NDArray[np.int64], View]:
    """What is looked at: its rows, and a square that holds them."""
    if own is not None:
        view = around(one.places, own)
        rows = _inside(one, view)
        away = np.hypot(*(one.places[rows] - one.places[own]).T)
        return rows[np.argsort(away, kind="stable")], view
    if cluster is not None:
        rows = np.flatnonzero(one.cluster == cluster.number)
        away = np.abs(one.places[rows] - np.median(one.places[rows], axis=0)).max(axis=1)
        return rows, whole(one.places[rows[away <= np.quantile(away, _KEPT)]])
    return np.zeros(0, dtype=np.int64), whole(one.places)


def _inside(one: JointMap, view: View) -> NDArray[np.int64]:
    x, y = one.places.T
    return np.flatnonzero((x >= view.x0) & (x <= view.x1) & (y >= view.y0) & (y <= view.y1))


def _thinned(run: NDArray[np.int8], rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """`most` of these rows, or all: of small dictionaries every one, of the others equally many, drawn at random."""
    parts = [rows[run[rows] == number] for number in np.unique(run[rows]).tolist()]
    left, kept = most, []
    for place, part in enumerate(sorted(parts, key=len)):
        n = min(len(part), left // (len(parts) - place))
        kept.append(generator(0, "drawn", place).permutation(part)[:n])
        left -= n
    return np.sort(np.concatenate(kept)) if kept else rows


def _lines(one: JointMap, order: Order) -> list[tuple[JointCluster | None, int]]:
    """The list: clusters with their medoids and, in the order of likeness, latents in none."""
    clusters = [(found, _row(one, found.medoid_run, found.medoid)) for found in one.found.clusters]
    if order == "size":
        return [*clusters]
    alone: list[tuple[JointCluster | None, int]] = [(None, row) for row in np.flatnonzero(one.cluster < 0).tolist()]
    return sorted([*clusters, *alone], key=lambda line: int(one.place[line[1]]))


def _views(opened: OpenWorkspace, one: JointMap, rows: NDArray[np.int64]) -> Mapping[int, PointView]:
    found = dict[int, PointView]()
    for number, level in enumerate(one.found.runs):
        mine = rows[one.run[rows] == number] if len(rows) else rows
        words = words_of(opened, level.run, one.latents[mine].tolist()) if len(mine) else {}
        for row in mine.tolist():
            latent, at, cluster = int(one.latents[row]), one.places[row].tolist(), int(one.cluster[row])
            found[row] = PointView(
                run=number,
                latent=latent,
                x=at[0],
                y=at[1],
                cluster=None if cluster < 0 else cluster,
                words=words[latent],
            )
    return found
