"""The document bootstrap: its centre, its width, its coverage."""

import numpy as np

from sparselex.base.intervals import bootstrap_interval


def ratio(sums):
    return sums[..., 0] / sums[..., 1]


def test_value_is_the_statistic_of_all_documents():
    data = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 1.0]])
    assert bootstrap_interval(data, ratio).value == 9 / 7


def test_equals_a_slow_bootstrap():
    rng = np.random.default_rng(0)
    data = np.column_stack([rng.normal(5, 1, 50), np.ones(50)])
    slow = [ratio(data[rng.integers(0, 50, 50)].sum(0)) for _ in range(20_000)]
    fast = bootstrap_interval(data, ratio, n_draws=20_000)
    assert np.allclose([fast.low, fast.high], np.quantile(slow, [0.025, 0.975]), atol=0.01)


def test_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(400):
        lengths = rng.integers(5, 50, 60)
        effects = rng.normal(2, 1, 60)  # shared within a document: tokens are not independent
        data = np.column_stack([effects * lengths, lengths]).astype(float)
        interval = bootstrap_interval(data, ratio, seed=trial, n_draws=400)
        hits += interval.low <= 2 <= interval.high
    assert 0.90 <= hits / 400 <= 0.98


def test_one_document_has_no_interval():
    interval = bootstrap_interval(np.array([[1.0, 2.0]]), ratio)
    assert interval.value == 0.5 and np.isnan(interval.low) and np.isnan(interval.high)


def test_the_same_seed_gives_the_same_interval():
    data = np.random.default_rng(2).random((30, 2))
    assert bootstrap_interval(data, ratio, seed=3) == bootstrap_interval(data, ratio, seed=3)
    assert bootstrap_interval(data, ratio, seed=3) != bootstrap_interval(data, ratio, seed=4)
