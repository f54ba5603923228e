"""`/runs/<run>/manifolds`: features of several dimensions, the groups that look most like one beside random ones."""

from typing import NamedTuple

from sparselex.base.artifacts import read_manifest
from sparselex.base.runs import RunCard
from sparselex.evaluate.manifolds.records import KIND, MANIFOLDS, LatentGroup, Manifolds, Plane
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NotMadeYet, Page, PageRecord

BOX = 150.0
"""Side of a picture, in units."""

REACH = 2.5
"""Root mean squares from the middle to its edge; what lies beyond is drawn there."""


class Dot(NamedTuple):
    """A token in a picture."""

    x: float
    y: float


class ManifoldsPage(PageRecord):
    """`/runs/<run>/manifolds`: features of several dimensions."""

    run: RunCard
    """What the run says of itself."""

    found: Manifolds
    """What was found, without the points."""

    pictures: list[LatentGroup]
    """The best groups, with their points."""

    def dots(self, plane: Plane) -> list[Dot]:
        """Where points lie in the picture."""
        return [Dot(_at(x), _at(-y)) for x, y in plane.points]


def manifolds_page(opened: OpenWorkspace, run: str) -> ManifoldsPage:
    """What was found in a run's dictionary. Raises `NotMadeYet` where nothing was looked for, or in another index than
    the run has now."""
    card = opened.card(run)
    found = opened.record(Manifolds, run, KIND, MANIFOLDS)
    if found is None or _index_of(opened, run) != opened.index(run).index.id:
        raise NotMadeYet(
            f"Features of several dimensions were not looked for in run {run!r} as it is indexed now.",
            "a run in which they were looked for",
            f"run `sparselex manifolds {opened.workspace.typed} --run {run}`.",
        )
    return ManifoldsPage(
        title=f"{run}: features of several dimensions",
        run=card,
        found=found.model_copy(update={"groups": [_without_points(group) for group in found.groups]}),
        pictures=[group for group in found.groups if group.best.points],
    )


PAGE = Page(
    path="/runs/{run}/manifolds",
    build=manifolds_page,
    template=TEMPLATES / "manifolds.html",
    label="Manifolds",
    needs=(KIND,),
)


def _index_of(opened: OpenWorkspace, run: str) -> str | None:
    return read_manifest(opened.workspace.run(run) / KIND).inputs.get("index")


def _without_points(group: LatentGroup) -> LatentGroup:
    random = None if group.random is None else group.random.model_copy(update={"points": []})
    return group.model_copy(update={"best": group.best.model_copy(update={"points": []}), "random": random})


def _at(value: float) -> float:
    return round(BOX / 2 * (1 + max(-1.0, min(1.0, value / REACH))), 1)
