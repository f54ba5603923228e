"""The text around an example, with the latent's activations on it."""

import codecs
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sparselex.base.vocabulary import Vocabulary
from sparselex.features.index import FeatureIndex
from sparselex.features.records import Example
from sparselex.server.contexts import ExampleView, Span
from sparselex.server.formats import number, visible

BEFORE, AFTER = 30, 12
"""Tokens shown before and after an example: what the model read matters more than what came next."""

LEVELS = 10
_LONGEST_CHARACTER = 4


class Windows:
    """Examples of one latent as text; its column is read once for all of them."""

    def __init__(self, index: FeatureIndex, latent: int):
        self.corpus = index.corpus
        self.positions, self.values = index.column(latent)
        self.largest = float(np.abs(self.values).max(initial=0))

    def view(self, example: Example) -> ExampleView:
        """The example with the tokens around it, inside its row and its document."""
        corpus = self.corpus
        row, column = divmod(example.position, corpus.n_ctx)
        owners = np.asarray(corpus.documents[row])
        tokens = np.asarray(corpus.tokens[row]).tolist()
        start, stop = self._bounds(owners, tokens, column)
        values = self._values(row * corpus.n_ctx + np.arange(start, stop)).tolist()
        parts = list(_characters(tokens[start:stop], values, corpus.vocabulary))
        return ExampleView(
            position=example.position,
            document=corpus.names[int(owners[column])],
            value=example.value,
            spans=list(self._spans(parts, column - start)),
            cut_before=start > 0 and owners[start - 1] == owners[column],
            cut_after=stop < len(owners) and owners[stop] == owners[column],
        )

    def _bounds(self, owners: NDArray[np.int32], tokens: list[int], column: int) -> tuple[int, int]:
        """First and last column shown; moved outwards by up to three tokens rather than cut a character."""
        own = np.flatnonzero(owners == owners[column])
        start, stop = max(int(own[0]), column - BEFORE), min(int(own[-1]) + 1, column + AFTER + 1)
        for _ in range(_LONGEST_CHARACTER - 1):
            if start > own[0] and self._continues(tokens[start]):
                start -= 1
            if stop <= own[-1] and self._continues(tokens[stop]):
                stop += 1
        return start, stop

    def _continues(self, token: int) -> bool:
        """Whether a token begins inside a UTF-8 character."""
        return b"\x80" <= self.corpus.vocabulary.token_bytes(token)[:1] < b"\xc0"

    def _values(self, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
        """Activations at `wanted` positions; 0 where the column has no entry."""
        if not len(self.positions):
            return np.zeros(len(wanted), dtype=np.float32)
        place = np.searchsorted(self.positions, wanted).clip(max=len(self.positions) - 1)
        return np.where(self.positions[place] == wanted, self.values[place], np.float32(0))

    def _spans(self, parts: Sequence["Part"], peak: int) -> Iterator[Span]:
        """Active characters each on their own; silent text between them in one piece."""
        silent = ""
        for part in parts:
            if not any(part.values):
                silent += part.text
                continue
            if silent:
                yield Span(text=visible(silent, active=False))
            silent = ""
            yield self._active(part, peak)
        if silent:
            yield Span(text=visible(silent, active=False))

    def _active(self, part: "Part", peak: int) -> Span:
        value = max(part.values, key=abs)
        text = self.corpus.vocabulary.text
        lines = [
            f"{number(v)}  “{visible(text(token))}”  token {token}"
            for token, v in zip(part.tokens, part.values, strict=True)
        ]
        return Span(
            text=visible(part.text),
            value=value,
            level=max(1, min(LEVELS, int(np.ceil(LEVELS * abs(value) / self.largest)))),
            peak=part.start <= peak < part.start + len(part.tokens),
            detail="\n".join(lines),
        )


class Part:
    """Tokens whose bytes join into whole characters."""

    def __init__(self, start: int, text: str, tokens: list[int], values: list[float]):
        self.start, self.text, self.tokens, self.values = start, text, tokens, values


def _characters(tokens: Sequence[int], values: Sequence[float], vocabulary: Vocabulary) -> Iterator[Part]:
    """Tokens grouped so that each group's bytes are whole characters; broken bytes are shown as \\xNN."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
    start, text = 0, ""
    for end, token in enumerate(tokens, 1):
        text += decoder.decode(vocabulary.token_bytes(token), final=end == len(tokens))
        if not decoder.getstate()[0]:
            yield Part(start, text, list(tokens[start:end]), list(values[start:end]))
            start, text = end, ""
