"""What people write, as records: each is one row, told apart from all others by its first fields."""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

from sparselex.base.config import Config
from sparselex.base.runs import RunName

MOST_LINE, MOST_TEXT = 200, 20_000
"""Characters of a line, and of a text."""

NO_POSITION = -1
"""Position of a pin that is of the feature itself and of no example."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
"""What is no text, or would end a line where a file is read."""

_UNREACHABLE = re.compile(r"(^|/)\.{1,2}(/|$)|\.json$")
"""Names that no address of a list can hold: a browser takes dots for folders, and an ending for the record."""


def _line(given: str) -> str:
    """One line, composed, without spaces around it. Raises `ValueError` for control characters."""
    text = unicodedata.normalize("NFC", given.strip())
    if "\n" in text or _CONTROLS.search(text):
        raise ValueError("holds line breaks or control characters")
    return text


def _text(given: str) -> str:
    """Lines that end in `\\n`, without empty ones around them. Raises `ValueError` for control characters."""
    text = given.replace("\r\n", "\n").replace("\r", "\n").strip("\n").rstrip()
    if _CONTROLS.search(text.replace("\t", "")):
        raise ValueError("holds control characters")
    return text


def _name(given: str) -> str:
    if not given:
        raise ValueError("is empty")
    if _UNREACHABLE.search(given):
        raise ValueError("ends in .json, or has a part that is . or ..")
    return given


Line = Annotated[str, Field(max_length=MOST_LINE), AfterValidator(_line)]
"""One line of words; may be empty."""

Title = Annotated[Line, AfterValidator(_name)]
"""What a list or a case study is called."""

Text = Annotated[str, Field(max_length=MOST_TEXT), AfterValidator(_text)]
"""Words of any number of lines, Markdown if the writer likes; shown as they were written."""

Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""What a note or a case study goes by in all workspaces: drawn at random."""

Version = Annotated[int, Field(ge=0, lt=2**53)]
"""Which text it is; another at each change. 0 for one that is not there."""


class Feature(Config):
    """Which feature something is said of."""

    run: RunName
    """Name of the run."""

    dictionary: Annotated[str, Field(pattern=r"^[0-9A-Za-z]{1,64}$")]
    """Id of the run's dictionary when it was said."""

    latent: Annotated[int, Field(ge=0, lt=10**9)]
    """Number of the latent."""

    @property
    def feature(self) -> "Feature":
        """The feature alone."""
        return Feature(run=self.run, dictionary=self.dictionary, latent=self.latent)

    @property
    def key(self) -> tuple[str, str, int]:
        """Its three columns."""
        return self.run, self.dictionary, self.latent


class Label(Feature):
    """A reader's own words for a feature."""

    text: Title
    """The words."""

    version: Version = 0
    """Which text it is."""


class Note(Feature):
    """What somebody noted of a feature."""

    id: Id
    """What the note goes by."""

    text: Text
    """The note."""

    version: Version = 0
    """Which text it is."""

    written: str
    """When it was begun, UTC."""


class Item(Feature):
    """A feature in a list."""

    list: Title
    """Name of the list."""

    text: Text = ""
    """A comment; empty for none."""

    version: Version = 0
    """Which comment it is."""


class Listed(Config):
    """A list of features."""

    name: Title
    """What it is called, and its address."""

    words: Text = ""
    """What it is of; empty where that is not said."""

    test_text: Text = ""
    """A text on which its features may be tried; empty for none."""

    version: Version = 0
    """Which words they are."""


class Study(Config):
    """A case study: a text with features and examples pinned to it."""

    id: Id
    """What it goes by."""

    title: Title
    """Its title."""

    text: Text = ""
    """The text."""

    version: Version = 0
    """Which text it is."""

    written: str
    """When it was begun, UTC."""


class Pin(Feature):
    """A feature, or an example of one, pinned to a case study."""

    study: Id
    """Which case study."""

    position: Annotated[int, Field(ge=NO_POSITION, lt=10**15)] = NO_POSITION
    """Position of the example in the run's corpus; -1 for the feature itself."""

    example: Text = ""
    """The text around it, for reading where the corpus is not; empty for the feature itself."""


class Notebook(Config):
    """All that people wrote in a workspace."""

    labels: list[Label] = []
    """By run, dictionary and latent, as all that is of features."""

    stars: list[Feature] = []
    """Features that are starred."""

    notes: list[Note] = []
    """Of one feature the oldest first."""

    lists: list[Listed] = []
    """By name."""

    items: list[Item] = []
    """By list, in the order of each."""

    studies: list[Study] = []
    """The oldest first."""

    pins: list[Pin] = []
    """By case study, in the order in which they were pinned."""
