"""What is known of a latent in a few words: what an encoder reads."""

import re
from collections.abc import Sequence

import numpy as np

from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.features.pieces import Piece, pieces
from sparselex.features.tokens import TokenTexts

_BEFORE, _AFTER = 16, 4
"""Tokens of an example that are read before and behind the active one."""

_TOKENS = 5
"""Promoted tokens that are named."""

_NUMBERS = re.compile(r" \(-?[\d.e+-]+\)")
"""The activations that the print of a rule says behind each token."""


def spoken(text: str, *, printed: bool) -> str:
    """An explanation as it is read: of one that is the print of a table, without the numbers behind its entries."""
    return _NUMBERS.sub("", text) if printed else text


class Described:
    """The latents of one index in words."""

    def __init__(self, index: FeatureIndex, store: ExplanationStore, n_examples: int):
        self.index, self.store, self.n_examples = index, store, n_examples
        self._texts = TokenTexts(index.corpus.vocabulary)

    def texts(self, latents: Sequence[int]) -> list[str]:
        """Each latent's explanation, the tokens of its largest activations, those it promotes, and its examples."""
        said: dict[int, str] = {}
        for latent, text, printed in self.store.texts_of(self.index.id, latents):
            said.setdefault(latent, spoken(text, printed=True)[:300] if printed else text)
        return [self._text(latent, said.get(latent, "")) for latent in latents]

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
