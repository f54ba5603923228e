"""The one maker of figures: against slow versions, and where there is nothing to make one of."""

import numpy as np
import pytest
from pydantic import ValidationError

from sparselex.base import intervals
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.estimates import DIVIDED_BY_ZERO, NOT_FINITE, figure_of, mean_figure, median_figure
from sparselex.base.figures import FIGURES, Figure, Figures
from sparselex.base.intervals import N_DRAWS, median_interval, resample
from sparselex.base.staging import stage


class Toy(Config):
    """What a toy is made of: nothing."""


def ratio(sums):
    return sums[..., 0] / sums[..., 1]


def documents(n=40, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 50, n)
    return np.column_stack([rng.normal(3, 1, n) * lengths, lengths]).astype(float)


def test_it_is_the_obvious_bootstrap():
    """Against a loop that draws documents by number; ends agree as well as two bootstraps can."""
    sums, rng = documents(), np.random.default_rng(5)
    slow = []
    for _ in range(20_000):
        drawn = [sums[rng.integers(len(sums))] for _ in range(len(sums))]
        total = np.sum(drawn, axis=0)
        slow.append(total[0] / total[1])
    found = figure_of("x/y", sums, ratio, "mean", over="documents", n=int(sums[:, 1].sum()), unit="u", null=0.5)
    assert found.value == pytest.approx(sums[:, 0].sum() / sums[:, 1].sum(), rel=1e-12)
    np.testing.assert_allclose([found.ci_low, found.ci_high], np.quantile(slow, [0.025, 0.975]), atol=0.02)
    assert (found.n, found.unit, found.null) == (sums[:, 1].sum(), "u", 0.5)
    assert found.definition == "mean; 95 % bootstrap interval over documents"


def test_every_figure_has_the_same_number_of_draws():
    assert resample(documents()).draws.shape == (N_DRAWS, 2)


@pytest.mark.parametrize("at_once", [1, 7, 400])
def test_many_units_are_drawn_in_parts_of_the_same_stream(monkeypatch, at_once):
    sums = np.round(documents(50) * 8)  # whole numbers: equal to the last bit, whatever the order of sums
    whole = resample(sums, n_draws=400)
    monkeypatch.setattr(intervals, "_MOST_KEPT", 0)
    monkeypatch.setattr(intervals, "_CHUNK", 50 * at_once)
    parts = resample(sums, n_draws=400)
    assert np.array_equal(parts.draws, whole.draws) and np.array_equal(parts.total, whole.total)


def test_many_units_take_no_more_memory_than_a_part(monkeypatch):
    sizes, counts = [], intervals._counts

    def watched(*arguments):
        for part in counts(*arguments):
            sizes.append(part.size)
            yield part

    monkeypatch.setattr(intervals, "_counts", watched)
    monkeypatch.setattr(intervals, "_MOST_KEPT", 1000)
    monkeypatch.setattr(intervals, "_CHUNK", 1000)
    resample(documents(300), n_draws=20)
    assert max(sizes) <= 1000 and sum(sizes) == 300 * 20


def test_shares_and_means_count_units():
    flags = np.array([True, False, False, True, True])
    found = mean_figure("x/share", flags, "share", over="latents")
    assert found.value == 0.6 and found.n == 5 and found.ci_low < 0.6 < found.ci_high
    assert mean_figure("x/mean", [1.0, 2.0], "mean", over="latents", n=6).n == 6


def test_a_median_and_its_order_statistics():
    values = np.random.default_rng(0).permutation(101).astype(float)
    found = median_figure("x/median", values, "median", over="latents", null=float("nan"))
    assert (found.value, found.n, found.null) == (50.0, 101, None) and found.ci_low == 40.0 and found.ci_high == 61.0
    assert "bootstrap" not in found.definition and "over latents" in found.definition


def test_the_interval_of_a_median_covers():
    rng = np.random.default_rng(0)
    found = [median_interval(rng.normal(size=101)) for _ in range(500)]
    assert 0.92 < np.mean([one.low <= 0 <= one.high for one in found]) < 0.99


@pytest.mark.parametrize("make", [mean_figure, median_figure])
def test_one_unit_has_a_value_and_no_interval(make):
    found = make("x/y", [0.25], "x", over="latents")
    assert (found.value, found.n, found.ci_low, found.ci_high) == (0.25, 1, None, None)


@pytest.mark.parametrize("make", [mean_figure, median_figure])
def test_no_unit_is_a_failure_with_its_reason(make):
    found = make("x/y", [], "x", over="latents", empty="no latent was active")
    assert (found.value, found.failure, found.n) == (None, "no latent was active", 0)


@pytest.mark.parametrize("make", [mean_figure, median_figure])
def test_a_value_that_is_no_number_is_a_failure(make):
    found = make("x/y", [0.5, float("nan")], "x", over="latents")
    assert (found.value, found.failure, found.ci_low) == (None, NOT_FINITE, None)


def test_nothing_to_divide_by_is_a_failure_and_few_such_draws_are_left_out():
    nowhere = figure_of("x/y", np.array([[1.0, 0.0], [2.0, 0.0]]), ratio, "x", over="documents")
    assert nowhere.failure == DIVIDED_BY_ZERO
    # In one resample of four only the second document is drawn, and its statistic is infinite.
    some = figure_of("x/y", np.array([[1.0, 1.0], [1.0, 0.0]]), ratio, "x", over="documents")
    assert (some.value, some.ci_low, some.ci_high) == (2.0, 1.0, 2.0)


def test_ends_that_are_not_finite_are_left_out():
    def only_of_all(sums):
        return np.where(sums[..., 1] == 3, sums[..., 0], np.nan) if sums.ndim == 1 else np.full(len(sums), np.nan)

    found = figure_of("x/y", np.ones((3, 2)), only_of_all, "x", over="documents")
    assert (found.value, found.ci_low, found.ci_high, found.failure) == (3.0, None, None, None)


@pytest.mark.parametrize("field", ["value", "ci_low", "ci_high", "null"])
def test_no_record_holds_what_is_no_number(field):
    with pytest.raises(ValidationError, match="finite"):
        Figure.model_validate({"name": "x/y", "value": 1.0, "definition": "x"} | {field: float("nan")})


def test_figures_of_an_artifact_read_back_as_written(tmp_path):
    figure = mean_figure("x/y", [1.0, 2.0], "x", over="latents")
    found = Figures(figures=[figure], controls={"pca": [figure]})
    with stage(tmp_path / "a", "toy", Toy(), {}) as staging:
        found.write(staging.folder)
        staging.finish()
    assert Figures.read(tmp_path / "a") == found
    (tmp_path / "a" / FIGURES).unlink()
    with pytest.raises(UserError, match=f"{FIGURES} is damaged: missing"):
        Figures.read(tmp_path / "a")
