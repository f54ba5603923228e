"""What a text is made of, and what a source of texts offers."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable


class Document(NamedTuple):
    """A text with a name that is unique in its source."""

    name: str
    """Its name."""

    text: str
    """The text."""

    roles: Any = None
    """Named parts of a prompt as its record brings them: name to [start, end) in characters. Only a corpus of prompts
    looks at them, and checks them."""


@runtime_checkable
class TextSource(Protocol):
    """A source that is asked for by its name, `NAME` or `NAME:REST`."""

    def documents(self, rest: str) -> Iterator[Document]:
        """The documents, lazily and in a fixed order; `rest` is what was written behind the name, if anything. Raises
        `UserError` for a rest that means nothing."""
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
