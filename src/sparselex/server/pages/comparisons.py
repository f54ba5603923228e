"""`/runs/<run>/compare`: the runs that a run can be compared with."""

from itertools import combinations

from sparselex.atlas.compare.records import Cell, Comparison, cell_of
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

    cells: list[Cell]
    """Every two runs of the workspace that were compared as they are indexed now, each pair once; left empty where
    fewer than three runs were."""

    @property
    def compared(self) -> dict[str, str]:
        """The runs of the table of all with all, and where each reads the model, in the order of these places."""
        sites = {run: site for cell in self.cells for run, site in zip((cell.a, cell.b), cell.sites, strict=True)}
        return dict(sorted(sites.items(), key=lambda one: (one[1], one[0])))

    def cell(self, run: str, other: str) -> Cell | None:
        """That of two runs, whichever way round."""
        return next((one for one in self.cells if {one.a, one.b} == {run, other}), None)


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
        cells=_cells(opened),
    )


PAGE = Page(
    path="/runs/{run}/compare",
    build=comparisons,
    template=TEMPLATES / "comparisons.html",
    label="Compare",
    needs=("index",),
)


def _cells(opened: OpenWorkspace) -> list[Cell]:
    runs = [name for name, card in opened.cards().items() if isinstance(card, RunCard) and opened.has(name, "index")]
    found = [cell_of(one) for pair in combinations(runs, 2) if (one := _summary(opened, *pair))]
    return found if len({run for cell in found for run in (cell.a, cell.b)}) > 2 else []


def _summary(opened: OpenWorkspace, run: str, other: str) -> Comparison | None:
    found = comparison(opened, run, other)
    return found.summary if found else None
