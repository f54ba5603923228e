"""The one maker of figures: against slow versions, and where there is nothing to make one of."""

import numpy as np
import pytest
from pydantic import ValidationError

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.estimates import DIVIDED_BY_ZERO, NOT_FINITE, Apart, figure_of, mean_figure, median_figure
from sparselex.base.figures import FIGURES, Figure, Figures
from sparselex.base.staging import stage


class Toy(Config):
    """What a toy is made of: nothing."""


def ratio(sums):
    return sums[..., 0] / sums[..., 1]


def documents(n=40, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 50, n)
    return np.column_stack([rng.normal(3, 1, n) * lengths, lengths]).astype(float)


def test_it_is_the_obvious_jackknife():
    sums = documents()
    without = [np.delete(sums, unit, axis=0).sum(0) for unit in range(len(sums))]
    values = np.array([total[0] / total[1] for total in without])
    found = figure_of("x/y", sums, ratio, "mean", over="documents", n=int(sums[:, 1].sum()), unit="u", null=0.5)
    assert found.value == pytest.approx(sums[:, 0].sum() / sums[:, 1].sum(), rel=1e-12)
    assert found.se == pytest.approx(np.sqrt(39 / 40 * np.square(values - found.value).sum()))
    assert found.ci_low < found.value - 1.96 * found.se < found.value + 1.96 * found.se < found.ci_high
    assert (found.n, found.unit, found.null) == (sums[:, 1].sum(), "u", 0.5)
    assert (found.units, found.n_units, found.n_effective) == ("documents", 40, 40.0)
    assert found.definition == "mean; 95 % jackknife interval over documents"


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


def test_a_median_of_what_was_measured_on_the_same_documents_is_as_uncertain_as_these():
    """Values that documents move together: without their groups the interval misses most of the time."""
    rng, alone, both = np.random.default_rng(0), [], []
    for _ in range(300):
        of_documents = rng.normal(0, 1.5, 44)
        values = rng.normal(0, 1, 101) + of_documents.mean()
        apart = Apart(values + (of_documents.mean() - of_documents)[:, None] / 43, 44.0)
        for kept, given in ((alone, None), (both, apart)):
            figure = median_figure("x/median", values, "median", over="latents", apart=given)
            kept.append(figure.ci_low <= 0 <= figure.ci_high)
    assert np.mean(alone) < 0.8 and 0.92 < np.mean(both) < 0.99
    assert "44 groups of documents" in figure.definition and figure.n_effective == 44
    few = median_figure("x/median", values, "median", over="latents", apart=apart._replace(n_documents=12.3))
    assert (few.ci_low, few.se) == (None, None)
    assert "no interval, with documents that count as 12.3 of one size and 40 needed" in few.definition
    shares = Apart(rng.random((44, 101)) < 0.02, 44.0)
    share = mean_figure("x/share", shares.without[0], "share", over="latents", apart=shares)
    assert share.ci_low >= 0


def test_a_mean_of_shares_that_are_all_none_or_all_is_as_uncertain_as_one_of_flags():
    for end in (0.0, 1.0):
        found = mean_figure("x/y", np.full(30, end), "share", over="prompts", share=True)
        flags = mean_figure("x/y", np.full(30, bool(end)), "share", over="prompts")
        assert found == flags and found.ci_low < found.ci_high
    assert mean_figure("x/y", np.full(30, 0.5), "share", over="prompts", share=True).ci_low is None
    assert mean_figure("x/y", np.ones(30), "mean", over="prompts").ci_low is None, "a mean may be larger than 1"


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


def test_nothing_to_divide_by_is_a_failure_and_a_unit_that_cannot_be_left_out_leaves_no_interval():
    nowhere = figure_of("x/y", np.array([[1.0, 0.0], [2.0, 0.0]]), ratio, "x", over="documents")
    assert nowhere.failure == DIVIDED_BY_ZERO
    some = figure_of("x/y", np.array([[1.0, 1.0], *[[1.0, 0.0]] * 9]), ratio, "x", over="documents")
    assert (some.value, some.ci_low, some.ci_high, some.se) == (10.0, None, None, None)


def test_a_value_that_means_nothing_is_a_failure():
    found = figure_of("x/y", documents(), ratio, "x", over="documents", undefined="nothing to recover")
    assert (found.value, found.failure) == (None, "nothing to recover")


def test_ends_that_are_not_finite_are_left_out():
    def only_of_all(sums):
        return sums[..., 0] if sums.ndim == 1 else np.full(len(sums), np.nan)

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


def test_of_too_few_units_that_are_alike_their_number_is_said():
    few = mean_figure("x/mean", [0.1, 0.2, 0.4], "mean", over="seeds")
    assert few.ci_low is None and few.definition == "mean; no interval: 3 seeds, 5 needed"
