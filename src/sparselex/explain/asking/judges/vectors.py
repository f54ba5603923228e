"""Texts as vectors of a sentence encoder, each embedded once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.embed import TextEncoder

_MOST = 1 << 14
"""Texts whose vectors are remembered, some 25 MB."""


class Vectors:
    """The vectors of texts under an encoder, by its name or folder. Raises `UserError` where there is none."""

    def __init__(self, encoder: str):
        self._encoder, self._known = TextEncoder(EmbedConfig(encoder=encoder)), dict[str, NDArray[np.float32]]()

    def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """`[n, width]`, of length 1; texts that begin with more tokens than the encoder reads are cut."""
        # By length, so that little is padding.
        new = sorted({text for text in texts if text not in self._known}, key=len)
        if len(self._known) + len(new) > _MOST:
            self._known, new = {}, sorted(set(texts), key=len)
        for start in range(0, len(new), self._encoder.batch):
            part = new[start : start + self._encoder.batch]
            self._known.update(zip(part, self._encoder(part).astype(np.float32), strict=True))
        return np.stack([self._known[text] for text in texts])
