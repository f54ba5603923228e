"""Intervals over units: the jackknife, its degrees of freedom, its coverage, differences."""

import numpy as np
import pytest
from scipy.stats import t

from sparselex.base.intervals import (
    Jackknife,
    difference,
    effective_units,
    even_groups,
    jackknife,
    jackknives,
    median_interval,
    share_interval,
)


def ratio(sums):
    return sums[..., 0] / sums[..., 1]


def correlation(sums):
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    return (xy - x * y / n) / np.sqrt((xx - x * x / n) * (yy - y * y / n))


def documents(rng, n=40, uneven=False):
    """Sums of a value and its tokens; what documents are like is shared by their tokens."""
    lengths = np.ceil(np.exp(rng.normal(5, 1.2, n))) if uneven else rng.integers(5, 50, n)
    return np.column_stack([rng.normal(2, 1, n) * lengths, lengths]).astype(float)


def test_it_equals_a_loop_that_leaves_one_out():
    data = documents(np.random.default_rng(0))
    found = jackknife(data, ratio, data[:, 1])
    without = np.array([ratio(np.delete(data, unit, axis=0).sum(0)) for unit in range(40)])
    assert found.value == pytest.approx(ratio(data.sum(0)))
    assert found.se == pytest.approx(np.sqrt(39 / 40 * np.square(without - found.value).sum()))
    assert found.n_effective == pytest.approx(data[:, 1].sum() ** 2 / (data[:, 1] ** 2).sum())
    low, high = found.interval()[1:]
    half = t.ppf(0.975, found.degrees) * found.se
    assert (low, high) == pytest.approx((found.value - half, found.value + half))
    assert found.degrees <= found.n_effective - 1


def test_a_mean_of_alike_units_has_the_interval_of_student():
    values = np.random.default_rng(1).normal(size=4000)
    found = jackknife(np.column_stack([values, np.ones(4000)]), ratio)
    assert found.se == pytest.approx(values.std(ddof=1) / np.sqrt(4000), rel=1e-9)
    assert found.interval().high - found.value == pytest.approx(1.96 * found.se, rel=2e-3)


@pytest.mark.parametrize(("n", "uneven"), [(30, False), (60, False), (100, True)])
def test_it_covers(n, uneven):
    rng, hits = np.random.default_rng(2), []
    for _ in range(600):
        data = documents(rng, n, uneven)
        found = jackknife(data, ratio, data[:, 1])
        interval = found.interval()
        if np.isfinite(interval.low):
            hits.append(interval.low <= 2 <= interval.high)
    assert len(hits) > 500 and 0.92 <= np.mean(hits) <= 0.99


def test_a_share_stays_between_0_and_1_and_covers():
    rng, hits = np.random.default_rng(3), []
    for _ in range(500):
        each = rng.binomial(20, np.clip(rng.normal(0.9, 0.05, 12), 0, 1))
        interval = jackknife(np.column_stack([each, np.full(12, 20)]).astype(float), ratio).interval(share=True)
        if np.isfinite(interval.low):
            assert 0 < interval.low < interval.high < 1
            hits.append(interval.low <= 0.9 <= interval.high)
    assert 0.9 <= np.mean(hits) <= 0.99


@pytest.mark.filterwarnings("error")
def test_a_share_that_is_all_but_unknown_has_the_whole_interval():
    found = Jackknife(0.999, np.array([40.0, -40.0, 0.1, -0.1, 0.0, 0.0]), 2.0).interval(0.0, share=True)
    assert found[1:] == pytest.approx((0, 1), abs=1e-4)


@pytest.mark.parametrize("share", [0.003, 0.02, 0.97])
def test_a_share_of_few_or_nearly_all_covers_and_is_not_everything(share):
    rng, hits, widths = np.random.default_rng(4), [], []
    for _ in range(400):
        each = rng.binomial(20, rng.beta(40 * share, 40 * (1 - share), 200))
        interval = jackknife(np.column_stack([each, np.full(200, 20)]).astype(float), ratio).interval(share=True)
        if np.isfinite(interval.low):
            assert 0 <= interval.low < interval.value < interval.high <= 1
            hits.append(interval.low <= share <= interval.high)
            widths.append(interval.high - interval.low)
    assert 0.92 <= np.mean(hits) <= 0.99 and np.median(widths) < 0.06


def test_one_unit_among_many_says_that_there_are_few_and_not_that_nothing_is_known():
    found = jackknife(np.column_stack([np.r_[np.zeros(99), 0.1], np.ones(100)]), ratio).interval(share=True)
    assert found.value == pytest.approx(0.001) and 0 <= found.low < 0.001 < found.high < 0.2


def test_a_share_of_flags_is_that_of_the_score_but_for_the_quantile():
    flags = np.r_[np.ones(30), np.zeros(270)]
    found, expected = (
        jackknife(np.column_stack([flags, np.ones(300)]), ratio).interval(share=True),
        share_interval(30, 300),
    )
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=2e-3)


