"""The counted tokens of one split by key: what a rule's predictor looks at."""

from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.explain.kinds import KINDS, RECENT, Kind
from sparselex.explain.rules import Clause, Rule
from sparselex.explain.surroundings import WITHIN, Keys, Surroundings
from sparselex.features.counted import Column, CountedTokens


class Coded(NamedTuple):
    """The keys of one kind, numbered in ascending order."""

    distinct: Keys
    """`[n_keys]`, those that there are, ascending."""

    codes: NDArray[np.int32]
    """`[n]`, the number of each token's key."""


class ByKey(NamedTuple):
    """Ranks of tokens, by the number of their key."""

    order: NDArray[np.int32]
    """`[n]`, ranks by key, ascending within each."""

    ends: Keys
    """`[n_keys + 1]`, where those of each key begin, and behind the last where they end."""

    def of(self, number: int) -> NDArray[np.int32]:
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
    return Coded(np.flatnonzero(there) - 1, (there.cumsum(dtype=np.int32) - 1)[keys + 1])


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

    def ranks(self, kind: Kind, key: int) -> Keys:
        """Ranks of the tokens with this key, ascending."""
        if kind == RECENT:
            return self._after(key)
        distinct = self.coded(kind).distinct
        number = int(np.searchsorted(distinct, key))
        if number == len(distinct) or distinct[number] != key:
            return np.empty(0, dtype=np.int64)
        return self.by_key(kind).of(number).astype(np.int64)

    def called(self, rule: Rule) -> Column:
        """The tokens that a rule calls active, each once in no order, and the activation that it predicts there."""
        if not rule.first and rule.kind != RECENT:
            return self._entries(Clause(rule.kind, rule.table))
        decided = np.zeros(self.n, dtype=bool)
        parts = [self._entries(clause, decided) for clause in rule.clauses]
        found = Column(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        active = found.values > 0
        return Column(found.ranks[active], found.values[active])

    def _entries(self, clause: Clause, decided: NDArray[np.bool_] | None = None) -> Column:
        """What the entries of a table decide, those left aside that are `decided` before."""
        parts = []
        for key in clause.table:
            ranks = self.ranks(clause.kind, key)
            if decided is not None:
                ranks = ranks[~decided[ranks]]
                decided[ranks] = True
            parts.append(ranks)
        values = np.fromiter(clause.table.values(), dtype=np.float64, count=len(clause.table))
        return Column(np.concatenate(parts), np.repeat(values, [len(part) for part in parts]))

    def _coded(self, kind: Kind) -> Coded:
        return _numbered(KINDS[kind].keys(self.around))

    def _by_key(self, kind: Kind) -> ByKey:
        distinct, codes = self.coded(kind)
        ends = np.bincount(codes, minlength=len(distinct)).cumsum()
        return ByKey(np.argsort(codes, kind="stable").astype(np.int32), np.concatenate([[0], ends]))

    def _after(self, token: int) -> Keys:
        """Ranks of the tokens that stand at most `WITHIN` places behind a token, in its row."""
        order, rank_of = self._by_token
        n_ctx, there = self.around.n_ctx, order.of(token).astype(np.int64)
        behind = there[:, None] + np.arange(1, WITHIN + 1)
        ranks = np.sort(rank_of[behind[behind // n_ctx == there[:, None] // n_ctx]])
        new = np.diff(ranks, prepend=-1) > 0
        return ranks[new].astype(np.int64)

    @cached_property
    def _by_token(self) -> tuple[ByKey, NDArray[np.int32]]:
        """Places of every token in the rows, also of one that is not counted, and the rank at each place; -1 where none
        is counted."""
        n_ctx, positions = self.around.n_ctx, self.counted.positions
        first, last = (int(positions[end]) // n_ctx for end in (0, -1))
        tokens = self.counted.corpus.tokens[first : last + 1].reshape(-1)
        rank_of = np.full(len(tokens), -1, dtype=np.int32)
        rank_of[positions - first * n_ctx] = np.arange(self.n)
        ends = np.bincount(tokens, minlength=self.n_vocab).cumsum()
        by_token = ByKey(np.argsort(tokens, kind="stable").astype(np.int32), np.concatenate([[0], ends]))
        return by_token, rank_of
