"""A sample of counted training tokens with all that is active on them: what co-activation and correlated neurons are
read from.

A token has a number that depends on its position and the seed alone; the sample is the tokens with the lowest numbers
that can be afforded. So it is the same however a corpus was read, in parts or at once.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.seeds import derive
from sparselex.dictionaries.coder import Coder
from sparselex.features.chunks import ChunkFiles, n_indexed, n_rows
from sparselex.features.config import IndexConfig
from sparselex.features.examples import uniform
from sparselex.features.ranges import groups
from sparselex.text.rows import TokenRows, split_positions

PAIRS_PER_TOKEN = 16
"""Pairs of latents active on one token that may be counted, for each token of the text that is read: the work of
co-activation, as a small share of reading the text. Where 32 latents are active they are those of one token in 64."""

PAIRS_PER_LATENT = (1024, 16384)
"""The same for each latent of the dictionary, at least and at most: a latent's own active tokens, times the number of
latents that are active with it."""

FEWEST_TOKENS = 1024
"""Tokens that are taken however many latents are active on them."""

MOST_TOKENS = 1 << 18
"""Tokens that are taken at most."""

MOST_READ_TOKENS, MOST_READ = 1 << 15, 1 << 24
"""Tokens, about, whose activations are kept as they were read, and coordinates of all of them together: 64 MB."""

MOST_ENTRIES = 1 << 24
"""Activations of latents on these tokens at most."""


class Sampled(NamedTuple):
    """Tokens, those of the lowest numbers first."""

    positions: NDArray[np.int64]
    """`[n]`, where in the corpus they stand."""

    indptr: NDArray[np.int64]
    """`[n + 1]`, where the entries of each begin."""

    latents: NDArray[np.int32]
    """`[nnz]`, what is active on them."""

    values: NDArray[np.float32]
    """`[nnz]`, activations."""

    n_together: int
    """On how many of them, the first, pairs of latents may be counted."""

    x: NDArray[np.float32]
    """`[n_read, d_in]`, what the dictionary read at the first `n_read` of them."""


class Sampling(NamedTuple):
    """Which tokens of an index are its sample."""

    seed: int

    n_pairs: int
    """Pairs of active latents on one token that may be counted."""

    read_below: float
    """Tokens of a number below it are kept as they were read."""

    d_in: int

    @classmethod
    def of(cls, corpus: TokenRows, coder: Coder, config: IndexConfig) -> "Sampling":
        """The sample of an index of this configuration."""
        least, most = (coder.d_sae * pairs for pairs in PAIRS_PER_LATENT)
        n_train = max(1, n_rows(corpus, "train", config) * corpus.n_ctx)
        n_read = max(1, min(MOST_READ_TOKENS, MOST_READ // coder.d_in))
        n_pairs = min(max(PAIRS_PER_TOKEN * n_indexed(corpus, config), least), most)
        return cls(derive(config.seed, "sample"), n_pairs, n_read / n_train, coder.d_in)

    def read(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these tokens are kept as they were read."""
        return uniform(positions, self.seed) < self.read_below

    def sampled(self, folder: Path, files: ChunkFiles, corpus: TokenRows) -> Sampled:
        """The sample, from the finished columns in `folder` and what the chunks keep of what was read."""
        n, end = corpus.n_rows * corpus.n_ctx, split_positions(corpus, "train").stop
        positions = np.flatnonzero(np.unpackbits(np.load(folder / "counted.npy"), count=n)[:end])
        numbers = uniform(positions, self.seed)
        order = np.argsort(numbers, kind="stable")
        entries = _Entries(folder)
        active = entries.active_on(end)[positions[order]].astype(np.float64)
        pairs = int(np.searchsorted(np.cumsum(active**2), self.n_pairs, "right"))
        n_together = min(max(pairs, FEWEST_TOKENS), MOST_TOKENS, len(positions))
        # Neurons cost a latent's active tokens each and no pairs of latents: they are read off more tokens.
        n_read = int((numbers < self.read_below).sum())
        n_read = min(n_read, int(np.searchsorted(np.cumsum(active), MOST_ENTRIES, "right")))
        chosen = positions[order[: max(n_together, n_read)]]
        rank = np.full(end, -1, dtype=np.int32)
        rank[chosen] = np.arange(len(chosen))
        token, latents, values = entries.at(rank)
        # What was read lies in the order of the corpus, and is a sample of its own: its first are of the other, too.
        x, read = files.x(self.d_in), positions[numbers < self.read_below]
        of_read = rank[read]
        kept = np.flatnonzero(of_read >= 0)
        return Sampled(
            chosen,
            np.concatenate([[0], np.bincount(token, minlength=len(chosen)).cumsum()]),
            latents,
            values,
            n_together,
            x[kept[np.argsort(of_read[kept])]],
        )


class _Entries:
    """The columns of an index that is being written, a range of latents at a time."""

    def __init__(self, folder: Path):
        self._indptr = np.load(folder / "indptr.npy")
        self._positions, self._values = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _COLUMNS)

    def active_on(self, n: int) -> NDArray[np.int64]:
        """`[n]`, how many latents are active at each of the first positions."""
        found = np.zeros(n, dtype=np.int64)
        for latents in groups(self._indptr):
            positions = self._positions[self._indptr[latents.start] : self._indptr[latents.stop]]
            found += np.bincount(positions[positions < n], minlength=n)
        return found

    def at(self, rank: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """Rank, latent and value of every entry at a position that has a rank (the others have -1), by rank and then by
        latent."""
        parts = []
        for latents in groups(self._indptr):
            starts = self._indptr[latents.start : latents.stop + 1]
            span = slice(int(starts[0]), int(starts[-1]))
            positions = self._positions[span]
            here = np.flatnonzero(positions < len(rank))
            of = rank[positions[here]]
            there = np.flatnonzero(of >= 0)
            here = here[there]
            latent = latents.start + np.searchsorted(starts - span.start, here, "right") - 1
            parts.append((of[there], latent.astype(np.int32), self._values[span][here]))
        token, latent, value = (np.concatenate([part[i] for part in parts]) for i in range(3))
        order = np.argsort(token, kind="stable")
        return token[order], latent[order], value[order]


_COLUMNS = ("positions", "values")
