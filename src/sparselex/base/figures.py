"""The one form in which a figure leaves this project, and the form of a failure."""

from pathlib import Path
from typing import Literal, Self

from pydantic import FiniteFloat, model_validator

from sparselex.base.artifacts import record_of
from sparselex.base.config import Config
from sparselex.base.files import write_json

Better = Literal["", "higher", "lower"]
"""Which values of a figure are better; empty where that is no question."""


class Figure(Config):
    """One measured number with all that is needed to believe or doubt it."""

    name: str
    """Path of the figure, such as `core/fvu`."""

    value: FiniteFloat | None = None
    """The measured value; absent exactly when `failure` is given."""

    unit: str = ""
    """Unit of the value; empty for a pure number."""

    ci_low: FiniteFloat | None = None
    """Lower end of the 95 % interval."""

    ci_high: FiniteFloat | None = None
    """Upper end of the 95 % interval."""

    se: FiniteFloat | None = None
    """Standard error; the interval is wider than two of them where units are few."""

    n: int = 0
    """Number of observations behind the value, in the unit that `definition` names."""

    units: str = ""
    """What was drawn independently, such as `documents`: the interval is over these."""

    n_units: int = 0
    """How many of them there were."""

    n_effective: FiniteFloat | None = None
    """How many of one size would tell as much."""

    better: Better = ""
    """Which values are better; empty where that is no question."""

    null: FiniteFloat | None = None
    """The value under the null hypothesis, measured the same way; absent where none exists."""

    controls: dict[str, FiniteFloat] = {}
    """The same figure on control models and control dictionaries, by control name."""

    definition: str
    """What was computed, over what, and how the interval was made."""

    failure: str | None = None
    """Why there is no value."""

    @model_validator(mode="after")
    def _value_or_failure(self) -> Self:
        if (self.value is None) == (self.failure is None):
            raise ValueError("a figure has either a value or a failure, never both and never neither")
        return self


FIGURES = "figures.json"
"""File of an artifact that holds its `Figures`; the report gathers these files of all artifacts of a run."""


class Figures(Config):
    """What an artifact says in numbers."""

    figures: list[Figure]
    """Its figures."""

    controls: dict[str, list[Figure]] = {}
    """The same figures of what it is held against (control dictionaries on the same activations), by control."""

    @classmethod
    def read(cls, folder: Path) -> "Figures":
        """The figures of the artifact `folder`. Raises `UserError` if they are missing or damaged."""
        return record_of(Figures, folder, FIGURES)

    def write(self, folder: Path) -> None:
        """Put them into the folder of an artifact in progress."""
        write_json(folder / FIGURES, Figures(figures=self.figures, controls=self.controls).to_json())


class Failure(Config):
    """Work that did not succeed, as a value that is counted and shown."""

    subject: str
    """What failed, such as `latent 17`."""

    reason: str
    """Why, in one sentence."""
