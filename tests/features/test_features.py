"""The index against slow, obvious versions: statistics, histograms, intervals, examples, columns."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselex.features.directions import logit_effects, neighbours
from sparselex.features.examples import Entries, best_of_rows, bin_of, histograms, interval_examples, top
from sparselex.features.latents import ColumnWriter, groups
from sparselex.features.stats import LatentStatistics
from sparselex.text.splits import SPLITS

N_CTX = 8


def sparse(rng, n_tokens=160, d=7, signed=True):
    """Dense codes `[n_tokens, d]` with a dead latent, a rare one, and values that fall on bin edges."""
    acts = np.where(rng.random((n_tokens, d)) < 0.3, rng.integers(1, 11, (n_tokens, d)) / 10, 0).astype(np.float32)
    if signed:
        acts *= rng.choice([-1, 1], acts.shape)
    acts[:, 2] = 0
    acts[:, 4] = 0
    acts[17, 4] = 0.5
    return acts


def entries_of(acts):
    latent, position = np.nonzero(acts.T)
    return Entries(latent, position, acts[position, latent])


@pytest.mark.parametrize("signed", [False, True])
def test_statistics_of_batches_equal_a_dense_pass(signed):
    acts = sparse(np.random.default_rng(0), signed=signed)

    def counted(*parts):
        statistics = LatentStatistics(acts.shape[1])
        for part in parts:
            rows, latents = np.nonzero(part)
            statistics.update("validation", len(part), latents, part[rows, latents])
        return statistics

    dense = acts.astype(np.float64)
    extremes = dense[np.abs(dense).argmax(0), np.arange(7)]
    for statistics in (counted(acts), counted(acts[:70], acts[70:])):
        found, s = statistics.finish(), SPLITS.index("validation")
        assert np.array_equal(found["n_active"][s], (acts != 0).sum(0)) and found["n_active"][0].sum() == 0
        assert np.allclose(found["mean"][s], dense.mean(0)) and np.allclose(found["mean_square"][s], (dense**2).mean(0))
        assert np.allclose(np.abs(found["max"][s]), np.abs(extremes)) and statistics.n_tokens.tolist() == [0, 160, 0]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_histograms_equal_a_slow_count_also_at_edges(seed, n_bins):
    acts = sparse(np.random.default_rng(seed))
    largest = np.abs(acts).max(0).astype(np.float64)
    found = histograms(entries_of(acts), np.where(largest, largest, 1), n_bins)
    for latent in range(acts.shape[1]):
        slow = [0] * n_bins
        for value in np.abs(acts[:, latent].astype(np.float64)):
            if value:
                slow[next(b for b in range(n_bins) if value * n_bins / largest[latent] <= b + 1)] += 1
        assert found[latent].tolist() == slow


def test_the_largest_value_and_exact_edges_fall_into_the_lower_bin():
    entries = Entries(np.zeros(4, dtype=int), np.arange(4), np.array([1.0, 0.5, 0.25, 0.1], dtype=np.float32))
    assert bin_of(entries, np.array([1.0]), 4).tolist() == [3, 1, 0, 0]


def slow_best_of_rows(acts, latent):
    best = {}
    for position in np.flatnonzero(acts[:, latent]):
        row, size = position // N_CTX, abs(acts[position, latent])
        if row not in best or size > abs(acts[best[row], latent]):
            best[row] = position
    return sorted(best.values(), key=lambda p: (-abs(acts[p, latent]), p))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_top_examples_equal_a_slow_search(seed):
    acts = sparse(np.random.default_rng(seed))
    table = top(entries_of(acts), np.maximum(np.abs(acts).max(0), 1e-9).astype(float), N_CTX, 5)
    for latent in range(acts.shape[1]):
        slow = slow_best_of_rows(acts, latent)[:5]
        assert table.position[latent].tolist() == slow + [-1] * (5 - len(slow))
        assert np.array_equal(table.value[latent, : len(slow)], acts[slow, latent])


def test_best_of_rows_of_nothing():
    empty = Entries(np.empty(0, dtype=int), np.empty(0, dtype=int), np.empty(0, dtype=np.float32))
    assert len(best_of_rows(empty, N_CTX).latent) == 0
    assert (top(empty, np.ones(3), N_CTX, 2).position == -1).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_interval_examples_are_true_distinct_and_complete(seed):
    acts = sparse(np.random.default_rng(seed))
    largest = np.maximum(np.abs(acts).max(0), 1e-9).astype(float)
    table, counts = interval_examples(entries_of(acts), largest, N_CTX, 4, 3, seed=1)
    again, _ = interval_examples(entries_of(acts), largest, N_CTX, 4, 3, seed=1)
    assert np.array_equal(table.position, again.position)
    for latent in range(acts.shape[1]):
        sizes = np.abs(acts[:, latent].astype(float)) * 4 / largest[latent]
        for interval in range(4):
            inside = np.flatnonzero((sizes > interval) & (sizes <= interval + 1))
            chosen = table.position[latent * 4 + interval]
            chosen = chosen[chosen >= 0]
            assert counts[latent * 4 + interval] == len(inside) and set(chosen) <= set(inside)
            rows = {position // N_CTX for position in inside}
            assert len({p // N_CTX for p in chosen}) == len(chosen) == min(3, len(rows))


def test_examples_drawn_are_not_always_the_same_kind():
    acts = np.full((4000, 1), 0.5, dtype=np.float32)
    acts[0] = 1
    draws = [interval_examples(entries_of(acts), np.ones(1), N_CTX, 1, 50, seed)[0].position for seed in range(20)]
    mean = np.concatenate(draws).mean()
    assert abs(mean - 2000) < 4 * 4000 / np.sqrt(12 * 1000)  # uniform over the corpus, not its beginning


def test_columns_written_in_chunks_equal_the_dense_codes(tmp_path, monkeypatch):
    from sparselex.features import latents

    monkeypatch.setattr(latents, "CHUNK", 50)
    acts = sparse(np.random.default_rng(3))
    writer = ColumnWriter(tmp_path, 7, 160)
    for start in range(0, 160, 16):
        rows, latent = np.nonzero(acts[start : start + 16])
        writer.add(latent, rows + start, acts[rows + start, latent])
    writer.finish()
    indptr, positions, values = (np.load(tmp_path / f"{name}.npy") for name in ("indptr", "positions", "values"))
    for latent in range(7):
        span = slice(indptr[latent], indptr[latent + 1])
        assert np.array_equal(positions[span], np.flatnonzero(acts[:, latent]))
        assert np.array_equal(values[span], acts[positions[span], latent])
    assert not list(tmp_path.glob("chunk-*"))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.integers(1, 40))
def test_groups_cover_every_latent_once(counts, size):
    indptr = np.concatenate([[0], np.cumsum(counts)])
    covered = [latent for group in groups(indptr, size) for latent in range(group.start, group.stop)]
    assert covered == list(range(len(counts)))


def test_neighbours_and_logit_effects_equal_the_dense_product():
    W, write, unembed = torch.randn(700, 6), torch.randn(6, 4), torch.randn(4, 30)
    near = neighbours(W, 3)
    cosines = torch.nn.functional.cosine_similarity(W[:, None], W[None], dim=-1).fill_diagonal_(-2)
    assert torch.allclose(near.value, cosines.topk(3).values, atol=1e-5)
    best, worst = logit_effects(W, write, unembed, 4)
    logits = W @ write @ unembed
    logits -= logits.median(-1, keepdim=True).values
    assert torch.allclose(best.value, logits.topk(4).values, atol=1e-4)
    assert torch.allclose(worst.value, logits.topk(4, largest=False).values, atol=1e-4)