@pytest.mark.parametrize(
    "data",
    [
        np.array([[1.0, 2.0]]),  # one unit
        np.ones((20, 2)),  # units that agree to the last digit
        np.array([[1.0, 1.0]] * 3 + [[2.0, 1.0]]),  # too few
        np.array([[1e6, 1e6]] + [[float(n), 1.0] for n in range(20)]),  # as good as one
        np.array([[1.0, 1.0]] + [[float(n), 0.0] for n in range(20)]),  # without one of them there is no value
        np.empty((0, 2)),
    ],
)
def test_where_units_say_nothing_there_is_no_interval(data):
    interval = jackknife(data, ratio, data[:, 1]).interval()
    assert np.isnan(interval.low) and np.isnan(interval.high)


def test_more_units_may_be_asked_for():
    data = documents(np.random.default_rng(4), 20)
    assert np.isnan(jackknife(data, ratio).interval(30.0).low) and np.isfinite(
        jackknife(data, ratio).interval(20.0).low
    )


def test_one_unit_that_does_all_the_moving_leaves_few_degrees_of_freedom():
    data = np.column_stack([np.r_[np.zeros(49), 50.0], np.ones(50)])
    assert jackknife(data, ratio).degrees < 2 and jackknife(documents(np.random.default_rng(0)), ratio).degrees > 10


def test_several_statistics_are_those_alone():
    data = documents(np.random.default_rng(5))
    both = jackknives(data, lambda s: {"ratio": ratio(s), "total": s[..., 0]})
    assert both["ratio"].se == jackknife(data, ratio).se and both["total"].value == pytest.approx(data[:, 0].sum())


def test_groups_are_even_and_whole():
    sizes = np.random.default_rng(6).integers(1, 500, 200)
    groups = even_groups(sizes, 20)
    totals = np.bincount(groups, sizes)
    assert len(totals) == 20 and totals.max() - totals.min() < 50 and effective_units(totals) > 19.9
    assert sorted(even_groups(sizes[:3], 20)) == [0, 1, 2] and len(even_groups(sizes[:0], 5)) == 0


def test_a_difference_over_the_same_units_loses_what_moves_both():
    rng = np.random.default_rng(7)
    common, lengths = rng.normal(2, 1, 50), np.full(50, 10.0)
    one = jackknife(np.column_stack([common * lengths, lengths]), ratio)
    other = jackknife(np.column_stack([(common + 0.05 + rng.normal(0, 0.02, 50)) * lengths, lengths]), ratio)
    paired, apart = difference(one, other, paired=True), difference(one, other, paired=False)
    assert paired.value == apart.value == pytest.approx(-0.05, abs=0.02)
    assert paired.low < paired.high < 0 and paired.p < 1e-6 and apart.low < 0 < apart.high and apart.p > 0.5


def test_equal_values_differ_in_one_of_twenty():
    rng = np.random.default_rng(8)
    found = []
    for _ in range(800):
        one, other = (jackknife(documents(rng), ratio) for _ in range(2))
        found.append(difference(one, other, paired=False).p)
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.08 and 0.4 < np.mean(found) < 0.6


def test_what_has_no_interval_differs_from_nothing():
    alone = jackknife(np.array([[1.0, 2.0]]), ratio)
    assert difference(alone, alone, paired=True).p == 1.0
    fixed = Jackknife(1.0, np.zeros(5), 5.0)
    assert difference(fixed, fixed._replace(value=2.0), paired=True).p == 0.0


def test_shares_have_the_score_interval():
    found = share_interval(3, 10)
    assert (found.low, found.high) == pytest.approx((0.1078, 0.6032), abs=1e-4)  # Wilson's, as tables have it
    assert share_interval(0, 50).low == 0 and share_interval(0, 50).high > 0.05 and share_interval(50, 50).low < 0.95
    rng = np.random.default_rng(9)
    hits = [
        (i := share_interval(int(rng.binomial(200, p)), 200)).low <= p <= i.high
        for p in (0.02, 0.3, 0.97)
        for _ in range(400)
    ]
    assert 0.92 < np.mean(hits) < 0.98


def test_the_interval_of_a_median_covers():
    rng = np.random.default_rng(0)
    found = [median_interval(rng.normal(size=101)) for _ in range(500)]
    assert 0.92 < np.mean([one.low <= 0 <= one.high for one in found]) < 0.99


def test_a_very_wide_interval_of_a_share_goes_from_none_to_all_without_a_warning():
    found = Jackknife(0.001, np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5]), 6.0)
    with np.errstate(over="raise"):
        interval = found.interval(share=True)
    assert (interval.low, interval.high) == pytest.approx((0, 1), abs=1e-3)


@pytest.mark.parametrize("true", [0.0, 0.6, 0.95, -0.99])
def test_intervals_of_correlations_stay_between_minus_one_and_one(true):
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        x = rng.normal(size=(30, 4))
        y = true * x + np.sqrt(1 - true**2) * rng.normal(size=x.shape)
        sums = np.stack([np.full(30, 4.0), x.sum(1), y.sum(1), (x * x).sum(1), (y * y).sum(1), (x * y).sum(1)], axis=1)
        found = jackknife(sums, correlation).interval(correlation=True)
        assert -1 <= found.low < found.value < found.high <= 1
        held += found.low <= true <= found.high
    assert held >= 180


def test_a_correlation_of_one_has_no_interval():
    sums = np.array([[2.0, 3.0, 3.0, 5.0, 5.0, 5.0]] * 6) * np.arange(1, 7)[:, None]
    assert np.isnan(jackknife(sums, correlation).interval(correlation=True).low)
