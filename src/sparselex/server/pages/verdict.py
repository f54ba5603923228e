"""`/runs/<run>/verdict`: what a sceptic reads first of a dictionary."""

from sparselex.base.runs import RunCard
from sparselex.evaluate.report import report
from sparselex.evaluate.verdict import DictionaryVerdict, verdict_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NotMadeYet, Page, PageRecord
from sparselex.server.pages.of_model import card_of, twins_of
from sparselex.server.reported import reported


class VerdictPage(PageRecord):
    """`/runs/<run>/verdict`: what a sceptic reads first of a dictionary."""

    run: RunCard
    """What the run says of itself."""

    found: DictionaryVerdict
    """The verdict."""

    cost: str
    """What the run took."""


def verdict_page(opened: OpenWorkspace, run: str) -> VerdictPage:
    """The verdict on a run's dictionary. Raises `NotMadeYet` for a run that has no figures."""
    card = opened.card(run)
    if reported(opened, run) is None:
        raise NotMadeYet(
            f"Run {run!r} has no figures yet.",
            "a run that was evaluated",
            f"run `sparselex evaluate {opened.workspace.typed} --run {run}`.",
        )
    found = report(opened.workspace, run)  # as it would be written now: a dictionary may be another one since
    read = card_of(opened, run)
    return VerdictPage(
        title=f"{run}: the verdict",
        run=card,
        found=verdict_of(opened.workspace, found, read.found if read else None, twins_of(opened, run)),
        cost=found.cost,
    )


PAGE = Page(
    path="/runs/{run}/verdict",
    build=verdict_page,
    template=TEMPLATES / "verdict.html",
    label="Verdict",
    needs=("evaluation",),
)
