"""An explanation as other projects know it: what their files share, in our words. Pure values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

LONGEST_TEXT = 1 << 16
"""Characters of an explanation: beyond that it is none."""


class ToldScore(NamedTuple):
    """What a file says of how good an explanation is."""

    scorer: str
    """By which method, as the file calls it."""

    metric: str
    """Which measure, as the file calls it."""

    value: float
    n: int = 0
    """Observations behind it; 0 where the file does not say."""


class Told(NamedTuple):
    """What a file says of one latent."""

    latent: int
    text: str
    title: str = ""
    """A few words, where the file has some; else the text's first line serves."""

    method: str = ""
    """How it was made, and by which model, as the file says."""

    author: str = ""
    """Who says it: a person's id."""

    scores: tuple[ToldScore, ...] = ()
    """Theirs: not measured here, and without a null."""


class LeftOut:
    """What was read and is not taken, and where: counted, never dropped in silence."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    def add(self, what: str, where: str) -> None:
        """Count one more, by what it is in the plural."""
        self.found.setdefault(what, []).append(where)


class ReadExplanations(NamedTuple):
    """What was read."""

    format: str
    """delphi, neuronpedia, openai or plain."""

    told: list[Told]
    """In the order of the files."""

    left_out: LeftOut
    files: list[Path]
    """Those that were read."""


class OurScore(NamedTuple):
    """A score of ours, with what stands beside it."""

    scorer: str
    metric: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n: int
    null: float | None
    definition: str


class Ours(NamedTuple):
    """An explanation of ours, to be written."""

    latent: int
    explainer: str
    status: str
    title: str
    text: str
    scores: list[OurScore]
    imported: Mapping[str, Any] | None
    """Where it came from, if it was not made here."""

    predictor: Mapping[str, Any] | None = None
    """What predicts activations, where the words alone do not."""


class OurExample(NamedTuple):
    """A window of held-out text that was judged."""

    tokens: list[str]
    activations: list[float]
    """By size."""

    kind: str
    """What it is: active, silent, or what makes it easily mistaken."""

    tenth: int | None
    """Of an active one, in which tenth of all active windows it is by its largest activation, the largest first."""

    said: float | None
    """How surely it is said to fit, 0 to 1; None where nothing was said that could be read."""


class OurTrial(NamedTuple):
    """All windows on which one judge tried an explanation."""

    judge: str
    examples: list[OurExample]


class OurSimulation(NamedTuple):
    """A window of held-out text token by token, as an explanation foretells it."""

    tokens: list[str]
    activations: list[float]
    """By size."""

    expected: list[float]
    """What is foretold of each."""


class OurSet(NamedTuple):
    """What all explanations that are written have in common."""

    model: str
    """The model, as others may read its name."""

    hookpoint: str
    """Where it is read, by the name that the other project has for that."""

    layer: int
    """Number of the layer; 0 where the place has none."""

    source: str
    """Name of the dictionary: the layer, and the set."""

    made_at: str
    """When, in ISO 8601."""


def plain_text(text: str) -> str:
    """A text as it can be kept and shown: halves of characters and control characters are escaped, blanks around it
    taken off."""
    whole = text.encode(errors="backslashreplace").decode()
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in whole).strip()
