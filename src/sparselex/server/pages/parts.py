"""What several pages show."""

from collections.abc import Iterator
from itertools import groupby

from sparselex.base.config import Config
from sparselex.explain.records import Explanation, Score
from sparselex.features.windows import ExampleView
from sparselex.server.explained import Headline, definitions_of


class HeadlineView(Config):
    """An explanation as lists show it."""

    explainer: str
    """Who explained."""

    status: str
    """explained, abstained or failed."""

    title: str
    """The explanation in short, or why there is none."""

    metric: str
    """The measure that stands for the explanation."""

    score: float | None
    """That measure on test documents; None where it was not scored."""

    null: float | None
    """The same measure of its null."""


class JudgementView(Config):
    """What an explanation said of one held-out example."""

    example: ExampleView
    """The example with the text around it."""

    expected: float
    """The activation there."""

    said: float
    """What the explanation makes of it."""


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


def headline(found: Headline) -> HeadlineView:
    """A headline as lists show it."""
    return HeadlineView(**found._asdict())


def explanation(found: Explanation) -> ExplanationView:
    """An explanation with its scores, by scorer."""
    return ExplanationView(
        explainer=found.explainer,
        status=found.status,
        title=found.title,
        text=found.text,
        scorers=list(_scorers(found)),
    )


def _scorers(found: Explanation) -> Iterator[ScorerView]:
    for scorer, scores in groupby(found.scores, key=lambda score: "exact"):
        of_scorer, words = list(scores), definitions_of(found.explainer, scorer)
        definitions = {score.metric: words[score.metric] for score in of_scorer if score.metric in words}
        yield ScorerView(scorer=scorer, scores=of_scorer, definitions=definitions, judgements=[])
