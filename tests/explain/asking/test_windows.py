"""Windows of a split against a slow cut, and what is drawn of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.windows import ActiveWindows, TokenWindows, activations, drawn
from tests.support.planted import N_CTX, PlantedIndex


@pytest.fixture(scope="module")
def index():
    return PlantedIndex()


@pytest.mark.parametrize("size", [1, 5, 8, 15, 16, 40])
def test_windows_equal_a_slow_cut(index, size):
    tokens, found, slow = index.counted_tokens("test"), [], []
    windows = TokenWindows(tokens, N_CTX, size)
    for position, document in zip(tokens.positions.tolist(), tokens.documents.tolist(), strict=True):
        key = (position // N_CTX, position % N_CTX // size, document)
        if not slow or slow[-1][0] != key:
            slow.append((key, []))
        slow[-1][1].append(position)
    found = [tokens.positions[range(*windows.starts[n : n + 2])].tolist() for n in range(len(windows))]
    assert found == [positions for _, positions in slow]
    assert windows.usable.tolist() == [2 * len(positions) >= size for _, positions in slow]
    column = index.counted_column(0, "test")
    active = windows.active(column)
    acts = [activations(column, windows.ranks(n)) for n in range(len(windows))]
    peaks = {n: one.max() for n, one in enumerate(acts) if windows.usable[n] and one.any()}
    assert active.numbers.tolist() == list(peaks) and active.peaks.tolist() == list(peaks.values())
    silent = [n for n in range(len(windows)) if windows.usable[n] and n not in peaks]
    assert windows.silent(column).tolist() == silent
    some = np.arange(0, len(tokens), 7)
    holding = {int(n) for n in windows.of(some)}
    assert windows.silent_at(column, some).tolist() == [n for n in silent if n in holding]


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 60), st.integers(0, 99))
def test_tenths_of_the_windows_give_as_many_each(n, wanted, seed):
    rng = np.random.default_rng(seed)
    active = ActiveWindows(np.arange(n), rng.permutation(n).astype(float))
    places = drawn(active, "intervals", wanted, np.random.default_rng(seed))
    assert len(places) == len(set(places.tolist())) == min(n, wanted)
    assert (np.diff(active.peaks[places]) < 0).all(), "the largest first"
    rank = n - 1 - active.peaks[places].astype(int)
    counts, there = np.bincount(rank * 10 // n, minlength=10), np.bincount(np.arange(n) * 10 // n, minlength=10)
    least = min(counts[tenth] for tenth in range(10) if counts[tenth] < there[tenth]) if wanted < n else 0
    assert wanted >= n or counts.max() <= least + 1, "none gives more than one beyond what another still has"
    assert drawn(active, "top", wanted, rng).tolist() == np.argsort(-active.peaks)[:wanted].tolist()
    assert len(set(drawn(active, "random", wanted, rng).tolist())) == min(n, wanted)


@settings(deadline=None)
@given(st.integers(0, 3), st.sampled_from([8, 15, 16]), st.sampled_from(["intervals", "top", "random"]))
def test_windows_of_explanations_and_of_scores_share_no_document(latent, size, how):
    index = PlantedIndex()
    evidence, held_out = Evidence(index), HeldOut(index)
    owners = []
    for one in (evidence.train, evidence.validation, held_out):
        windows, column = one.windows(size), one.column(latent)
        active = windows.active(column)
        places = drawn(active, how, 40, np.random.default_rng(0))
        numbers = np.concatenate([active.numbers[places], windows.silent(column)])
        positions = [int(one.tokens.positions[rank]) for n in numbers.tolist() for rank in windows.ranks(n)]
        owners.append({int(index.corpus.documents.reshape(-1)[position]) for position in positions})
    assert all(owners) and not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]
