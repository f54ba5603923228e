"""`/`: every run of the workspace, and where all of them belong together, the report of the first."""

from sparselex.atlas.records import SweepReport
from sparselex.base.runs import RunCard
from sparselex.evaluate.doomed.found import doomed_of
from sparselex.evaluate.monosemanticity.found import replication_of
from sparselex.evaluate.pairs.records import pairs_in
from sparselex.parameters.records import decompositions_in
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.pages.corpora import CorpusSummary, corpora
from sparselex.server.pages.graph import GraphSummary, graph_summaries
from sparselex.server.pages.run import RunPage, run_page
from sparselex.server.pages.run_rows import RunRow, run_row
from sparselex.server.pages.synthetic import synthetic_sets
from sparselex.server.pages.task import TaskSummary, task_summaries
from sparselex.server.tried import Tried


class OverviewPage(PageRecord):
    """`/`: the workspace at a glance."""

    workspace: str
    """Name of the workspace's folder."""

    typed: str
    """The whole path of that folder, as it can be typed into a shell."""

    corpora: list[CorpusSummary]
    """Every text that some run has read."""

    runs: list[RunRow]
    """Every run that has finished something, twins behind the run that they are controls of."""

    columns: list[str]
    """Headline figures that some run has, in the order of the table's columns."""

    begun: list[str]
    """Runs that were begun and have finished nothing yet."""

    notices: list[str]
    """What cannot be read, and what to do."""

    shown: RunPage | None
    """The page of the run of which all others are controls; None where there are several such."""

    sweeps: dict[str, SweepReport]
    """The sweep of each run that has one."""

    synthetic: list[str] = []
    """Sets of known features on which dictionary types were ranked."""

    doomed: bool = False
    """Whether features of activations that are no features of the model were looked for in small models."""

    monosemanticity: bool = False
    """Whether Towards Monosemanticity was reproduced here."""

    tasks: list[TaskSummary] = []
    """Labelled tasks that dictionaries were put to."""

    decompositions: list[str] = []
    """Models whose weights were decomposed."""

    pairs: list[str] = []
    """Pairs of dictionaries that were trained together around an MLP."""

    graphs: list[GraphSummary] = []
    """Attribution graphs of prompts."""


def overview(opened: OpenWorkspace) -> OverviewPage:
    """The workspace at a glance."""
    name, cards, tried = opened.workspace.path.name, opened.cards(), Tried()
    readable = [card for card in cards.values() if isinstance(card, RunCard)]
    rows = [run_row(opened, run, card, tried) for run, card in cards.items()]
    only = _only(readable)
    shown = run_page(opened, only) if only else None
    page = OverviewPage(
        title=f"{name}: runs",
        workspace=name,
        typed=opened.workspace.typed,
        corpora=tried(lambda: corpora(opened, readable), []),
        runs=rows,
        columns=list(dict.fromkeys(column for row in rows for column in row.figures)),
        begun=[run for run in opened.workspace.begun() if run not in cards],
        notices=[],
        shown=shown,
        sweeps=tried(lambda: _sweeps(opened), {}),
        synthetic=synthetic_sets(opened),
        doomed=tried(lambda: doomed_of(opened.workspace.path), None) is not None,
        monosemanticity=tried(lambda: replication_of(opened.workspace), None) is not None,
        tasks=task_summaries(opened, tried),
        decompositions=decompositions_in(opened.workspace.path),
        pairs=pairs_in(opened.workspace.path),
        graphs=graph_summaries(opened, tried),
    )
    told = shown.notices if shown else []
    return page.model_copy(update={"notices": [one for one in dict.fromkeys(tried.failures) if one not in told]})


PAGE = Page(path="/", build=overview, template=TEMPLATES / "overview.html")


def _only(cards: list[RunCard]) -> str:
    """The run of which all others are controls; empty if there is no such."""
    names = [card.name for card in cards]
    heads = [card.name for card in cards if card.twin_of not in names]
    return heads[0] if len(heads) == 1 else ""


def _sweeps(opened: OpenWorkspace) -> dict[str, SweepReport]:
    return {run: found for run in opened.workspace.begun() if (found := opened.sweep(run))}
