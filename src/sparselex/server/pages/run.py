"""`/runs/<run>`: one run with its figures beside their controls."""

from sparselex.atlas.records import SweepReport
from sparselex.base.runs import RunCard
from sparselex.evaluate.against import KIND as CONTROLS
from sparselex.evaluate.against import AgainstControls
from sparselex.evaluate.apart import control_names, parted
from sparselex.evaluate.model_features.cards import has_card
from sparselex.evaluate.pairs.records import pairs_of
from sparselex.evaluate.records import Answer, Comparison, DensityHistogram, Report
from sparselex.parameters.records import decompositions_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.pages.corpora import CorpusSummary, corpora
from sparselex.server.pages.run_rows import RunRow, run_row
from sparselex.server.reported import (
    Apart,
    FigureGroup,
    against_controls,
    controls_of,
    density,
    grouped,
    not_as_written,
    reported,
    shared,
)
from sparselex.server.tried import Tried


class RunPage(PageRecord):
    """`/runs/<run>`: one run with its figures beside their controls."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    row: RunRow
    """The run in short."""

    corpus: CorpusSummary | None
    """The text it reads; None before it has read any."""

    answers: list[Answer]
    """Six questions, each with its answer and the figures behind it."""

    cost: str
    """What the run took."""

    groups: list[FigureGroup]
    """The report: its figures beside its controls, but for those that `against` and `apart` have."""

    apart: list[Apart]
    """Pairs and decompositions that it has a part in, with figures beside controls of their own."""

    controls: dict[str, str]
    """What each control is, in the order of the table's columns."""

    comparisons: list[Comparison]
    """Every figure against that of every control."""

    others: dict[str, dict[str, float]]
    """The same figures of runs that are no controls, by run and figure; runs that have none of them are left out."""

    verdicts: list[str]
    """What follows from the comparisons, in words."""

    notices: list[str]
    """What is missing from the report or too old in it, and what to do."""

    against: AgainstControls | None
    """Its explanations against those of its controls; None where that was not measured, or of other explanations than
    there are now."""

    not_against: str
    """Why they are not held against those of controls, and what to do; empty where they are, and where there are no
    explanations."""

    densities: dict[str, DensityHistogram]
    """How often latents are active: of the run and of its controls, by run."""

    sweep: SweepReport | None
    """Its sweep, if it has one."""

    has_card: bool = False
    """Whether it was measured how far its latents are the model's own."""

    pairs: list[str] = []
    """Pairs of dictionaries, trained together, that it has a part in."""

    decompositions: list[str] = []
    """Decompositions of its model's MLP, or whose components its latents are."""

    def compared(self, figure: str, control: str) -> Comparison | None:
        """The comparison of a figure with a control, if there is one."""
        return next((one for one in self.comparisons if (one.figure, one.control) == (figure, control)), None)


def run_page(opened: OpenWorkspace, run: str) -> RunPage:
    """One run. Raises `NoSuchPage` if there is none of that name."""
    opened.card(run)
    cards, tried = opened.cards(), Tried()
    readable = [card for card in cards.values() if isinstance(card, RunCard)]
    written = tried(lambda: reported(opened, run), None)
    figures, apart = parted(written.figures if written else [])
    against, not_against = tried(lambda: against_controls(opened, run), _NEITHER)
    texts: list[CorpusSummary] = tried(lambda: corpora(opened, readable), [])
    page = RunPage(
        title=run,
        typed=opened.workspace.typed,
        row=run_row(opened, run, cards[run], tried),
        corpus=next((text for text in texts if run in text.runs), None),
        answers=written.answers if written else [],
        cost=written.cost if written else "",
        groups=grouped([figure for figure in figures if not figure.name.startswith(f"{CONTROLS}/")]),
        apart=[Apart(name=name, controls=control_names(those), figures=those) for name, those in apart.items()],
        controls=controls_of(opened, figures, readable),
        comparisons=written.comparisons if written else [],
        others=shared(written) if written else {},
        verdicts=written.verdicts if written else [],
        notices=_notices(opened, run, written),
        against=against,
        not_against=not_against,
        densities=tried(lambda: _densities(opened, run, readable), {}),
        sweep=tried(lambda: opened.sweep(run), None),
        has_card=tried(lambda: has_card(opened.workspace, run), False),
        pairs=tried(lambda: pairs_of(opened.workspace, run), []),
        decompositions=tried(lambda: decompositions_of(opened.workspace, run), []),
    )
    return page.model_copy(update={"notices": [*page.notices, *dict.fromkeys(tried.failures)]})


_NEITHER: tuple[AgainstControls | None, str] = (None, "")

PAGE = Page(path="/runs/{run}", build=run_page, template=TEMPLATES / "run.html", label="Run")


def _notices(opened: OpenWorkspace, run: str, written: Report | None) -> list[str]:
    if written is None:
        command = f"sparselex evaluate {opened.workspace.typed} --run {run}"
        return [f"No figures yet: “{command}” measures them and writes the report."]
    stale = [f"Left out: {name}, {why}." for name, why in written.stale.items()]
    return [*filter(None, [not_as_written(opened, written)]), *stale]


def _densities(opened: OpenWorkspace, run: str, cards: list[RunCard]) -> dict[str, DensityHistogram]:
    family = [run, *(card.name for card in cards if card.twin_of == run)]
    return {name: found for name in family if (found := density(opened, name))}
