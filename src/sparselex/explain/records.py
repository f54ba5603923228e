"""Explanations, judgements and scores as records. No tensors here: the browser reads these."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, FiniteFloat

from sparselex.base.config import Config
from sparselex.base.reading import parse_json

Status = Literal["explained", "abstained", "failed"]


def _table_of(given: Any) -> Any:
    """A table, or what it is in JSON, as the database keeps it."""
    return parse_json(given) if isinstance(given, str) else given


class Explanation(Config):
    """What one explainer says of one latent: words, an abstention, or a failure. Never a placeholder."""

    latent: int
    """Number in the dictionary."""

    explainer: str
    """Who explained."""

    status: Status
    """Whether there is a text to score."""

    text: str
    """The explanation; for an abstention or a failure, the reason."""

    title: str
    """A few words for lists."""

    predictor: Annotated[dict[str, Any] | None, BeforeValidator(_table_of)] = None
    """What predicts activations, where the words alone do not: of a rule, the table of which `text` is the print."""


class Score(Config):
    """How well an explanation predicts the activations on held-out tokens, by one measure."""

    explainer: str
    """Who explained."""

    scorer: str
    """Who scored."""

    metric: str
    """Which measure; the scorer's `definitions` say what it is."""

    value: FiniteFloat
    """The measure on test documents."""

    ci_low: FiniteFloat | None
    """Lower end of the 95 % interval; None where it cannot be made."""

    ci_high: FiniteFloat | None
    """Upper end of the interval."""

    n: int
    """Observations behind the value."""

    null: FiniteFloat | None
    """The same measure where there is nothing to explain, made the same way; None where there is no such null."""


class Judgement(Config):
    """What was said of one held-out token, beside what is true."""

    explainer: str
    """Who explained."""

    scorer: str
    """Who judged."""

    position: int
    """Position in the corpus."""

    expected: FiniteFloat
    """Activation there, by size."""

    said: FiniteFloat | None
    """What the explanation predicts, in the scorer's own unit; None where there was no answer that could be read."""


class Scored(NamedTuple):
    """What a scorer makes of one explanation."""

    scores: list[Score]
    judgements: list[Judgement]


class Headline(NamedTuple):
    """A scorer's foremost score of one explanation, as lists show it."""

    scorer: str
    metric: str
    value: float
    null: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    """Observations behind the value."""


class Foremost(NamedTuple):
    """By whom explanations of an index are scored, and by which measure foremost."""

    explainer: str
    scorer: str
    metric: str
    n_latents: int
    """Latents that have such a score."""

    @property
    def key(self) -> str:
        """How addresses name it, and the report its figure behind `explain/`."""
        return f"{self.explainer}/{self.scorer}/{self.metric}"


class ScoreRow(NamedTuple):
    """One score of one latent."""

    latent: int
    value: float
    null: float | None
    ci_low: float | None
    ci_high: float | None
    n: int


class TextRow(NamedTuple):
    """One explanation as it is searched."""

    latent: int
    explainer: str
    text: str
    printed: bool
    """Whether it is the print of a table of tokens."""


class Entry(NamedTuple):
    """What lists say of one latent by one explainer."""

    explainer: str
    status: Status
    title: str
    headlines: tuple[Headline, ...]
    """By scorer, the run's first scorer first; empty unless explained and scored."""
