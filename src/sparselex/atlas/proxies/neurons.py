"""What the model's own neurons make of concepts: read live over some rows, chosen and judged like latents."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.activations.live import Reader, spread
from sparselex.atlas.proxies.measures import Judged, carrier, sums_of
from sparselex.atlas.proxies.moments import Marked, columns_of
from sparselex.atlas.proxies.records import Carrier
from sparselex.base.formats import count
from sparselex.base.progress import progress
from sparselex.features.counted import Column, CountedTokens
from sparselex.text.splits import Split


class Attempts(NamedTuple):
    """The best neuron for each of some concepts."""

    best: list[Carrier | None]
    """One for each concept; None where none varies with it."""

    words: str
    """What stands for neurons, over how many tokens."""


class _Sums(NamedTuple):
    n: int
    total: NDArray[np.float64]
    square: NDArray[np.float64]
    product: NDArray[np.float64]
    largest: NDArray[np.float64]
    scores: NDArray[np.float64]
    scores_square: NDArray[np.float64]


class Neurons:
    """Coordinates of what a run reads, over `n_rows` rows of each split. A neuron that may be below 0 is tried with
    either sign, and active where it is above."""

    def __init__(self, reader: Reader, n_rows: int):
        self.reader, self.n_rows = reader, n_rows
        self.n_passes = 0

    def attempts(
        self, train: CountedTokens, train_marked: Sequence[Marked], test: CountedTokens, test_marked: Sequence[Marked]
    ) -> Attempts:
        """The best neuron for each concept: chosen on training tokens by correlation, judged on test tokens."""
        sums = self._sums(train, train_marked)
        correlation, either = _correlations(sums)
        chosen = correlation.argmax(0)
        width, concepts = self.reader.d_in, np.arange(len(train_marked))
        units, signs = chosen % width, np.where(chosen < width, 1, -1)
        largest, train_r = sums.largest[chosen], correlation[chosen, concepts]
        ranks, values = self._columns(test, units)
        found = list[Carrier | None]()
        for place, marked in enumerate(test_marked):
            if not np.isfinite(train_r[place]) or train_r[place] <= -2:
                found.append(None)
                continue
            sizes = np.maximum(signs[place] * values[:, place], 0.0).astype(np.float64)
            active = np.flatnonzero(sizes > 0)
            here = _among(marked, ranks)
            column, documents = Column(active, sizes[active]), test.documents[ranks]
            sums_here = sums_of(Judged(column, float(largest[place])), here, documents, test.n_documents)
            found.append(carrier(int(units[place]), float(train_r[place]), sums_here, sign=int(signs[place])))
        what = f"best of {count(width)} coordinates of {'+'.join(map(str, self.reader.sites.hooks))}"
        signed = ", with either sign" if either else ""
        return Attempts(found, f"{what}{signed}, over {count(sums.n)} training and {count(len(ranks))} test tokens")

    def _batches(
        self, tokens: CountedTokens, split: Split
    ) -> Iterator[tuple[NDArray[np.int64], Float[NDArray, "n d"]]]:
        """Ranks of counted tokens, and what is read there, float64."""
        n_ctx = tokens.corpus.n_ctx
        rows = np.unique(tokens.positions // n_ctx)
        rows = rows[spread(range(len(rows)), self.n_rows)]
        counted = np.zeros(tokens.corpus.n_rows * n_ctx, dtype=bool)
        counted[tokens.positions] = True
        with progress(f"neurons, {split}", len(rows), "rows") as bar:
            for batch in self.reader.checked(rows, split):
                kept = counted[batch.positions]
                ranks = tokens.ranks_of(batch.positions[kept])
                yield ranks, batch.x[torch.from_numpy(kept)].double().numpy()
                bar.advance(min(self.reader.batch_rows, len(rows)))

    def _sums(self, tokens: CountedTokens, marked: Sequence[Marked]) -> _Sums:
        """Of every coordinate, and behind them of each with its sign turned, where it is above 0."""
        scores: csr_array = columns_of(marked)
        n, width, n_concepts = 0, 2 * self.reader.d_in, len(marked)
        total, square, largest = (np.zeros(width) for _ in range(3))
        product, sums, squares = np.zeros((width, n_concepts)), np.zeros(n_concepts), np.zeros(n_concepts)
        for ranks, x in self._batches(tokens, "train"):
            both = np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=1)
            here = scores[ranks]
            n += len(ranks)
            total += both.sum(0)
            square += np.square(both).sum(0)
            largest = np.maximum(largest, both.max(0, initial=0.0))
            product += np.asarray(here.T @ both).T
            sums += np.asarray(here.sum(axis=0)).reshape(-1)
            squares += np.asarray(here.multiply(here).sum(axis=0)).reshape(-1)
        return _Sums(n, total, square, product, largest, sums, squares)

    def _columns(
        self, tokens: CountedTokens, units: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Float[NDArray, "n n_concepts"]]:
        """Ranks of test tokens, and the chosen coordinates there."""
        parts = [(ranks, x[:, units]) for ranks, x in self._batches(tokens, "test")]
        if not parts:
            return np.empty(0, dtype=np.int64), np.empty((0, len(units)))
        return np.concatenate([ranks for ranks, _ in parts]), np.concatenate([x for _, x in parts])


def _correlations(sums: _Sums) -> tuple[NDArray[np.float64], bool]:
    """`[2 * width, n_concepts]`, -2 for what does not vary; and whether any coordinate is ever below 0."""
    n = max(1, sums.n)
    covariance = sums.product - np.outer(sums.total, sums.scores) / n
    variance = np.clip(sums.square - sums.total**2 / n, 0, None)
    other = np.clip(sums.scores_square - sums.scores**2 / n, 0, None)
    scale = np.sqrt(np.outer(variance, other))
    found = np.divide(covariance, scale, out=np.full_like(covariance, -2.0), where=scale > 0)
    return found, bool(sums.largest[len(sums.largest) // 2 :].max(initial=0.0) > 0)


def _among(marked: Marked, ranks: NDArray[np.int64]) -> Marked:
    """What a concept says of some tokens alone."""
    scores = np.zeros(marked.n_tokens, dtype=np.float32)
    scores[marked.ranks] = marked.scores
    return Marked.of(scores[ranks])
