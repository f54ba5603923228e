"""What is known of a latent in a few words: what an encoder reads."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sparselex.explain.records import TextRow
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.features.pieces import Piece, pieces
from sparselex.features.tokens import TokenTexts

_BEFORE, _AFTER = 16, 4
"""Tokens of an example that are read before and behind the active one."""

_TOKENS = 5
"""Promoted tokens that are named."""

_PRINT = 300
"""Signs of a rule that are read: the strongest tokens stand first."""

_NUMBERS = re.compile(r" \(-?[\d.e+-]+\)")
"""The activations that the print of a rule says behind each token."""


def spoken(text: str, *, printed: bool) -> str:
    """An explanation as it is read: of one that is the print of a table, without the numbers behind its entries."""
    return _NUMBERS.sub("", text) if printed else text


def _said(one: TextRow) -> str:
    return spoken(one.text, printed=True)[:_PRINT] if one.printed else one.text


class Row(NamedTuple):
    """A latent by one explanation."""

    latent: int
    explainer: str
    """Empty where nobody explains it."""


class Described:
    """The latents of one index in words."""

    def __init__(self, index: FeatureIndex, store: ExplanationStore, n_examples: int):
        self.index, self.store, self.n_examples = index, store, n_examples
        self._texts = TokenTexts(index.corpus.vocabulary)

    def rows(self, latents: Sequence[int]) -> list[Row]:
        """What there is to be said of some latents: one row for each explanation, and for a latent without any."""
        explainers: dict[int, list[str]] = {}
        for latent, explainer in self.store.explained(self.index.id):
            explainers.setdefault(latent, []).append(explainer)
        return [Row(latent, name) for latent in latents for name in explainers.get(latent, [""])]

    def texts(self, rows: Sequence[Row]) -> list[str]:
        """Each row's explanation, the tokens of its latent's largest activations, those it promotes, its examples."""
        found = self.store.texts_of(self.index.id, sorted({row.latent for row in rows}))
        said = {Row(one.latent, one.explainer): _said(one) for one in found}
        return [self._text(row.latent, said.get(row, "")) for row in rows]

    def _text(self, latent: int, said: str) -> str:
        corpus, positions = self.index.corpus, self.index.all_top_positions[latent]
        there = positions[positions >= 0]
        vocabulary, promoted = corpus.vocabulary, self.index.all_promoted
        tops = dict.fromkeys(vocabulary.text(int(t)).strip() for t in corpus.tokens.reshape(-1)[there])
        raised = [] if promoted is None else [vocabulary.text(int(t)).strip() for t in promoted[latent][:_TOKENS]]
        parts = [said, "on " + " ".join(list(tops)[:_TOKENS]), "then " + " ".join(raised) if raised else ""]
        parts += [self._example(piece) for piece in pieces(corpus, self._texts, there[: self.n_examples].tolist())]
        return ". ".join(part for part in parts if part)

    def _example(self, piece: Piece) -> str:
        near = piece.tokens[max(0, piece.place - _BEFORE) : piece.place + _AFTER + 1]
        return " ".join(self.index.corpus.vocabulary.decode(np.asarray(near).tolist()).split())
