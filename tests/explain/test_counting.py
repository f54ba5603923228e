"""Counts that the search looks at are those of a scan of every token, whatever was turned in between."""

import numpy as np
import pytest

from sparselex.explain import counting
from sparselex.explain.counting import LEAST_SEEN, Coding, State
from sparselex.explain.keys import KeyTable
from sparselex.explain.kinds import KINDS, PARTED, RECENT
from sparselex.explain.surroundings import WITHIN
from tests.support.planted import PlantedIndex


@pytest.fixture(scope="module")
def index():
    return PlantedIndex()


@pytest.fixture(scope="module")
def tables(index):
    return [KeyTable(index.counted_tokens(split)) for split in ("train", "validation")]


@pytest.mark.parametrize("kind", PARTED)
def test_parts_are_the_tokens_with_each_key(tables, kind):
    for table in tables:
        keys = KINDS[kind].keys(table.around)
        asked = [*np.unique(keys)[::-7].tolist(), 1 << 50]
        for key, ranks in zip(asked, table.parts(kind, asked), strict=True):
            assert ranks.tolist() == np.flatnonzero(keys == key).tolist()


def test_recent_parts_are_the_tokens_behind_each(tables):
    for table in tables:
        asked = np.unique(table.counted.tokens)[:12]
        for token, ranks in zip(asked, table.parts(RECENT, asked), strict=True):
            behind = np.any([table.around.at(-back) == token for back in range(1, WITHIN + 1)], axis=0)
            assert ranks.tolist() == np.flatnonzero(behind).tolist()


def scanned(side, there):
    """`[n_codes]`, how many of the tokens that are `there` have each key."""
    return np.array([(side.codes[there] == code).sum() for code in range(side.n_codes)])


def test_states_count_what_a_scan_does(index, tables):
    coding = Coding(*tables, ["token", "shape"])
    for side, split in ((coding.train, "train"), (coding.validation, "validation")):
        active, called, rng = np.zeros(side.table.n, bool), np.zeros(side.table.n, bool), np.random.default_rng(0)
        column, codes = index.counted_column(0, split), np.arange(coding.n)
        active[column.ranks] = True
        state = State(side, column)
        for adds in (True, True, False, True):
            ranks = rng.permutation(side.table.n)[: side.table.n // 3]
            state.turn(ranks, adds)
            called[ranks] = adds
            open_ = scanned(side, active & ~called), scanned(side, ~called)
            hits = scanned(side, active & called), scanned(side, called)
            assert np.array_equal(state.open(codes), open_) and np.array_equal(state.called(codes), hits)
            assert state.totals == ((active & called).sum(), called.sum(), active.sum())
        assert np.array_equal(state.keys, np.flatnonzero(scanned(side, active)))
        assert np.array_equal(side.n_of, scanned(side, np.ones(side.table.n, bool)))
    assert coding.train.n_of.min() >= LEAST_SEEN


def test_estimates_of_what_is_called_are_never_below_nothing(index, tables, monkeypatch):
    """Of many tokens some stand for all: of what is called and then not the estimates need not cancel."""
    monkeypatch.setattr(counting, "MOST_LOOKED_AT", 16)
    coding = Coding(*tables, ["token", "shape"])
    side, codes, rng = coding.train, np.arange(coding.n), np.random.default_rng(0)
    state = State(side, index.counted_column(0, "train"))
    below = 0
    for adds in (True, False) * 8:
        state.turn(np.sort(rng.permutation(side.table.n)[: side.table.n // 2]), adds)
        below += int((state.misses.of(codes) < 0).sum())
        hits, every = state.called(codes)
        assert (hits >= 0).all() and (every >= hits).all()
    assert below, "the case came up"
