"""Ranges of latents that are worked on together."""

import numpy as np
from numpy.typing import NDArray

MOST_ENTRIES, MOST_LATENTS = 1 << 19, 1 << 12
"""Entries and latents that are worked on at a time: some 60 MB of arrays."""


def groups(indptr: NDArray[np.int64], n_entries: int = 1 << 22, n_latents: int = MOST_LATENTS) -> list[slice]:
    """Ranges of latents with about `n_entries` entries each and at most `n_latents` latents (at least one), covering
    all."""
    last = len(indptr) - 1
    ends = np.searchsorted(indptr, np.arange(n_entries, int(indptr[-1]) + n_entries, n_entries))
    ends = np.unique(np.clip([*ends, *range(n_latents, last, n_latents), last], 1, last))
    return [slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
