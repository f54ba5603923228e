"""Answers to the rubric as records. No tensors here: the browser reads these."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, FiniteFloat, StringConstraints, model_validator

from sparselex.base.bounds import LatentNumber
from sparselex.base.config import Config
from sparselex.explain.ratings.records import positions

FEATURES, NEURONS, TWINS = "features", "neurons", "twins"
"""What is asked about, besides other controls, which have the names of their kinds."""

N_INTERVALS = 11
"""Equal parts of the activations from zero to the largest, each judged by itself."""

PERFECT = 3
"""Logit consistency in which nothing is inconsistent: whether that is apart is then no question."""

MOST = 14
"""Points at most: where separation is a question, logit consistency is one less."""

PAPER: Mapping[str, float] = {FEATURES: 12.0, NEURONS: 0.0}
"""Medians of the 2023 paper (Bricken et al., "Towards Monosemanticity"), of 412 intervals of 162 features and
neurons."""

GOOD = 8
"""Points above which the paper reads an interval as interpretable."""

Words = Annotated[str, StringConstraints(max_length=600, strip_whitespace=True)]
"""What a person takes an interval to mean."""


class RubricScores(Config):
    """What a person gives one interval."""

    confidence: Annotated[int, Field(ge=0, le=3)]
    """How sure the person is of the interpretation."""

    activation: Annotated[int, Field(ge=0, le=5)]
    """How consistent the marked tokens are with it."""

    logits: Annotated[int, Field(ge=0, le=PERFECT)]
    """How consistent the raised tokens are with it."""

    separation: Annotated[int, Field(ge=0, le=1)] | None
    """Whether raised tokens that are not consistent are weaker than those that are; None exactly where all are
    consistent."""

    specificity: Annotated[int, Field(ge=0, le=3)]
    """How much the interpretation leaves out."""

    @model_validator(mode="after")
    def _applies(self) -> "RubricScores":
        if (self.separation is None) != (self.logits == PERFECT):
            raise ValueError("separation is asked for exactly where logit consistency is not perfect")
        return self

    @property
    def total(self) -> int:
        """All points, 14 at most."""
        return self.confidence + self.activation + self.logits + (self.separation or 0) + self.specificity


class RubricAnswer(RubricScores):
    """One answer of one person."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """Drawn anew for each question: the same one answered twice is one answer."""

    index: str
    """Id of the index of the run that was asked about."""

    kind: Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]
    """What was shown: `features`, `neurons`, `twins` (of random weights), or another kind of control."""

    of: str
    """Id of the index whose latent it was: the run's own, or a control's."""

    latent: LatentNumber
    """The latent."""

    interval: Annotated[int, Field(ge=0, lt=N_INTERVALS)]
    """Which part of its activations, from the lowest."""

    positions: Annotated[str, AfterValidator(positions)]
    """Positions in the corpus at which the windows begin, a list in JSON."""

    interpretation: Words
    """What the person took it to mean."""

    seconds: FiniteFloat
    """From when the question was shown to when it was answered."""

    rater: str = ""
    """The name that the person gave, if any."""

    written: str
    """When, UTC."""
