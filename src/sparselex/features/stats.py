"""Per-latent statistics that grow batch by batch."""

import numpy as np
from numpy.typing import NDArray

from sparselex.text.splits import SPLITS, Split


class LatentStatistics:
    """Counts, sums and extremes of every latent, by split, in float64."""

    def __init__(self, d_sae: int):
        shape = (len(SPLITS), d_sae)
        self.d_sae = d_sae
        self.n_tokens = np.zeros(len(SPLITS), dtype=np.int64)
        self.n_active = np.zeros(shape, dtype=np.int64)
        self.sum = np.zeros(shape)
        self.sum_square = np.zeros(shape)
        self.low = np.zeros(shape)
        self.high = np.zeros(shape)

    def update(self, split: Split, n_tokens: int, latents: NDArray, values: NDArray[np.float32]) -> None:
        """Count a batch: `n_tokens` tokens, and the (latent, value) pairs that are active on them."""
        s, wide = SPLITS.index(split), values.astype(np.float64)
        self.n_tokens[s] += n_tokens
        self.n_active[s] += np.bincount(latents, minlength=self.d_sae)
        self.sum[s] += np.bincount(latents, wide, self.d_sae)
        self.sum_square[s] += np.bincount(latents, wide * wide, self.d_sae)
        np.minimum.at(self.low[s], latents, wide)
        np.maximum.at(self.high[s], latents, wide)

    def finish(self) -> dict[str, NDArray]:
        """`[n_splits, d_sae]` columns: n_active, mean, mean_square, max (the extreme of larger size, with its sign)."""
        n = np.maximum(self.n_tokens, 1)[:, None]
        return {
            "n_active": self.n_active,
            "mean": self.sum / n,
            "mean_square": self.sum_square / n,
            "max": np.where(-self.low > self.high, self.low, self.high),
        }
