"""`/runs/<run>/verdict`: what a sceptic reads first of a dictionary."""

from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.evaluate.pairs.records import pair_card, pairs_of
from sparselex.evaluate.report import report
from sparselex.evaluate.verdict import DictionaryVerdict, verdict_of
from sparselex.parameters.records import FOLDER, decomposition_of, decompositions_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NotMadeYet, Page, PageRecord
from sparselex.server.pages.of_model import card_of, twins_of
from sparselex.server.reported import reported


class Named(Config):
    """What is told on a page of its own."""

    name: str
    """Its name there."""

    words: str
    """What it is of the run."""


class VerdictPage(PageRecord):
    """`/runs/<run>/verdict`: what a sceptic reads first of a dictionary."""

    run: RunCard
    """What the run says of itself."""

    found: DictionaryVerdict
    """The verdict."""

    cost: str
    """What the run took."""

    pairs: list[Named] = []
    """Pairs of dictionaries, trained together, that it has a part in."""

    decompositions: list[Named] = []
    """Decompositions of its model's MLP, or whose components its latents are."""


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
        pairs=[_pair(opened, run, name) for name in pairs_of(opened.workspace, run)],
        decompositions=[_decomposition(opened, run, name) for name in decompositions_of(opened.workspace, run)],
    )


def _pair(opened: OpenWorkspace, run: str, name: str) -> Named:
    found = pair_card(opened.workspace, name)
    own = "its dictionary" if run in found.runs else "one of its type, size and text"
    reads, writes = found.hooks
    words = f"{own} is one of two around the MLP from {reads} to {writes}, trained so that few latents move any other."
    return Named(name=name, words=words)


def _decomposition(opened: OpenWorkspace, run: str, name: str) -> Named:
    found = decomposition_of(opened.workspace.path / FOLDER / name)
    matrix = next((one for one in found.matrices if one.run == run), None)
    if matrix is not None:
        words = f"its latents are the components of {matrix.name}, in {found.target} taken apart."
    else:
        live = ", ".join(f"{one.n_live:,} live components of {one.name}" for one in found.matrices)
        words = f"{found.target} taken apart: {live}."
    return Named(name=name, words=words)


PAGE = Page(
    path="/runs/{run}/verdict",
    build=verdict_page,
    template=TEMPLATES / "verdict.html",
    label="Verdict",
    needs=("evaluation",),
)
