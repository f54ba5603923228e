"""`/runs/<run>/compare`: the runs that a run can be compared with."""

from sparselex.atlas.compare.records import Comparison
from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.pages.compare import comparison


class OtherRun(Config):
    """A run of the workspace."""

    card: RunCard
    """What it says of itself."""

    indexed: bool
    """Whether it can be compared: it has an index."""

    summary: Comparison | None
    """What was found; None where the two were not compared, or where either was indexed anew since."""


class ComparisonsPage(PageRecord):
    """`/runs/<run>/compare`: the runs that a run can be compared with."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    run: RunCard
    """What the run says of itself."""

    others: list[OtherRun]
    """All other runs."""


def comparisons(opened: OpenWorkspace, run: str) -> ComparisonsPage:
    """Every other run of the workspace, with what was found of it beside this one."""
    own = opened.card(run)
    others = [card for name, card in opened.cards().items() if name != run and isinstance(card, RunCard)]
    return ComparisonsPage(
        title=f"{run}: compare",
        typed=opened.workspace.typed,
        run=own,
        others=[
            OtherRun(card=card, indexed=opened.has(card.name, "index"), summary=_summary(opened, run, card.name))
            for card in others
        ],
    )


PAGE = Page(
    path="/runs/{run}/compare",
    build=comparisons,
    template=TEMPLATES / "comparisons.html",
    label="Compare",
    needs=("index",),
)


def _summary(opened: OpenWorkspace, run: str, other: str) -> Comparison | None:
    found = comparison(opened, run, other)
    return found.summary if found else None
