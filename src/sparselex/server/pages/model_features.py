"""`/runs/<run>/model-features`: the card that says how far a dictionary is one of the model."""

from typing import NamedTuple

from sparselex.base.artifacts import read_manifest
from sparselex.base.figures import Figure
from sparselex.base.formats import number
from sparselex.base.runs import RunCard
from sparselex.evaluate.config import control_words
from sparselex.evaluate.model_features.records import KIND, NULL, Curve, LatentOfModel, ModelFeatures
from sparselex.evaluate.model_features.words import Answered, against_null, answers, called, said_of, summary
from sparselex.evaluate.supervised.frontier import EditFrontier, edit_frontiers
from sparselex.server.charts import BASE, LEFT, RIGHT, TOP, WIDTH, Tick
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NotMadeYet, Page, PageRecord
from sparselex.server.pages.of_model import card_of, twins_of

_LISTED = 12
"""Latents of either end that are listed."""


class Line(NamedTuple):
    """A curve in the picture."""

    name: str
    path: str


class Lines(NamedTuple):
    """Curves over one axis."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


class ModelFeaturesPage(PageRecord):
    """`/runs/<run>/model-features`: how far a dictionary is one of the model."""

    run: RunCard
    """What the run says of itself."""

    at: str
    """The site that was asked about."""

    found: ModelFeatures
    """The card, but for its latents."""

    answers: list[Answered]
    """What was asked, with its answers."""

    summary: str
    """All of them in a sentence."""

    controls: dict[str, str]
    """What each column beside its own figures is, in words: controls, whose own null has none, and twins."""

    twins: dict[str, list[Figure]]
    """The same figures of its twins' dictionaries, by their runs."""

    edits: list[EditFrontier]
    """What exchanging few of its latents does in the tasks that it was put to."""

    most: list[LatentOfModel]
    """Latents that the model reads most."""

    least: list[LatentOfModel]
    """Of the latents that it hardly reads, those that write with the most variance."""

    written: float
    """Variance of what all latents write, added up."""

    below: float | None
    """Relevance below which a latent is hardly read; None on cards of earlier versions."""

    def control(self, name: str, figure: str) -> float | None:
        """A control's value of a figure."""
        figures = self.found.controls.get(name) or self.twins.get(name, [])
        return next((one.value for one in figures if one.name == figure), None)

    @property
    def names(self) -> dict[str, str]:
        """What figures are called, by their names."""
        return {figure.name: called(figure.name) for figure in self.found.figures}

    @property
    def verdicts(self) -> dict[str, str]:
        """Whether figures that answer a question are better than their nulls, by their names."""
        return {one.name: against_null(one) if said_of(one.name) else "undecided" for one in self.found.figures}

    def lines(self) -> Lines:
        """The curves as shapes."""
        return _lines(self.found.curves)


def model_features_page(opened: OpenWorkspace, run: str) -> ModelFeaturesPage:
    """The card of a run's dictionary. Raises `NotMadeYet` where there is none, or it is of another dictionary than the
    run has now."""
    card = opened.card(run)
    read = card_of(opened, run)
    if read is None:
        raise NotMadeYet(
            f"How far the dictionary that run {run!r} has now is one of the model was not measured.",
            "a run of which it was",
            f"run `sparselex evaluate model-features {opened.workspace.typed} --run {run}`.",
        )
    found = read.found
    answered, twins = answers(found), twins_of(opened, run)
    controls = {name: control_words(name) for name in found.controls if name != NULL}
    by_relevance = sorted(found.latents, key=lambda one: -one.relevance)
    unread = sorted((one for one in found.latents if one.unread), key=lambda one: -one.variance)
    return ModelFeaturesPage(
        title=f"{run}: features of the model?",
        run=card,
        at=read_manifest(opened.workspace.run(run) / KIND).inputs.get("at", ""),
        found=found.model_copy(update={"latents": []}),
        answers=answered,
        summary=summary(found, twins),
        controls=controls | {one.run: f"the dictionary of its twin: {one.words}" for one in twins},
        twins={one.run: one.found.figures for one in twins},
        edits=edit_frontiers(opened.workspace.path, run, opened.dictionary_id(run)),
        most=by_relevance[:_LISTED],
        least=unread[:_LISTED],
        written=sum(one.variance for one in found.latents),
        below=found.unread_below,
    )


PAGE = Page(
    path="/runs/{run}/model-features",
    build=model_features_page,
    template=TEMPLATES / "model_features.html",
)


def _lines(curves: list[Curve]) -> Lines:
    top = max((max(curve.y) for curve in curves), default=0.0) or 1.0
    far = max((max(curve.x) for curve in curves), default=0.0) or 1.0
    x = lambda value: round(LEFT + (WIDTH - LEFT - RIGHT) * value / far, 1)
    y = lambda value: round(BASE - (BASE - TOP) * value / top, 1)
    path = lambda curve: "L".join(f"{x(a)} {y(b)}" for a, b in zip([0.0, *curve.x], [0.0, *curve.y], strict=True))
    lines = [Line(curve.name, f"M{path(curve)}") for curve in curves]
    marks = lambda end, at: [Tick(at(part * end), number(part * end, 2)) for part in (0.0, 0.5, 1.0)]
    return Lines(lines, marks(far, x), marks(top, y))
