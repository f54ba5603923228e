"""What came of the examples, as it lies on disk. No tensors here: command line and browser read these."""

from pathlib import Path
from typing import Literal

from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.evaluate.doomed.config import Example

KIND, EXAMPLE = "doomed", "doomed example"
"""Kinds of artifacts: all examples, and one."""

FILE, EXAMPLE_FILE = "doomed.json", "example.json"
"""Their `Doomed`, and `ExampleFound`."""

CHANCE_95 = "random, 95 %"
"""Control of a figure: what 95 % of draws of as many random directions stay below."""

Sees = Literal["activations", "model", "chance", "truth"]
"""What a method is given: activations of one layer alone; gradients or outputs of the model besides; nothing; the
answer."""

Supported = Literal["yes", "partly", "no"]
"""Whether figures bear out what the post says of an example."""


class MethodRow(Config):
    """What one method found in an example."""

    method: str
    """Its name."""

    setting: str
    """Its size and sparsity."""

    sees: Sees
    """What it is given."""

    figures: dict[str, Figure]
    """By measure; the null is what as many random directions reach on average."""

    @property
    def called(self) -> str:
        """Its name with its setting."""
        return f"{self.method} {self.setting}".strip()

    def value(self, measure: str) -> float | None:
        """A figure's value; None where there is none."""
        return self.figures[measure].value if measure in self.figures else None


class ExampleFound(Config):
    """One example with what all methods found."""

    name: Example
    """Its name."""

    title: str
    """What it is about."""

    claim: str
    """What the post says of it."""

    built: str
    """How it was built here, with its sizes."""

    measures: dict[str, str]
    """What each measure is, in the order of the table's columns."""

    drawn: list[str]
    """Measures that are drawn."""

    rows: list[MethodRow]
    """What methods found."""

    facts: list[Figure]
    """What else is to be known of the model."""

    supported: Supported = "no"
    """Whether figures bear out the claim; made anew whenever it is read."""

    verdict: str = ""
    """What the figures say; made anew whenever it is read."""

    def row(self, called: str) -> MethodRow:
        """The row of that name. Raises `KeyError` where there is none."""
        return {one.called: one for one in self.rows}[called]


class Doomed(Config):
    """All examples."""

    n_seeds: int
    """Times that each was run."""

    shortened: list[str] = []
    """What was less than by default, as options: then it is a first look."""

    examples: list[ExampleFound]
    """In the order of the post."""


def meaning(fact: Figure) -> str:
    """What a fact is, without how its interval was made or why there is none: that is the same of all."""
    return fact.definition.partition(";")[0]


def doomed_folder(workspace: Path) -> Path:
    """Where all of it lies."""
    return workspace / "doomed"
