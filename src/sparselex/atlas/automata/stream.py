"""The activations of one split as a stream: what is active on each counted token, which token it is, and whether the
text goes on behind it. Arrays in, arrays out."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from sparselex.features.index import FeatureIndex
from sparselex.text.splits import Split


class Stream(NamedTuple):
    """The counted tokens of a split in the order of the text. A *rank* numbers them."""

    tokens: NDArray[np.int64]
    """`[n]`, their ids."""

    documents: NDArray[np.int64]
    """`[n]`, the document of each, numbered from 0."""

    goes_on: NDArray[np.bool_]
    """`[n]`, whether the next rank is the next token of the same row and document."""

    by_latent: csr_matrix
    """`[d_sae, n]`, activations above 0."""

    by_token: csr_matrix
    """The same as `[n, d_sae]`."""

    @property
    def n_documents(self) -> int:
        """Documents that have counted tokens here."""
        return int(self.documents.max()) + 1 if len(self.documents) else 0

    @property
    def per_document(self) -> NDArray[np.int64]:
        """`[n_documents]`, tokens of each."""
        return np.bincount(self.documents, minlength=self.n_documents)


class Places(NamedTuple):
    """Places at which latents are active and the text goes on, latent by latent."""

    latents: NDArray[np.int64]
    """`[m]`, the latent that is active."""

    next: NDArray[np.int64]
    """`[m]`, rank of the token behind it."""

    def of(self, chosen: NDArray) -> "Places":
        """Some of them."""
        return Places(self.latents[chosen], self.next[chosen])


def stream_of(index: FeatureIndex, split: Split, most_tokens: int) -> Stream:
    """The stream of one split; of more than `most_tokens` counted tokens, that of rows taken evenly. Raises `UserError`
    for an index that keeps a sample of activations. Negative activations, of a signed dictionary, are left out."""
    index.check_whole("looking for automata")
    counted = index.counted_tokens(split)
    taken = _taken(counted.positions // index.corpus.n_ctx, most_tokens)
    positions, tokens, owners = (part[taken] for part in (counted.positions, counted.tokens, counted.documents))
    documents = np.unique(owners, return_inverse=True)[1]
    goes_on = np.zeros(len(positions), dtype=bool)
    same_row = positions[1:] // index.corpus.n_ctx == positions[:-1] // index.corpus.n_ctx
    goes_on[:-1] = (np.diff(positions) == 1) & same_row & (documents[1:] == documents[:-1])
    rank = np.full(index.corpus.n_rows * index.corpus.n_ctx, -1, dtype=np.int32)
    rank[positions] = np.arange(len(positions), dtype=np.int32)
    by_latent = _columns(index, rank, len(positions))
    return Stream(tokens, documents, goes_on, by_latent, by_latent.T.tocsr())


def places_of(stream: Stream, most: int) -> Places:
    """Where each latent is active and the text goes on: of more than `most` places of a latent the middle of each of as
    many equal parts."""
    found = stream.by_latent
    kept = stream.goes_on[found.indices]
    latents = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))[kept]
    ranks, n = found.indices[kept], np.bincount(latents, minlength=found.shape[0])
    looked = np.minimum(n, most)
    latent = np.repeat(np.arange(len(n)), looked)
    number = np.arange(len(latent)) - np.repeat(np.cumsum(looked) - looked, looked)
    entry = (np.cumsum(n) - n)[latent] + (2 * number + 1) * n[latent] // (2 * looked[latent])
    return Places(latent, ranks[entry].astype(np.int64) + 1)


def rotation(stream: Stream, rng: np.random.Generator | None) -> NDArray[np.int64]:
    """`[n]`, for each rank another of the same document: that so many tokens further on in it, around its end, where
    how many is drawn for each document. Each document keeps its tokens, its activations and what is near to what; what
    precedes them is no longer what preceded them. Without a generator every rank is itself."""
    n = len(stream.tokens)
    if rng is None:
        return np.arange(n)
    sizes, documents = stream.per_document, stream.documents
    starts = np.cumsum(sizes) - sizes
    order = np.argsort(documents, kind="stable")
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    by = rng.integers(0, np.maximum(sizes, 1))
    within = (place - starts[documents] + by[documents]) % sizes[documents]
    return order[starts[documents] + within]


def _taken(rows: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
    """Which counted tokens are looked at: those of every row, or of rows taken evenly."""
    if len(rows) <= most:
        return np.ones(len(rows), dtype=bool)
    there = np.unique(rows)
    n = max(1, most * len(there) // len(rows))
    return np.isin(rows, there[(2 * np.arange(n) + 1) * len(there) // (2 * n)])


def _columns(index: FeatureIndex, rank: NDArray[np.int32], n: int) -> csr_matrix:
    """Column by column: all of an index at once would be several times what is kept of it."""
    sizes, ranks, values = np.zeros(index.d_sae, dtype=np.int64), list[NDArray](), list[NDArray]()
    for latent in range(index.d_sae):
        positions, acts = index.column(latent)
        at = rank[positions]
        kept = (at >= 0) & (acts > 0)
        sizes[latent] = kept.sum()
        ranks.append(at[kept])
        values.append(acts[kept].astype(np.float32))
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    return csr_matrix((np.concatenate(values), np.concatenate(ranks), indptr), shape=(index.d_sae, n))
