"""Counted tokens, columns among them, and examples of any split."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparselex.features.counted import Column, CountedTokens
from sparselex.text.splits import SPLITS
from tests.support.planted import N_CTX, N_VOCAB, SPLIT_ROWS, PlantedIndex, part, without_bos


@pytest.fixture(scope="module")
def index():
    return PlantedIndex()


@pytest.mark.parametrize("split", SPLITS)
def test_counted_tokens_against_a_walk_over_the_corpus(index, split):
    found, corpus = index.counted_tokens(split), index.corpus
    rows = [
        (
            row * N_CTX + column,
            corpus.tokens[row, column],
            corpus.tokens[row, column - 1],
            corpus.documents[row, column],
        )
        for row in SPLIT_ROWS[split]
        for column in range(N_CTX)
        if corpus.documents[row, column] >= 0
    ]
    positions, tokens, previous, documents = map(np.array, zip(*rows, strict=True))
    assert np.array_equal(found.positions, positions) and np.array_equal(found.tokens, tokens)
    assert np.array_equal(found.previous, previous) and np.array_equal(found.documents, documents - documents[0])
    assert len(found) == len(rows) and found.n_documents == len(set(documents.tolist()))
    assert np.array_equal(found.per_document, np.bincount(documents - documents[0]))
    assert index.counted_tokens(split) is found


def test_the_first_token_of_a_row_has_none_before_it_not_even_token_0():
    corpus = without_bos()
    found = CountedTokens(corpus, np.ones(corpus.tokens.size, dtype=bool), "train")
    previous = found.previous.reshape(-1, N_CTX)
    assert (previous[:, 0] == N_VOCAB).all()
    assert np.array_equal(previous[:, 1:], corpus.tokens[SPLIT_ROWS["train"], :-1])


@pytest.mark.parametrize("split", SPLITS)
def test_ranks_lead_to_the_positions_of_the_column(small_index, split):
    tokens = small_index.counted_tokens(split)
    assert len(tokens) == small_index.n_tokens[split]
    for latent in range(0, small_index.d_sae, 16):
        column, (positions, values) = (
            small_index.counted_column(latent, split),
            small_index.split_column(latent, split),
        )
        assert np.array_equal(tokens.positions[column.ranks], positions) and np.array_equal(column.values, values)


@given(st.sets(st.integers(0, 30)), st.integers(1, 40))
def test_silent_ranks_are_those_that_are_left(active, n_more):
    ranks = np.array(sorted(active), dtype=np.int64)
    left = np.setdiff1d(np.arange(len(ranks) + n_more), ranks)
    assert np.array_equal(Column(ranks, np.ones(len(ranks))).silent(np.arange(len(left))), left)


@pytest.mark.parametrize("split", SPLITS)
def test_the_largest_examples_of_a_split_one_a_row(small_index, split):
    corpus = small_index.corpus
    for latent in range(0, small_index.d_sae, 16):
        positions, values = small_index.split_column(latent, split)
        best = {}
        for position, value in sorted(zip(positions.tolist(), values.tolist(), strict=True), key=lambda e: -e[1]):
            best.setdefault(position // corpus.n_ctx, value)
        found = small_index.examples(latent, split, 5)
        assert [e.value for e in found] == list(best.values())[:5]
        if split == "train":
            assert found == small_index.record(latent).top[:5]


@pytest.mark.parametrize("split", SPLITS)
def test_random_examples_and_silent_places(index, split):
    seen = set()
    for seed in range(20):
        drawn = index.examples(0, split, 4, seed)
        silent = index.silent(0, split, 4, seed)
        for example in drawn + silent:
            assert example.value == np.float32(index.acts[example.position, 0])
            assert part(split).start <= example.position < part(split).stop and index.counted[example.position]
        assert all(example.value for example in drawn) and not any(example.value for example in silent)
        for group in (drawn, silent):
            assert len(group) == 4 == len({example.position // N_CTX for example in group})
        assert drawn == index.examples(0, split, 4, seed) and silent == index.silent(0, split, 4, seed)
        seen |= {example.position for example in drawn}
    assert len(seen) > 8
    assert index.examples(4, split, 4) == index.examples(4, split, 4, 0) == []
