"""`/`: what was trained on what, and the figures beside their controls."""

from collections.abc import Callable
from typing import TypeVar

from sparselex.atlas.records import SweepReport
from sparselex.base.artifacts import Manifest
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.runs import RunCard
from sparselex.evaluate.records import Answer, Comparison, DensityHistogram, Report
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.reported import (
    FigureGroup,
    FiguresApart,
    apart,
    controls_of,
    density,
    grouped,
    not_as_written,
    reported,
    shared,
)
from sparselex.text.records import Division, Left, Part
from sparselex.text.splits import Split

T = TypeVar("T")


class RunSummary(Config):
    """What was trained on what."""

    name: str
    """Name of the run."""

    card: RunCard | None
    """What the run says of itself; None if that cannot be read."""

    dictionary: str | None
    """Type and size of the dictionary; None if not trained yet."""

    n_tokens: int | None
    """Tokens it was trained on; None if that is not known."""

    imported_from: str | None
    """Where the dictionary came from, if it was not trained here."""

    missing: list[str]
    """Artifacts without which the run is unfinished."""

    failure: str
    """Why the run cannot be read; empty if it can."""


class CorpusSummary(Config):
    """A text that runs of the workspace read."""

    source: str
    """Where it came from."""

    n_tokens: int
    """Tokens in all documents."""

    n_documents: dict[Split, int]
    """Documents by split; no document is in two."""

    n_ctx: int
    """Tokens in a row, which is all that the model sees at once."""

    parts: str
    """What is of each source of a mixture, in words; empty where there is one source."""

    skipped: str
    """What was read of the text and left out, in words; empty where that is nothing."""

    division: str
    """How well apart its splits are, in words."""

    runs: list[str]
    """Runs that read it."""


class OverviewPage(PageRecord):
    """`/`: the workspace at a glance."""

    workspace: str
    """Name of the workspace's folder."""

    typed: str
    """The whole path of that folder, as it can be typed into a shell."""

    corpora: list[CorpusSummary]
    """Every text that some run has read."""

    runs: list[RunSummary]
    """Every run that has finished something, twins behind the run that they are controls of."""

    begun: list[str]
    """Runs that were begun and have finished nothing yet."""

    reported: str
    """The run whose figures are reported; empty if nothing is reported yet."""

    answers: list[Answer]
    """Six questions about that run, each with its answer and the figures behind it."""

    cost: str
    """What that run took."""

    groups: list[FigureGroup]
    """The report: figures of that run beside its controls."""

    controls: dict[str, str]
    """What each control is, in the order of the table's columns."""

    comparisons: list[Comparison]
    """Every figure against that of every control."""

    others: dict[str, dict[str, float]]
    """The same figures of runs that are no controls, by run and figure; runs that have none of them are left out."""

    apart: dict[str, FiguresApart]
    """Figures that the reported run has not, by the run that has them."""

    verdicts: list[str]
    """What follows from the comparisons, in words."""

    notices: list[str]
    """What is missing from the report or too old in it, and what to do."""

    densities: dict[str, dict[str, DensityHistogram]]
    """Density histograms of an evaluated run and of its twins, by run."""

    sweeps: dict[str, SweepReport]
    """The sweep of each run that has one."""

    def compared(self, figure: str, control: str) -> Comparison | None:
        """The comparison of a figure with a control, if there is one."""
        return next((one for one in self.comparisons if (one.figure, one.control) == (figure, control)), None)


