"""Which latents lead to which: how much more active one is on the tokens that another one raises, right behind places
where that other one is active. Arrays in, arrays out; latents are taken a block at a time, and nothing is ever
`[d_sae, d_sae]`.

The weight of i to j is E[f_j(t+1) | f_i(t) > 0, token(t+1) in V_i] - E[f_j], in units of j's mean activation where it
is active, so that latents of every scale compare: 1 is as active as j usually is where it is active. E[f_j] is taken
over the documents of those places, in their proportion: latents of one kind of text would else all lead to each other.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from sparselex.atlas.automata.stream import Places, Stream

_BLOCK = 512
"""Latents whose weights to all others are at hand at once."""


class Leads(NamedTuple):
    """Pairs of latents."""

    source: NDArray[np.int64]
    """`[n]`, the latent that is active."""

    target: NDArray[np.int64]
    """`[n]`, the one that is active next."""

    weight: NDArray[np.float64]
    """`[n]`."""

    def of(self, chosen: NDArray) -> "Leads":
        """Some of them."""
        return Leads(self.source[chosen], self.target[chosen], self.weight[chosen])


class Known(NamedTuple):
    """What is known of a split before latents are looked at in pairs."""

    stream: Stream

    means: csr_matrix
    """`[n_documents, d_sae]`, mean activation of each latent in each document."""

    token_shares: csr_matrix
    """`[n_vocab, n_documents]`, share of each token among those of each document."""


def known_of(stream: Stream, n_vocab: int) -> Known:
    """What is known of a split."""
    n, n_documents, sizes = len(stream.tokens), stream.n_documents, np.maximum(stream.per_document, 1)
    each = (1 / sizes)[stream.documents]
    by_document = csr_matrix((each, (stream.documents, np.arange(n))), shape=(n_documents, n))
    shares = csr_matrix((each, (stream.tokens, stream.documents)), shape=(n_vocab, n_documents))
    return Known(stream, by_document @ stream.by_token, shares)


def raised_next(places: Places, tokens: NDArray[np.int64], raised: NDArray[np.integer]) -> NDArray[np.bool_]:
    """`[m]`, whether the token of each place is one of those that its latent raises. `tokens` are those of the places;
    `raised` is `[d_sae, n]`, with -1 where there are fewer. Places are in the order of their latents."""
    found, n_vocab = np.zeros(len(places.latents), dtype=bool), int(tokens.max(initial=0)) + 1
    for block in _blocks(len(raised)):
        part = slice(*np.searchsorted(places.latents, [block.start, block.stop]))
        found[part] = _table(raised[block], n_vocab)[places.latents[part] - block.start, tokens[part]]
    return found


def surprise(
    known: Known, places: Places, raised: NDArray[np.integer], rotations: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """`[n_rotations, d_sae]`: how often the tokens that a latent raises follow it, less how often they would by their
    share in the documents where it is active, in units of about one standard error (of a Poisson count, and one more
    beneath the root, so that a single token proves nothing), as the text is under each rotation."""
    stream, d_sae = known.stream, len(raised)
    n_vocab = known.token_shares.shape[0]
    turned = [stream.tokens[rotated] for rotated in rotations]
    found = np.zeros((len(rotations), d_sae))
    for block in _blocks(d_sae):
        part = slice(*np.searchsorted(places.latents, [block.start, block.stop]))
        row, after = places.latents[part] - block.start, places.next[part]
        table, n = _table(raised[block], n_vocab), block.stop - block.start
        where = csr_matrix((np.ones(len(row)), (row, stream.documents[after])), shape=(n, stream.n_documents))
        expected = np.asarray(where.multiply(csr_matrix(table.astype(np.float32)) @ known.token_shares).sum(1)).ravel()
        for number, tokens in enumerate(turned):
            times = np.bincount(row, table[row, tokens[after]], n)
            found[number, block] = (times - expected) / np.sqrt(expected + 1)
    return found


def weights(
    known: Known,
    hits: Places,
    sources: NDArray[np.int64],
    scale: NDArray[np.float64],
    rotations: Sequence[NDArray[np.int64]],
) -> Iterator[list[Leads]]:
    """Weights above 0 of some `sources` to all latents under each rotation, a part of the sources at a time. `hits` are
    places with a raised token behind them, in the order of their latents; `scale` is `[d_sae]`, infinite for latents
    that nothing can lead to."""
    stream = known.stream
    for part in _blocks(len(sources)):
        own = sources[part]
        rows = np.full(len(scale), -1)
        rows[own] = np.arange(len(own))
        mine = hits.of(np.flatnonzero(rows[hits.latents] >= 0))
        row, n = rows[mine.latents], np.bincount(rows[mine.latents], minlength=len(own))
        each = (1 / np.maximum(n, 1))[row].astype(np.float32)
        documents = csr_matrix((each, (row, stream.documents[mine.next])), shape=(len(own), stream.n_documents))
        usual = (documents @ known.means).toarray()
        found = []
        for rotated in rotations:
            there = csr_matrix((each, (row, rotated[mine.next])), shape=(len(own), len(stream.tokens)))
            sums = there @ stream.by_token
            of = np.repeat(np.arange(len(own)), np.diff(sums.indptr))
            weight = (sums.data - usual[of, sums.indices]) / scale[sums.indices]
            above = np.flatnonzero(weight > 0)
            found.append(Leads(own[of[above]], sums.indices[above].astype(np.int64), weight[above]))
        yield found


def weights_of(
    known: Known, hits: Places, leads: Leads, scale: NDArray[np.float64], rotations: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """`[n_rotations, n]`, the weights of some leads under each rotation; 0 where there is none above 0."""
    found, d_sae = np.zeros((len(rotations), len(leads.source))), len(scale)
    keys = leads.source * d_sae + leads.target
    order = np.argsort(keys)
    for parts in weights(known, hits, np.unique(leads.source), scale, rotations):
        for number, part in enumerate(parts):
            there = part.source * d_sae + part.target
            at = np.minimum(np.searchsorted(keys[order], there), len(order) - 1)
            same = keys[order][at] == there
            found[number, order[at[same]]] = part.weight[same]
    return found


def spread(places: Places, stream: Stream, d_sae: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`[d_sae]` each: how many places a latent has, and how many documents of one size would tell as much as those that
    they are of (Kish 1965): a table of numbers in one document is no evidence of what holds in others."""
    found = csr_matrix(
        (np.ones(len(places.latents)), (places.latents, stream.documents[places.next])),
        shape=(d_sae, stream.n_documents),
    )
    n = np.asarray(found.sum(1)).ravel()
    return n.astype(np.int64), n**2 / np.maximum(np.asarray(found.multiply(found).sum(1)).ravel(), 1)


