"""`/runs/<run>/analyses`: every analysis of a dictionary, with what it found or how it is made."""

from sparselex.atlas.analyses import ANALYSES, VERB, AnalysisCard, verb_of
from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.base.runs import RunCard
from sparselex.evaluate.gathered import fresh
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord


class AnalysisRow(Config):
    """One analysis of a run."""

    name: str
    """Its name."""

    title: str
    """What its page is called."""

    question: str
    """What it asks."""

    made: bool
    """Whether it was made of what the run has now."""

    stale: str
    """Why what was made of it is not shown; empty where nothing is left out."""

    figures: list[Figure]
    """What it found."""

    command: str
    """What makes it."""


class AnalysesPage(PageRecord):
    """`/runs/<run>/analyses`: every analysis of a dictionary."""

    run: RunCard
    """What the run says of itself."""

    rows: list[AnalysisRow]
    """All analyses, in the order in which they are taken."""

    command: str
    """What makes all of them."""


def analyses_page(opened: OpenWorkspace, run: str) -> AnalysesPage:
    """The analyses of a run. Raises `NoSuchPage` if there is none of that name."""
    card = opened.card(run)
    found, stale = fresh(opened.workspace, run, card)
    command = lambda verb: f"sparselex {verb} {opened.workspace.typed} --run {run}"
    return AnalysesPage(
        title=f"{run}: analyses",
        run=card,
        rows=[
            AnalysisRow(
                name=name,
                **_words(one),
                made=name in found,
                stale=stale.get(name, ""),
                figures=found[name].figures if name in found else [],
                command=command(verb_of(name)),
            )
            for name, one in ANALYSES.items()
        ],
        command=command(VERB),
    )


PAGE = Page(
    path="/runs/{run}/analyses",
    build=analyses_page,
    template=TEMPLATES / "analyses.html",
    label="Analyses",
    needs=("index",),
)


def _words(one: AnalysisCard) -> dict[str, str]:
    return {"title": one.title, "question": one.question}
