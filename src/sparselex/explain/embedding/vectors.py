"""Texts as vectors of a sentence encoder, each embedded once."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.embed import TextEncoder

_MOST = 1 << 14
"""Texts whose vectors are remembered, some 25 MB."""


class Vectors:
    """The vectors of texts under an encoder. Raises `UserError` where there is none."""

    def __init__(self, config: EmbedConfig, device: str = "cpu"):
        self._encoder, self._known = TextEncoder(config, device), dict[str, NDArray[np.float32]]()

    def of(self, texts: Sequence[str], then: Callable[[int], None] = lambda n: None) -> NDArray[np.float32]:
        """`[n, width]`, of length 1, or of 0 where there are none; texts of more tokens than the encoder reads are cut.
        `then` is told how many of the new ones were embedded, part by part."""
        new = sorted({text for text in texts if text not in self._known}, key=len)  # alike in length: little is padded
        if len(self._known) + len(new) > max(_MOST, len(texts)):
            self._known, new = {}, sorted(set(texts), key=len)
        for start in range(0, len(new), self._encoder.batch):
            part = new[start : start + self._encoder.batch]
            vectors = self._encoder(part).astype(np.float32)  # of half precision, in which lengths are not quite 1
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=np.finfo(np.float32).tiny)
            self._known.update(zip(part, vectors, strict=True))
            then(len(part))
        found = [self._known[text] for text in texts]
        return np.stack(found) if found else np.empty((0, self._encoder.width), dtype=np.float32)