def scale_of(known: Known, least_active: int, least_documents: float) -> NDArray[np.float64]:
    """`[d_sae]`, mean activation of each latent where it is active; infinite where it is on too few tokens, or by its
    activations in too few documents, to be led to."""
    stream = known.stream
    n_active, total = np.diff(stream.by_latent.indptr), np.asarray(stream.by_latent.sum(1), dtype=np.float64).ravel()
    masses = known.means.multiply(stream.per_document[:, None])
    squares = np.asarray(masses.multiply(masses).sum(0)).ravel()
    enough = (n_active >= least_active) & (total**2 >= least_documents * squares * (1 - 1e-6)) & (total > 0)
    return np.where(enough, total / np.maximum(n_active, 1), np.inf)


def by_token_alone(
    known: Known, hits: Places, leads: Leads, scale: NDArray[np.float64], means: csr_matrix
) -> NDArray[np.float64]:
    """`[n]`, the weights that leads would have if a target were as active on each token as it is wherever that token
    stands: what the tokens alone do. `means` is `[n_vocab, d_sae]`, mean activations on each token."""
    stream, d_sae, n_vocab = known.stream, len(scale), means.shape[0]
    found = np.zeros(len(leads.source))
    tokens, shape = stream.tokens[hits.next], (d_sae, n_vocab)
    n = np.maximum(np.bincount(hits.latents, minlength=d_sae), 1)
    shares = csr_matrix((1 / n[hits.latents], (hits.latents, tokens)), shape=shape)
    documents = csr_matrix(
        (1 / n[hits.latents], (hits.latents, stream.documents[hits.next])), shape=(d_sae, stream.n_documents)
    )
    for part in _blocks(len(found)):
        source, target = leads.source[part], leads.target[part]
        there = np.asarray(shares[source].multiply(means[:, target].T.tocsr()).sum(1)).ravel()
        usual = np.asarray(documents[source].multiply(known.means[:, target].T.tocsr()).sum(1)).ravel()
        found[part] = (there - usual) / scale[target]
    return found


def token_means(stream: Stream, n_vocab: int) -> csr_matrix:
    """`[n_vocab, d_sae]`, mean activation of each latent on each token."""
    n = np.maximum(np.bincount(stream.tokens, minlength=n_vocab), 1)
    n_tokens = len(stream.tokens)
    at = csr_matrix((1 / n[stream.tokens], (stream.tokens, np.arange(n_tokens))), shape=(n_vocab, n_tokens))
    return at @ stream.by_token


def carriers(
    stream: Stream, hits: Places, source: int, targets: NDArray[np.int64], n: int
) -> list[list[tuple[int, float]]]:
    """For each target the `n` tokens that carry most of its activation behind places of `source`, and their shares of
    it."""
    own = hits.next[hits.latents == source]
    tokens, row = np.unique(stream.tokens[own], return_inverse=True)
    sums = csr_matrix((np.ones(len(own)), (row, np.arange(len(own)))), shape=(len(tokens), len(own)))
    acts = (sums @ stream.by_token[own][:, targets]).toarray()
    total = np.maximum(acts.sum(0), 1e-30)
    best = np.argsort(-acts, axis=0, kind="stable")[:n]
    return [
        [(int(tokens[one]), float(acts[one, place] / total[place])) for one in best[:, place] if acts[one, place] > 0]
        for place in range(len(targets))
    ]


def _table(raised: NDArray[np.integer], n_vocab: int) -> NDArray[np.bool_]:
    """`[n, n_vocab]`, which tokens each latent of a block raises."""
    found = np.zeros((len(raised), n_vocab), dtype=bool)
    row, place = np.nonzero((raised >= 0) & (raised < n_vocab))
    found[row, raised[row, place]] = True
    return found


def _blocks(n: int) -> list[slice]:
    return [slice(start, min(n, start + _BLOCK)) for start in range(0, n, _BLOCK)]
