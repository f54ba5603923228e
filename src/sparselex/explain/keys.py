"""The counted tokens of one split by key: what a rule's predictor looks at."""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.explain.kinds import KINDS, RECENT, Kind
from sparselex.explain.rules import Clause, Rule
from sparselex.explain.surroundings import WITHIN, Keys, Surroundings
from sparselex.features.counted import Column, CountedTokens

Ranks = NDArray[np.int32]
"""Of tokens of a split, as they are kept: NumPy reckons with twice as many bits."""


class Coded(NamedTuple):
    """The keys of one kind, numbered in ascending order."""

    distinct: Keys
    """`[n_keys]`, those that there are, ascending."""

    codes: NDArray[np.int32]
    """`[n]`, the number of each token's key."""


class ByKey(NamedTuple):
    """Ranks of tokens, by the number of their key."""

    order: Ranks
    """`[n]`, ranks by key, ascending within each."""

    ends: NDArray[np.int32]
    """`[n_keys + 1]`, where those of each key begin, and behind the last where they end."""

    def of(self, number: int) -> Ranks:
        """Ranks of the tokens whose key has this number, ascending."""
        return self.order[self.ends[number] : self.ends[number + 1]]


_IN_A_TABLE = 1 << 26
"""Keys up to which they are numbered by a table of all of them: ten times as quick as sorting them."""


def _numbered(keys: Keys) -> Coded:
    if not len(keys) or keys.max() >= _IN_A_TABLE:
        distinct, codes = np.unique(keys, return_inverse=True)
        return Coded(distinct, codes.astype(np.int32))
    there = np.zeros(int(keys.max()) + 2, dtype=bool)
    there[keys + 1] = True  # the first place is of those that have none, -1
    places = np.flatnonzero(there)
    number = np.empty(len(there), dtype=np.int32)
    number[places] = np.arange(len(places))
    return Coded(places - 1, number[keys + 1])


def _by_number(numbers: NDArray[np.integer], n: int) -> ByKey:
    """Ranks by number: the rows of each column of a matrix of which token has which, far quicker than by sorting."""
    rows, there = np.arange(len(numbers) + 1, dtype=np.int32), np.ones(len(numbers), dtype=bool)
    columns = csr_array((there, numbers.astype(np.int32), rows), shape=(len(numbers), n)).tocsc()
    return ByKey(columns.indices, columns.indptr)


class KeyTable:
    """The keys of all counted tokens of a split, each kind worked out when first asked for. The first token of a row,
    where there is no BOS, has `n_vocab` before it, as if the start of a row were one more token."""

    def __init__(self, counted: CountedTokens):
        self.counted = counted
        self.n, self.n_vocab = len(counted), counted.n_vocab
        self.document, self.n_documents = counted.documents, counted.n_documents
        self.around = Surroundings(counted.corpus, counted.positions)
        # Looking a number up is far quicker than looking for a key.
        self.coded, self.by_key = cache(self._coded), cache(self._by_key)

    def parts(self, kind: Kind, keys: Sequence[int] | Keys) -> list[Ranks]:
        """Ranks of the tokens with each of these keys, ascending."""
        if kind == RECENT:
            return [self._after(int(key)) for key in keys]
        order, ends = self.by_key(kind)
        # Of a key that is not there both sides are one place, with nothing between.
        begins, behind = (ends[np.searchsorted(self.coded(kind).distinct, keys, side)] for side in ("left", "right"))
        return [order[begin:end] for begin, end in zip(begins.tolist(), behind.tolist(), strict=True)]

    def called(self, rule: Rule) -> Column:
        """The tokens that a rule calls active, each once in no order, and the activation that it predicts there."""
        entries = [entry for clause in rule.clauses for entry in self._entries(clause)]
        if len(entries) > 1:
            entries = self._first_to_decide(entries)
        found = Column(*(np.concatenate(columns) for columns in zip(*entries, strict=True)))
        active = found.values > 0
        return Column(found.ranks[active], found.values[active])

    def _entries(self, clause: Clause) -> list[Column]:
        """What each entry of a table says of which tokens: all entries together of a kind of which no two meet."""
        parts, values = self.parts(clause.kind, list(clause.table)), list(clause.table.values())
        if clause.kind != RECENT:
            return [Column(joined(parts), np.repeat(values, [len(part) for part in parts]))]
        return [Column(joined([part]), np.full(len(part), value)) for part, value in zip(parts, values, strict=True)]

    def _first_to_decide(self, entries: Sequence[Column]) -> list[Column]:
        """Of each the tokens of which no other before it says anything."""
        decided, found = np.zeros(self.n, dtype=bool), []
        for ranks, values in entries:
            open_ = ~decided[ranks]
            found.append(Column(ranks[open_], values[open_]))
            decided[ranks] = True
        return found

    def _coded(self, kind: Kind) -> Coded:
        return _numbered(KINDS[kind].keys(self.around))

    def _by_key(self, kind: Kind) -> ByKey:
        distinct, codes = self.coded(kind)
        return _by_number(codes, len(distinct))

    def _after(self, token: int) -> Ranks:
        """Ranks of the tokens that stand at most `WITHIN` places behind a token, in its row."""
        order, rank_of = self._by_token
        there, ahead = order.of(token), np.arange(1, WITHIN + 1, dtype=np.int32)
        # Behind the next such token it is that one which is looked at: so each place comes once, in order.
        reach = np.minimum(self.around.n_ctx - 1 - there % self.around.n_ctx, np.ediff1d(there, to_end=WITHIN))
        ranks = rank_of[(there[:, None] + ahead)[ahead <= reach[:, None]]]
        return ranks[ranks >= 0]

    @cached_property
    def _by_token(self) -> tuple[ByKey, Ranks]:
        """Places of every token in the rows, also of one that is not counted, and the rank at each place; -1 where none
        is counted."""
        n_ctx, positions = self.around.n_ctx, self.counted.positions
        first, last = (int(positions[end]) // n_ctx for end in (0, -1))
        tokens = self.counted.corpus.tokens[first : last + 1].reshape(-1)
        rank_of = np.full(len(tokens), -1, dtype=np.int32)
        rank_of[positions - first * n_ctx] = np.arange(self.n)
        return _by_number(tokens, self.n_vocab), rank_of


def joined(parts: Sequence[Ranks]) -> Keys:
    """Ranks of several parts, one behind the other."""
    return np.concatenate(parts, dtype=np.int64)
