"""The text around an example, with the latent's activations on it."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.formats import number
from sparselex.features.index import FeatureIndex
from sparselex.features.printing import visible
from sparselex.features.records import Example
from sparselex.features.tokens import TokenTexts
from sparselex.text.splits import Split

BEFORE, AFTER = 30, 12
"""Tokens shown before and after an example: what the model read matters more than what came next."""

LEVELS = 10
_LONGEST_CHARACTER = 4


class Span(Config):
    """A piece of an example: one active character or more, or the silent text between two."""

    text: str
    """Printable text; whole characters, however many tokens their bytes came in."""

    value: float = 0.0
    """Activation, the largest by size among the piece's tokens; 0 for silent text."""

    level: int = 0
    """Heat from 0 (silent) to 10, relative to the latent's largest activation in the text that may be shown."""

    peak: bool = False
    """Whether the example's position lies in this piece."""

    detail: str = ""
    """Activation, text and id of each of its tokens, a line each; empty for silent text."""


class ExampleView(Config):
    """An example with the text around it."""

    position: int
    """Position in the corpus."""

    document: str
    """Name of the document."""

    value: float
    """Activation at the position."""

    spans: list[Span]
    """The text around it, inside the same document and row."""

    cut_before: bool
    """Whether the document goes on before the text shown, in the same row."""

    cut_after: bool
    """Whether it goes on behind it."""


class Windows:
    """Examples of one latent as text; its column is read once for all of them. With a `split`, activations of that
    split alone are shown, and heat is relative to the largest of these."""

    def __init__(self, index: FeatureIndex, latent: int, texts: TokenTexts, split: Split | None = None):
        self.corpus, self.texts = index.corpus, texts
        self.positions, self.values = index.split_column(latent, split) if split else index.column(latent)
        self.largest = float(np.abs(self.values).max(initial=0))

    def view(self, example: Example) -> ExampleView:
        """The example with the tokens around it, inside its row and its document. Raises `UserError` for one that is
        not in the corpus: it may come from a database that somebody has changed."""
        corpus = self.corpus
        row, column = divmod(example.position, corpus.n_ctx)
        if not 0 <= row < corpus.n_rows:
            raise UserError(
                f"An example lies at position {example.position} of the corpus.",
                f"one of its {corpus.n_rows * corpus.n_ctx:,} positions",
                "explain the run again.",
            )
        owners = np.asarray(corpus.documents[row])
        tokens = np.asarray(corpus.tokens[row]).tolist()
        own = np.flatnonzero(owners == owners[column])
        first, end = int(own[0]), int(own[-1]) + 1
        start, stop = self._bounds(tokens, column, first, end)
        active = self._active_in(row * corpus.n_ctx + start, row * corpus.n_ctx + stop)
        return ExampleView(
            position=example.position,
            document=corpus.names[int(owners[column])],
            value=example.value,
            spans=list(self._spans(tokens[start:stop], active, column - start)),
            cut_before=start > first,
            cut_after=stop < end,
        )

    def _bounds(self, tokens: list[int], column: int, first: int, end: int) -> tuple[int, int]:
        """Where the text shown begins and ends; up to three tokens further out rather than inside a character."""
        start, stop = max(first, column - BEFORE), min(end, column + AFTER + 1)
        for _ in range(_LONGEST_CHARACTER - 1):
            start -= start > first and self.texts.continues(tokens[start])
            stop += stop < end and self.texts.continues(tokens[stop])
        return start, stop

    def _active_in(self, start: int, stop: int) -> dict[int, float]:
        """Activations at the positions from `start` to `stop` that have one, by their distance from `start`."""
        first, end = np.searchsorted(self.positions, (start, stop))
        places = (self.positions[first:end] - start).tolist()
        return dict(zip(places, self.values[first:end].tolist(), strict=True))

    def _spans(self, tokens: Sequence[int], active: Mapping[int, float], peak: int) -> Iterator[Span]:
        """Active signs, and the one at `peak`, each on their own; silent text between them in one piece."""
        texts, starts = self.texts.signs(tokens)
        at_peak, begun = _sign_at(starts, peak), 0
        for sign in sorted({at_peak, *(_sign_at(starts, place) for place, value in active.items() if value)}):
            yield from _silent(texts[begun:sign])
            values = {place: active.get(place, 0.0) for place in range(starts[sign], starts[sign + 1])}
            yield self._active(texts[sign], [tokens[place] for place in values], [*values.values()], sign == at_peak)
            begun = sign + 1
        yield from _silent(texts[begun:])

    def _active(self, text: str, tokens: Sequence[int], values: Sequence[float], peak: bool) -> Span:
        value = max(values, key=abs)
        named = zip(tokens, values, strict=True)
        return Span(
            text=visible(text),
            value=value,
            level=max(1, min(LEVELS, math.ceil(LEVELS * abs(value) / self.largest))) if value else 0,
            peak=peak,
            detail="\n".join([f"{number(v)}  {self.texts.label(token)}  token {token}" for token, v in named]),
        )


def _sign_at(starts: Sequence[int], place: int) -> int:
    return bisect_right(starts, place) - 1


def _silent(texts: Sequence[str]) -> Iterator[Span]:
    text = "".join(texts)
    if text:
        yield Span(text=visible(text, active=False))
