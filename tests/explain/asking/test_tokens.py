"""The benchmark of tokens: what it computes is what follows from stated errors."""

import numpy as np
import pytest

from benchmarks.scripted import Window
from benchmarks.token_costs import Cost, correlated
from benchmarks.tokens import PUBLISHED, Row, equal


def test_tokens_are_scaled_to_the_reference_s_standard_error():
    rng = np.random.default_rng(0)
    costs = {latent: Cost(float(rng.integers(900, 1100)), 0.0032, 0.0016) for latent in range(20)}
    mean = np.mean([one.tokens for one in costs.values()])
    figure = equal("x", [(costs, 4_000)], "x")
    assert figure.value == pytest.approx(2 * mean / 4_000) and figure.ci_low < figure.value < figure.ci_high
    several = equal("x", [(costs, 4_000), ({latent: Cost(100.0) for latent in range(5, 40)}, 1_000)], "x")
    assert several.n == 15, "the latents that all have"
    mean = np.mean([costs[latent].tokens for latent in range(5, 20)])
    assert several.value == pytest.approx((2 * mean + 100) / 5_000)


def test_nulls_are_apart_and_beside():
    row = Row("fuzzing", "fuzzing", {n: Cost(1000.0 + n) for n in range(9)}, 502.0, 77.0, "fuzzing")
    named = {one.name: one.value for one in row.figures()}
    ratio = 1004 / PUBLISHED["fuzzing"]
    assert named["tokens/fuzzing/tokens"] == 1004 and named["tokens/fuzzing/ratio"] == pytest.approx(ratio)
    assert named["tokens/fuzzing/ratio_with_nulls"] == pytest.approx(1.5 * ratio)


def test_the_correlation_has_the_error_of_leaving_each_unit_out():
    rng = np.random.default_rng(0)
    values = rng.random((12, 8))
    windows = [Window(n // 3, n, one, one + rng.random(8)) for n, one in enumerate(values)]
    by_document, by_window = correlated(windows)

    def slowly(chosen):
        return np.corrcoef(*(np.concatenate([getattr(one, name) for one in chosen]) for name in ("digits", "values")))

    whole = slowly(windows)[0, 1]
    for found, units in ((by_document, [n // 3 for n in range(12)]), (by_window, range(12))):
        n = len(set(units))
        without = [
            slowly([one for one, unit in zip(windows, units, strict=True) if unit != left])[0, 1] for left in set(units)
        ]
        assert found.value == pytest.approx(whole)
        assert found.se == pytest.approx(np.sqrt(np.sum((np.array(without) - whole) ** 2) * (n - 1) / n))
