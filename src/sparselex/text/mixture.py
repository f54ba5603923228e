"""Several sources read as one text, each with its share of the tokens."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from sparselex.base.errors import UserError
from sparselex.text.documents import Document, Documents
from sparselex.text.records import Part

T = TypeVar("T")


class Ingredient(NamedTuple):
    """One of the sources of a mixture."""

    source: str
    """The source, as given."""

    weight: float
    """Its weight; its share is that of the sum of all."""

    documents: Documents
    """Its documents, by names that no other source's have."""


class Mixture:
    """Documents of several sources in turns. It ends where the first source does: with more of the others their shares
    would no longer be those asked for. As an iterator it mixes by bytes; a corpus mixes by tokens."""

    def __init__(self, ingredients: Sequence[Ingredient]):
        self.ingredients = list(ingredients)
        self._sizes, self._counts = [0] * len(self.ingredients), [0] * len(self.ingredients)
        self._ended = -1

    def __iter__(self) -> Iterator[Document]:
        streams = [iter(one.documents) for one in self.ingredients]
        return self.in_turns(streams, lambda document: len(document.text.encode()))

    def begin(self) -> None:
        """Take the first document of each and keep it for later: a text that cannot be read is refused here."""
        for one in self.ingredients:
            one.documents.begin()

    def in_turns(self, streams: Sequence[Iterator[T]], size: Callable[[T], int]) -> Iterator[T]:
        """What the sources' `streams` hold, the next always of that which is furthest behind its share."""
        while True:
            behind = [total / one.weight for total, one in zip(self._sizes, self.ingredients, strict=True)]
            number = behind.index(min(behind))
            item = next(streams[number], None)
            if item is None:
                self._ended = number
                return
            self._sizes[number] += size(item)
            self._counts[number] += 1
            yield item

    @property
    def skipped(self) -> dict[str, tuple[int, str]]:
        """What was skipped of all (`Documents.skipped`)."""
        found: dict[str, tuple[int, str]] = {}
        for one in self.ingredients:
            for what, (n, where) in one.documents.skipped.items():
                before, first = found.get(what, (0, where))
                found[what] = before + n, first
        return found

    def parts(self) -> list[Part]:
        """What was taken of each source."""
        total = sum(one.weight for one in self.ingredients)
        return [
            Part(
                source=one.source,
                share=one.weight / total,
                n_documents=self._counts[number],
                n_tokens=self._sizes[number],
                ran_out=number == self._ended,
            )
            for number, one in enumerate(self.ingredients)
        ]


def labels_of(sources: Sequence[str]) -> list[str]:
    """A short name for each source, no two alike: the last part of a path, numbered where that does not tell them
    apart. Raises `UserError` where one is given twice."""
    if len(set(sources)) < len(sources):
        raise UserError(
            f"The mixture {' and '.join(sources)} has a source twice.",
            "different sources, each with its weight",
            "add their weights up.",
        )
    last = [source.rstrip("/").rpartition("/")[2] or source for source in sources]
    return [f"{number}-{name}" if last.count(name) > 1 else name for number, name in enumerate(last)]
