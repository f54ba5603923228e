"""Embeddings as they lie on disk. No tensors here: the browser reads these."""

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparselex.base.artifacts import open_artifact, verified
from sparselex.explain.embedding.config import EmbedConfig

KIND = "embeddings"
"""Kind of the artifact, and its name in a run's folder."""

LATENTS, EXPLAINERS, VECTORS = "latents.npy", "explainers.npy", "vectors.npy"
"""Files: of which latent each row is, by whose explanation, and its vector of length 1 in half precision."""

SAID = "said"
"""Input: a hash of all explanations that were read."""

_ROWS = 1 << 9
"""Rows that are made into single precision at a time: what stays in a processor's cache."""

_SIGN_AND_HALF = np.int32(-0x70002000)
"""Bits of a float in which a half that was moved there lies: its sign is repeated above it."""


class Embeddings:
    """Finished embeddings. Raises `UserError` if `path` are none, or are damaged."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.manifest = open_artifact(self.path, KIND)
        self.config = EmbedConfig.parse(self.manifest.config, str(self.path))

    @cached_property
    def latents(self) -> NDArray[np.int64]:
        """`[n]` latents, ascending; one that several explain as often."""
        return np.load(verified(self.path, LATENTS, self.manifest))

    @cached_property
    def explainers(self) -> list[str]:
        """`[n]`, whose explanation each vector is made with; empty where there was none, and where embeddings are of a
        version that read the first explanation alone."""
        names = [*self.manifest.notes.get("explainers", ()), ""]
        if EXPLAINERS not in self.manifest.files:
            return [""] * len(self.latents)
        return [names[code] for code in np.load(verified(self.path, EXPLAINERS, self.manifest)).tolist()]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """`[n_latents]`, the first row of each latent."""
        return np.flatnonzero(np.diff(self.latents, prepend=-1))

    @cached_property
    def vectors(self) -> NDArray[np.float16]:
        """`[n, width]`, of length 1."""
        return np.asarray(np.load(verified(self.path, VECTORS, self.manifest), mmap_mode="r"))

    def cosines(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """`[n]` cosines of each with a vector of length 1.

        A half's bits, moved to where a float has exponent and fraction, are that number times 2 ** -112: that is three
        passes over integers, where NumPy's conversion takes ten times as long as the product itself.
        """
        found, large = np.empty(len(self.vectors), dtype=np.float32), vector * np.float32(2.0**60)
        buffer = np.empty((_ROWS, len(vector)), dtype=np.int32)
        for start in range(0, len(found), _ROWS):
            halves = self.vectors[start : start + _ROWS].view(np.int16)
            bits = buffer[: len(halves)]
            bits[...] = halves
            bits <<= 13
            bits &= _SIGN_AND_HALF
            found[start : start + _ROWS] = bits.view(np.float32) @ large
        return found * np.float32(2.0**52)
