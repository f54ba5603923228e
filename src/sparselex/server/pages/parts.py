"""What several pages show."""

from sparselex.base.config import Config
from sparselex.base.figures import Failure
from sparselex.explain.records import DEFINITIONS, Explanation, Score
from sparselex.features.windows import ExampleView
from sparselex.server.explained import Entry


class HeadlineView(Config):
    """A scorer's foremost score of one explanation."""

    scorer: str
    """Who scored."""

    metric: str
    """Which measure."""

    value: float
    """The measure on test documents."""

    null: float | None
    """The same measure where there is nothing to explain."""


class EntryView(Config):
    """An explanation as lists show it."""

    explainer: str
    """Who explained."""

    status: str
    """explained, abstained or failed."""

    title: str
    """The explanation in short, or why there is none."""

    headlines: list[HeadlineView]
    """Scores, the first scorer's first; empty unless explained and scored."""


class JudgementView(Config):
    """What an explanation said of one held-out example."""

    example: ExampleView
    """The example with the text around it."""

    expected: float
    """The activation there."""

    said: float | None
    """What the explanation makes of it; None where there was no answer that could be read."""


class ScorerView(Config):
    """What one scorer found of one explanation."""

    scorer: str
    """Who scored."""

    scores: list[Score]
    """Its measures."""

    definitions: dict[str, str]
    """What each of them is."""

    judgements: list[JudgementView]
    """Held-out examples that were judged one by one."""


class ExplanationView(Config):
    """Everything about one explanation of a latent."""

    explainer: str
    """Who explained."""

    status: str
    """explained, abstained or failed."""

    title: str
    """The explanation in short."""

    text: str
    """The explanation; for an abstention or a failure, the reason."""

    scorers: list[ScorerView]
    """Its scores; none unless explained."""

    failures: list[Failure]
    """Scorers that gave no score, with the reasons."""


def entry(found: Entry) -> EntryView:
    """An entry of a list as it is shown."""
    return EntryView(
        explainer=found.explainer,
        status=found.status,
        title=found.title,
        headlines=[HeadlineView(**headline._asdict()) for headline in found.headlines],
    )


def explanation(found: Explanation) -> ExplanationView:
    """An explanation with its scores, by scorer."""
    return ExplanationView(
        explainer=found.explainer,
        status=found.status,
        title=found.title,
        text=found.text,
        scorers=[_exact(found.scores)] if found.scores else [],
        failures=[],
    )


def _exact(scores: list[Score]) -> ScorerView:
    definitions = {score.metric: DEFINITIONS[score.metric] for score in scores if score.metric in DEFINITIONS}
    return ScorerView(scorer="exact", scores=scores, definitions=definitions, judgements=[])