def overview(opened: OpenWorkspace) -> OverviewPage:
    """The workspace at a glance."""
    name, cards, tried = opened.workspace.path.name, opened.cards(), Tried()
    written = tried(lambda: reported(opened), None)
    readable = [card for card in cards.values() if isinstance(card, RunCard)]
    figures = written.figures if written else []
    page = OverviewPage(
        title=f"{name}: overview",
        workspace=name,
        typed=opened.workspace.typed,
        corpora=tried(lambda: _corpora(opened, readable), []),
        runs=[_run(opened, run, card, tried) for run, card in cards.items()],
        begun=[run for run in opened.workspace.begun() if run not in cards],
        reported=written.run if written else "",
        answers=written.answers if written else [],
        cost=written.cost if written else "",
        groups=grouped(figures),
        controls=controls_of(opened, figures, readable),
        comparisons=written.comparisons if written else [],
        others=shared(written) if written else {},
        apart=tried(lambda: apart(opened, written, readable), {}) if written else {},
        verdicts=written.verdicts if written else [],
        notices=_notices(opened, written),
        densities=tried(lambda: _densities(opened, readable), {}),
        sweeps=tried(lambda: _sweeps(opened), {}),
    )
    return page.model_copy(update={"notices": [*page.notices, *dict.fromkeys(tried.failures)]})


class Tried:
    """Reads parts of a page, and keeps what is said of those that cannot be read: the others are shown all the same."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def __call__(self, read: Callable[[], T], otherwise: T) -> T:
        """What `read` gives, or where it raises a `UserError` the other."""
        try:
            return read()
        except UserError as error:
            self.failures.append(f"{error.given} To do: {error.todo}")
            return otherwise


PAGE = Page(path="/", build=overview, template=TEMPLATES / "overview.html")


def _notices(opened: OpenWorkspace, written: Report | None) -> list[str]:
    if not opened.workspace.runs():
        return []
    if written is None:
        command = f"sparselex evaluate {opened.workspace.typed}"
        return [f"No figures yet: “{command}” measures them and writes the report."]
    stale = [f"Left out: {name}, {why}." for name, why in written.stale.items()]
    return [*filter(None, [not_as_written(opened, written)]), *stale]


def _sweeps(opened: OpenWorkspace) -> dict[str, SweepReport]:
    return {run: found for run in opened.workspace.begun() if (found := opened.sweep(run))}


def _densities(opened: OpenWorkspace, cards: list[RunCard]) -> dict[str, dict[str, DensityHistogram]]:
    measured = {card.name: found for card in cards if (found := density(opened, card.name))}
    families: dict[str, dict[str, DensityHistogram]] = {}
    for card in cards:
        if card.name in measured:
            of = card.twin_of if card.twin_of in measured else card.name
            families.setdefault(of or card.name, {})[card.name] = measured[card.name]
    return families


def _corpora(opened: OpenWorkspace, cards: list[RunCard]) -> list[CorpusSummary]:
    """Each corpus once, in the order of the runs."""
    readers: dict[str, list[str]] = {}
    manifests: dict[str, Manifest] = {}
    for card in cards:
        if manifest := opened.corpus(card):
            manifests[manifest.id] = manifest
            readers.setdefault(manifest.id, []).append(card.name)
    return [_corpus(manifest, readers[id_]) for id_, manifest in manifests.items()]


def _corpus(manifest: Manifest, runs: list[str]) -> CorpusSummary:
    return CorpusSummary(
        source=manifest.config["source"],
        n_tokens=manifest.notes["n_tokens"],
        n_documents=manifest.notes["n_documents"],
        n_ctx=manifest.config["n_ctx"],
        parts=Part.said(manifest.notes),
        skipped=Left.said(manifest.notes),
        division=Division.said(manifest.notes),
        runs=runs,
    )


def _run(opened: OpenWorkspace, run: str, card: RunCard | UserError, tried: Tried) -> RunSummary:
    artifacts: dict[str, Manifest] = tried(lambda: opened.workspace.artifacts(run), {})
    trained = artifacts.get("dictionary")
    dictionary = trained.config["dictionary"] if trained else None
    return RunSummary(
        name=run,
        card=card if isinstance(card, RunCard) else None,
        dictionary=f"{dictionary['kind']}, {dictionary['d_in']:,} → {dictionary['d_sae']:,}" if dictionary else None,
        n_tokens=trained.notes.get("n_tokens") if trained else None,
        imported_from=trained.config.get("source") if trained else None,
        missing=opened.missing(card) if isinstance(card, RunCard) else [],
        failure="" if isinstance(card, RunCard) else card.given,
    )
