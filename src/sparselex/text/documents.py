"""What a text is made of, and what a source of texts offers."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sparselex.base.errors import UserError

Message = Mapping[str, Any]
"""A message of a chat: its `role`, its `content`, and what else its record has of it, such as `tool_calls`."""


class Document(NamedTuple):
    """A text with a name that is unique in its source."""

    name: str
    """Its name."""

    text: str
    """The text."""

    roles: Any = None
    """Named parts of a prompt as its record brings them: name to [start, end) in characters. Only a corpus of prompts
    looks at them, and checks them."""

    ids: Sequence[int] | None = None
    """Its tokens, where it comes tokenized; its text is then empty until a tokenizer gives it back."""

    messages: Sequence[Message] | None = None
    """The messages of a chat, which a tokenizer's template makes one text of; `text` is then what they say."""


class Skipped(NamedTuple):
    """Something that was read and is no document: counted, where a reader goes on."""

    what: str
    """What is counted, in the plural: `empty documents`."""

    where: str
    """Which one, and what is wrong with it; said of the first."""


class Documents:
    """The documents that a reader finds, one by one, and a count of what it had to skip.

    Blank documents, and those with half a character, are skipped here, for every reader. Raises what the reader raises,
    and `UserError` in the end where a source that has a name held none.
    """

    def __init__(self, found: Iterable[Document | Skipped], source: str = ""):
        self._found, self._source, self._is_empty = iter(found), source, True
        self._ahead = list[Document]()
        self.skipped: dict[str, tuple[int, str]] = {}
        """What was skipped so far: how many of each, and where the first was."""

    def __iter__(self) -> Iterator[Document]:
        return self

    def begin(self) -> None:
        """Take the first document and keep it for later: a text that cannot be read is refused here."""
        self._ahead = list(itertools.islice(self, 1))

    def __next__(self) -> Document:
        if self._ahead:
            return self._ahead.pop()
        for found in self._found:
            item = _checked(found)
            if isinstance(item, Document):
                self._is_empty = False
                return item
            self.skip(item)
        if self._source and self._is_empty:
            raise self.no_text()
        raise StopIteration

    def skip(self, item: Skipped) -> None:
        """Count something that was skipped."""
        n, where = self.skipped.get(item.what, (0, item.where))
        self.skipped[item.what] = n + 1, where

    def no_text(self) -> UserError:
        """What is said where there is no document, with what was skipped."""
        skipped = "; ".join(f"{n:,} {what}, the first: {where}" for what, (n, where) in self.skipped.items())
        return UserError(
            f"The text source {self._source!r} holds no text" + (f" ({skipped})." if skipped else "."),
            "at least one document that is not blank",
            "check the path and the field that holds the text; of a folder, hidden files and links that lead out of it "
            "are not read.",
        )


def _checked(item: Document | Skipped) -> Document | Skipped:
    if isinstance(item, Skipped):
        return item
    if not (item.ids if item.ids is not None else item.text.strip()):
        return Skipped("empty documents", item.name)
    fault = half_character(item.text)
    return Skipped(HALVED, f"{item.name}: {fault}") if fault else item


HALVED = "documents with half a character"
"""What they are counted as: JSON can write them, and cut bytes read as text."""


def half_character(text: str) -> str | None:
    """Which half of a character stands in a text, and where; None in what is Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"half a character ({error.object[error.start]!r}) stands at {error.start}"
    return None


@runtime_checkable
class TextSource(Protocol):
    """A source that is asked for by its name, `NAME` or `NAME:REST`."""

    def documents(self, rest: str) -> Iterator[Document | Skipped]:
        """The documents, lazily and in a fixed order, and what is skipped among them; `rest` is what was written behind
        the name, if anything. Raises `UserError` for a rest that means nothing."""
        ...

    def identity(self, rest: str) -> str:
        """A hash that changes with the documents: equal ones are never tokenized twice."""
        ...


@runtime_checkable
class Stamped(Protocol):
    """A source whose `identity` takes long, and that can tell sooner whether it is what it was."""

    def stamp(self, rest: str) -> str:
        """A hash that changes with the documents, from names, sizes and times for example; it may change where they do
        not, and is never kept with what is made of them."""
        ...
