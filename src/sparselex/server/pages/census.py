"""`/runs/<run>/census`: latents by when they are active."""

from statistics import median

from sparselex.atlas.census.records import FILE, KIND, Census, Group
from sparselex.base.artifacts import read_manifest
from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.server.census_charts import CensusPicture, pictures
from sparselex.server.opened import OpenIndex, OpenWorkspace
from sparselex.server.page import TEMPLATES, NotMadeYet, Page, PageRecord


class GroupView(Config):
    """Living latents of one group."""

    name: Group
    """What they are called."""

    n: int
    """How many."""

    n_scored: int
    """Those whose explanation has the score by which lists are ordered."""

    score: float | None
    """The median of these scores; None where there is none."""

    null: float | None
    """The median of their nulls."""


class CensusPage(PageRecord):
    """`/runs/<run>/census`: latents by when they are active."""

    run: RunCard
    """What the run says of itself."""

    found: Census
    """The census, without the points."""

    picture: CensusPicture
    """The histogram, and the latents by pairs of coordinates."""

    groups: list[GroupView]
    """How well either group is explained, where anybody explained it."""

    scored_by: str
    """Whose score that is; empty where there is none."""


def census_page(opened: OpenWorkspace, run: str) -> CensusPage:
    """The census of a run's dictionary. Raises `NotMadeYet` where none was taken, or of another index than the run has
    now."""
    card = opened.card(run)
    found = opened.record(Census, run, KIND, FILE)
    if found is None or _index_of(opened, run) != opened.index(run).index.id:
        raise NotMadeYet(
            f"The latents of run {run!r} were not counted by when they are active, as they are indexed now.",
            "a run whose census was taken",
            f"run `sparselex analyse census {opened.workspace.typed} --run {run}`.",
        )
    by, groups = _explained(opened, opened.index(run), found)
    return CensusPage(
        title=f"{run}: census of densities",
        run=card,
        found=found.model_copy(update={"points": []}),
        picture=pictures(found),
        groups=groups,
        scored_by=by,
    )


PAGE = Page(path="/runs/{run}/census", build=census_page, template=TEMPLATES / "census.html")


def _index_of(opened: OpenWorkspace, run: str) -> str | None:
    return read_manifest(opened.workspace.run(run) / KIND).inputs.get("index")


def _explained(opened: OpenWorkspace, there: OpenIndex, found: Census) -> tuple[str, list[GroupView]]:
    """Who explained latents, and how well those of either group are explained."""
    scores = opened.explained.headlines(there.index)
    if scores.by is None:
        return "", []
    ultralow, alive = set(found.ultralow), there.index.table["n_active"] > 0
    members: dict[Group, list[int]] = {"ultralow": [], "rest": []}
    for latent in alive.nonzero()[0].tolist():
        members["ultralow" if latent in ultralow else "rest"].append(latent)
    views = []
    for name, latents in members.items():
        known = [one for latent in latents if (one := scores.of(latent)) is not None]
        nulls = [one.null for one in known if one.null is not None]
        views.append(
            GroupView(
                name=name,
                n=len(latents),
                n_scored=len(known),
                score=median(one.value for one in known) if known else None,
                null=median(nulls) if nulls else None,
            )
        )
    return scores.by.key, views
