"""The index against slow, obvious versions: statistics, histograms, intervals, examples, columns."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselex.features import chunks
from sparselex.features.chunks import ChunkFiles, Read, planned
from sparselex.features.config import IndexConfig
from sparselex.features.directions import logit_effects, neighbours
from sparselex.features.examples import Entries, best_of_rows, bin_of, histograms, interval_examples, tally, top
from sparselex.features.latents import Columns, ColumnWriter
from sparselex.features.ranges import groups
from sparselex.features.stats import LOG_BINS, log_counts, log_edge, log_histograms, statistics
from sparselex.text.splits import SPLITS
from tests.support.planted import without_bos

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
def test_statistics_of_columns_equal_a_dense_pass(signed):
    acts = sparse(np.random.default_rng(0), signed=signed)
    parts = {"train": acts[:100], "validation": acts[100:100], "test": acts[100:]}
    counts = np.stack([(part != 0).sum(0) for part in parts.values()])
    found = statistics(entries_of(acts), counts)
    for number, part in enumerate(parts.values()):
        dense = part.astype(np.float64)
        assert np.array_equal(found["n_active"][:, number], (part != 0).sum(0))
        assert np.allclose(found["sum"][:, number], dense.sum(0))
        assert np.allclose(found["sum_square"][:, number], (dense**2).sum(0))
        assert np.allclose(np.abs(found["max"][:, number]), np.abs(dense).max(0, initial=0))
        assert not len(part) or all(found["max"][latent, number] in {0, *part[:, latent]} for latent in range(7))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(2.0**-60, 2.0**60, width=32), min_size=1), st.integers(-40, 40))
def test_log_spaced_bins_equal_a_slow_count_also_at_edges(sizes, edge):
    edges = log_edge(np.arange(180, 320))
    values = np.array([*sizes, *edges[edge + 60 : edge + 62]], dtype=np.float32)
    entries = Entries(np.arange(len(values)) % 2, np.arange(len(values)), values)
    entries = entries.take(np.argsort(entries.latent, kind="stable"))
    parts = [log_counts(Entries(np.zeros(len(v), dtype=int), np.arange(len(v)), v), 1) for v in (values, values[:1])]
    counts, edges = log_histograms([*parts, log_counts(entries.take(np.zeros(0, dtype=int)), 3)])
    assert counts.shape == (5, len(edges) - 1) and len(edges) <= LOG_BINS + 1 and edges[0] == 0
    slow = [sum(low < value <= high for value in values) for low, high in pairwise(edges)]
    assert counts[0].tolist() == slow and counts[1].sum() == 1 and counts[2:].sum() == 0
    assert np.allclose(edges[2:] / edges[1:-1], np.sqrt(2))
    assert np.array_equal(log_counts(entries, 2).counts.sum(0), log_counts(entries._replace(latent=0), 1).counts[0])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([9, 50_000]))
def test_tokens_are_counted_as_a_slow_count_has_them(seed, n, n_vocab):
    rng = np.random.default_rng(seed)
    acts, tokens = sparse(rng), rng.integers(0, 9, 160)
    entries = entries_of(acts)
    found = tally(entries, tokens[entries.position], 7, n_vocab, n)
    for latent in range(7):
        slow = Counter(tokens[np.flatnonzero(acts[:, latent])].tolist())
        best = sorted(slow.items(), key=lambda item: (-item[1], item[0]))[:n]
        assert list(zip(found.token[latent].tolist(), found.n[latent].tolist(), strict=True)) == best + [(-1, 0)] * (
            n - len(best)
        )


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


def test_columns_of_chunks_equal_the_dense_codes(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "FEWEST_TOKENS", 3 * N_CTX)
    acts, corpus = sparse(np.random.default_rng(3)), without_bos()
    corpus.n_rows, corpus.n_ctx, corpus.row_ranges = 20, N_CTX, dict(zip(SPLITS, RANGES, strict=True))
    files = ChunkFiles(tmp_path / "chunks", planned(corpus, IndexConfig(), 3), 7, corpus)
    (tmp_path / "chunks").mkdir()
    for chunk in files.chunks:
        assert not files.has(chunk)
        positions = [row * N_CTX + np.arange(1, N_CTX) for row in chunk.rows]
        batches = []
        for part in positions:
            rows, latents = np.nonzero(acts[part])
            batches.append((np.searchsorted(rows, range(len(part) + 1)), latents, acts[part][rows, latents]))
        files.write(chunk, Read(positions, batches, n_outliers=chunk.number, x=[]))
        assert files.has(chunk) and files.counts(chunk)["n_outliers"] == chunk.number
    acts[::N_CTX] = 0  # never counted
    columns, seen = Columns(files), []
    with ColumnWriter(tmp_path, columns.indptr, files.dtype) as writer:
        for group in groups(columns.indptr, 50):
            entries, counts = columns.group(group)
            writer.write(entries)
            seen.append(counts)
    by_split = [(acts[rows.start * N_CTX : rows.stop * N_CTX] != 0).sum(0) for rows in RANGES]
    assert len(files.chunks) == 8 and len(seen) > 3 and np.array_equal(np.concatenate(seen, axis=1), by_split)
    assert sorted(np.concatenate(list(files.counted()))) == [p for p in range(160) if p % N_CTX]
    indptr, positions, values = (np.load(tmp_path / f"{name}.npy") for name in ("indptr", "positions", "values"))
    for latent in range(7):
        span = slice(indptr[latent], indptr[latent + 1])
        assert np.array_equal(positions[span], np.flatnonzero(acts[:, latent]))
        assert np.array_equal(values[span], acts[positions[span], latent])


RANGES = (range(11), range(11, 12), range(12, 20))


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
