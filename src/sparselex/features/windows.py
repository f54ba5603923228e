"""The text around an example, with the latent's activations on it."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import SkipValidation, field_serializer

from sparselex.base.config import Config
from sparselex.base.formats import number
from sparselex.features.index import FeatureIndex
from sparselex.features.pieces import Piece, passage, pieces
from sparselex.features.printing import shown, shown_silent
from sparselex.features.records import Example
from sparselex.features.tokens import TokenTexts
from sparselex.text.splits import Split

LEVELS = 10


class Span(NamedTuple):
    """A piece of an example: one active character or more, or the silent text between two. A page has hundreds, so it
    is no `Config`: that would check each as if somebody else had made it."""

    text: str
    """Printable text; whole characters, however many tokens their bytes came in."""

    value: float = 0.0
    """Activation, the largest by size among the piece's tokens; 0 for silent text."""

    level: int = 0
    """Heat from 0 (silent) to 10, relative to the latent's largest activation in the text that may be shown."""

    peak: bool = False
    """Whether the example's position lies in this piece."""

    detail: str = ""
    """Activation, text and id of each of its tokens, a line each, and their bytes where these are no plain text; first
    how many they are if more than one. Empty for silent text."""


class ExampleView(Config):
    """An example with the text around it."""

    position: int
    """Position in the corpus."""

    document: str
    """Name of the document."""

    value: float
    """Activation at the position."""

    spans: SkipValidation[list[Span]]
    """The text around it, inside the same document and row, in pieces. Each has its `text`, its `value` (activation,
    0 for silent text), its `level` (heat from 0 to 10), `peak` (whether the position lies in it) and its `detail`
    (activation, text and id of each of its tokens, a line each; empty for silent text)."""

    cut_before: bool
    """Whether the document goes on before the text shown, in the same row."""

    cut_after: bool
    """Whether it goes on behind it."""

    @field_serializer("spans")
    def _with_names(self, spans: list[Span]) -> list[dict[str, Any]]:
        return [span._asdict() for span in spans]


class Windows:
    """Examples of one latent as text; its column is read once for all of them. With a `split`, activations of that
    split alone are shown, and heat is relative to the largest of these."""

    def __init__(self, index: FeatureIndex, latent: int, texts: TokenTexts, split: Split | None = None):
        self.corpus, self.texts = index.corpus, texts
        self.positions, self.values = index.split_column(latent, split) if split else index.column(latent)
        self.largest = float(np.abs(self.values).max(initial=0))

    def view(self, example: Example) -> ExampleView:
        """The example with the tokens around it, inside its row and its document. Raises `UserError` for one that is
        not in the corpus."""
        return self.views([example])[0]

    def views(self, examples: Sequence[Example]) -> list[ExampleView]:
        """Several examples, each as `view` has it; their rows are looked up at once."""
        found = pieces(self.corpus, self.texts, [example.position for example in examples])
        return [
            ExampleView(
                position=example.position,
                document=self.corpus.names[piece.document],
                value=example.value,
                spans=self._spans(piece.tokens, active, piece.place),
                cut_before=piece.cut_before,
                cut_after=piece.cut_after,
            )
            for example, piece, active in zip(examples, found, self._active_in(found), strict=True)
        ]

    def whole(self, example: Example, *, document: bool = False) -> ExampleView:
        """The example in the whole of its row that is of its document, or in the whole document (of a very long one the
        part around it), its lines broken where the text breaks them. Raises `UserError` for one that is not in the
        corpus."""
        found = passage(self.corpus, example.position, whole=document)
        tokens = np.asarray(self.corpus.tokens).reshape(-1)[found.positions].tolist()
        there = np.searchsorted(found.positions, self.positions).clip(max=len(found.positions) - 1)
        here = np.flatnonzero(found.positions[there] == self.positions)
        active = dict(zip(there[here].tolist(), self.values[here].tolist(), strict=True))
        return ExampleView(
            position=example.position,
            document=self.corpus.names[found.document] if found.document >= 0 else "",
            value=example.value,
            spans=self._spans(tokens, active, int(np.searchsorted(found.positions, example.position)), lines=True),
            cut_before=found.cut_before,
            cut_after=found.cut_after,
        )

    def typed(self, tokens: Sequence[int], active: Mapping[int, float], peak: int, position: int) -> ExampleView:
        """A text that is not of the corpus, with activations by place in it; `position` is what `peak` is called."""
        return ExampleView(
            position=position,
            document="",
            value=active.get(peak, 0.0),
            spans=self._spans(tokens, active, peak),
            cut_before=False,
            cut_after=False,
        )

    def at(self, position: int) -> Example:
        """What lies at a position, active or not."""
        place = int(np.searchsorted(self.positions, position))
        is_active = place < len(self.positions) and int(self.positions[place]) == position
        return Example(position=position, value=float(self.values[place]) if is_active else 0.0)

    def _active_in(self, found: Sequence[Piece]) -> Iterator[dict[int, float]]:
        """For each piece, the activations of its tokens that have one, by their place in it."""
        starts = np.array([piece.start for piece in found], dtype=np.int64)
        firsts = np.searchsorted(self.positions, starts).tolist()
        ends = np.searchsorted(self.positions, [piece.stop for piece in found]).tolist()
        for piece, first, end in zip(found, firsts, ends, strict=True):
            places = (self.positions[first:end] - piece.start).tolist()
            yield dict(zip(places, self.values[first:end].tolist(), strict=True))

    def _spans(
        self, tokens: Sequence[int], active: Mapping[int, float], peak: int, *, lines: bool = False
    ) -> list[Span]:
        """Active signs, and the one at `peak`, each on their own; silent text between them in one piece."""
        texts, starts = self.texts.signs(tokens)
        # What text shows when it is silent it shows sign by sign as well.
        silent = [shown_silent(text, lines) for text in texts] if lines else [*map(shown_silent, texts)]
        at_peak, begun, spans = _sign_at(starts, peak), 0, list[Span]()
        for sign in sorted({at_peak, *[_sign_at(starts, place) for place, value in active.items() if value]}):
            if between := "".join(silent[begun:sign]):
                spans.append(Span(between))
            places = range(starts[sign], starts[sign + 1])
            text = shown(texts[sign], lines) if lines else shown(texts[sign])
            spans.append(self._active(text, tokens, active, places, sign == at_peak))
            begun = sign + 1
        if rest := "".join(silent[begun:]):
            spans.append(Span(rest))
        return spans

    def _active(self, text: str, tokens: Sequence[int], active: Mapping[int, float], places: range, peak: bool) -> Span:
        largest, lines = 0.0, [] if len(places) == 1 else [f"one sign of {len(places)} tokens"]
        for place in places:
            value = active.get(place, 0.0)
            largest = value if abs(value) > abs(largest) else largest
            lines.append(f"{number(value)}  {self.texts.named(tokens[place])}")
        level = max(1, min(LEVELS, math.ceil(LEVELS * abs(largest) / self.largest))) if largest else 0
        return Span(text, largest, level, peak, "\n".join(lines))


def _sign_at(starts: Sequence[int], place: int) -> int:
    return bisect_right(starts, place) - 1
