"""Which tokens a latent raises, answered from its explanation alone: where the rule holds in training text, which
tokens follow more often than they do at all? Arrays in, arrays out.

The answer knows neither the model nor its weights. In Bricken et al. (2023) a language model was given the explanation
and asked the same of the same kind of tokens.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array

from sparselex.base.seeds import generator
from sparselex.features.counted import CountedTokens

Floats = NDArray[np.float64]


class NextTokens:
    """What follows each counted token of training text.

    Args:
        counted: the tokens.
        prior: occurrences that are added to what is expected, so that a token that is rare is not called raised or
            lowered by chance.
        n_kinds: directions by which tokens are taken to be of a kind; 0 for none.
    """

    def __init__(self, counted: CountedTokens, prior: float, n_kinds: int):
        n_ctx, positions = counted.corpus.n_ctx, counted.positions
        goes_on = np.zeros(len(counted), dtype=bool)
        goes_on[:-1] = (
            (np.diff(positions) == 1) & (positions[1:] % n_ctx > 0) & (counted.documents[1:] == counted.documents[:-1])
        )
        self._next = np.where(goes_on, np.roll(counted.tokens, -1), -1).astype(np.int32)
        self._prior, self.n_vocab = prior, counted.n_vocab
        self.shares: Floats = self.after(np.arange(len(counted))).astype(float) / max(1, int(goes_on.sum()))
        """`[n_vocab]`, share of each token among all that follow another."""
        self._kinds = self._kinds_of(counted.tokens, n_kinds)

    def after(self, ranks: NDArray[np.integer]) -> NDArray[np.int64]:
        """`[n_vocab]`, how often each token follows these places."""
        following = self._next[ranks]
        return np.bincount(following[following >= 0], minlength=self.n_vocab)

    def scores(self, ranks: NDArray[np.integer], tokens: NDArray[np.int64]) -> Floats:
        """Of each of these tokens how much more often it follows these places than it follows at all.

        The mean of two standard scores over `tokens`: of the logarithm of how often it was counted by how often it is
        expected, and of the same in rougher form, where what is counted of a token counts for others of its kind too:
        a rule that holds on a few hundred places is followed by some months, and says of all of them that they are
        raised.
        """
        times = self.after(ranks).astype(float)
        expected = times.sum() * self.shares
        found = _standard(np.log((times + self._prior) / (expected + self._prior))[tokens])
        if self._kinds.shape[1]:
            surprise = (times - expected) / np.sqrt(expected + self._prior)
            found = (found + _standard(self._kinds[tokens] @ (surprise @ self._kinds))) / 2
        return found

    def _kinds_of(self, tokens: NDArray[np.int64], n: int) -> Floats:
        """`[n_vocab, n]`, the leading right singular vectors of how often each token follows each, in units of what
        chance gives (correspondence analysis): tokens that follow the same ones are of a kind."""
        n, there = min(n, self.n_vocab), np.flatnonzero(self._next >= 0)
        if not n or not len(there):
            return np.zeros((self.n_vocab, 0))
        pairs = coo_array((np.ones(len(there)), (tokens[there], self._next[there])), shape=(self.n_vocab,) * 2).tocsr()
        before = 1 / np.sqrt(np.maximum(1, pairs.sum(axis=1)))
        behind = 1 / np.sqrt(np.maximum(1, pairs.sum(axis=0)))
        return _leading(diags_array(before) @ pairs @ diags_array(behind), n)


def _leading(matrix: csr_array, n: int) -> Floats:
    """`[n_columns, n]`, about the leading right singular vectors, by subspace iteration (Halko et al. 2011): pairs that
    only follow each other all have the same singular value, at which methods that seek single vectors do not end."""
    found = generator(0, "kinds").standard_normal((matrix.shape[1], min(n + _MORE, matrix.shape[1])))
    for _ in range(_N_TIMES):
        found = np.linalg.qr(matrix.T @ (matrix @ found))[0]
    return found @ np.linalg.svd(matrix @ found, full_matrices=False)[2][:n].T


_MORE, _N_TIMES = 10, 8
"""Vectors beyond those that are wanted, and iterations."""


def _standard(values: Floats) -> Floats:
    """Values less their mean in standard deviations; 0 where all are alike."""
    return (values - values.mean()) / max(float(values.std()), np.finfo(np.float64).tiny)


def accuracy(scores: Floats, raised: NDArray[np.bool_]) -> float:
    """Share answered rightly where as many tokens are said raised as are, those with the highest scores; of equals at
    that border each is said raised by the same chance, so that a score that tells nothing has an accuracy of a half.

    The threshold is the median of the tokens at hand and not a ratio of 1: rules hold on many tokens or on few, and
    what they say of rare tokens is then more or less sure, but the order of tokens is not touched by that.
    """
    n_said = int(raised.sum())
    border = np.sort(scores)[::-1][n_said - 1]
    above, at = scores > border, scores == border
    left = n_said - int(above.sum())
    right = float(raised[above].sum()) + left * float(raised[at].mean())
    return (right + (len(raised) - n_said) - (n_said - right)) / len(raised)
