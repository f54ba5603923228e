"""What is subtracted and what is counted, held against values that are known."""

import numpy as np
import pytest
import torch

from sparselex.base.sites import Hook
from sparselex.evaluate.occlusion.config import OcclusionConfig, occlusion_config
from sparselex.evaluate.occlusion.counts import Swept, excess_figure, found_values, share_figure, slope_figure
from sparselex.evaluate.occlusion.removal import of_equal_length, strengths, subtracted
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.labels import mse_dictionary
from sparselex.evaluate.supervised.nodes import Node

N, D = 3000, 24
NODE = Node(Hook("blocks.0.hook_resid_post"), "end")
N_VALUES = {"weak": 8, "strong": 8, "two": 2, "absent": 5}


@pytest.fixture(scope="module")
def planted():
    """A strong attribute, one half as long, one of two values that is longer than both, and one that writes nothing."""
    generator = torch.Generator().manual_seed(0)
    labels = {name: torch.randint(n, (N,), generator=generator) for name, n in N_VALUES.items()}
    long = {"weak": 1.0, "strong": 2.0, "two": 3.0, "absent": 0.0}
    draws = {name: torch.randn(n, D, generator=generator) for name, n in N_VALUES.items()}
    vectors = {name: long[name] * rows / rows.norm(dim=-1, keepdim=True) for name, rows in draws.items()}
    return sum(vectors[name][column] for name, column in labels.items()), labels, vectors


def test_the_longest_of_three_values_or_more_is_the_strong_one(planted):
    x, labels, vectors = planted
    found = strengths({NODE: mse_dictionary(x, labels, N_VALUES)}, {NODE: x}, labels, 0.05)
    assert list(found.lengths) == ["strong", "weak"]
    about = {name: rows - rows[labels[name]].mean(0) for name, rows in vectors.items()}
    for name in found.lengths:
        assert found.lengths[name] == pytest.approx(float(about[name].norm(dim=-1).mean()), rel=0.02)
    whole = (x - x.mean(0)).square().sum()
    without = sum(about[name][labels[name]] for name in ("weak", "two"))
    assert found.there["strong"] == pytest.approx(1 - float(without.square().sum() / whole), abs=0.02)


def test_with_all_of_it_subtracted_nothing_of_the_attribute_is_left(planted):
    x, labels, _ = planted
    made = mse_dictionary(x, labels, N_VALUES)
    rows = {NODE: made.vectors["strong"]}
    left = subtracted({NODE: x}, rows, labels["strong"], 1.0)[NODE]
    again = mse_dictionary(left, labels, N_VALUES)
    assert float(again.vectors["strong"].abs().max()) < 1e-4
    assert torch.allclose(again.vectors["weak"], made.vectors["weak"], atol=1e-4)
    assert torch.equal(subtracted({NODE: x}, rows, labels["strong"], 0.0)[NODE], x)


def test_random_vectors_are_as_long_and_point_elsewhere():
    rows = torch.randn(40, 200, generator=torch.Generator().manual_seed(1))
    rows[3] = 0
    found = of_equal_length(rows, torch.Generator().manual_seed(2))
    assert torch.allclose(found.norm(dim=-1), rows.norm(dim=-1))
    assert float(torch.cosine_similarity(rows, found, dim=-1).abs().max()) < 0.3


def test_a_value_is_found_by_the_latent_that_was_best_on_other_prompts():
    labels = torch.arange(400) % 4
    exact = torch.nn.functional.one_hot(labels, 4).bool()
    swapped = exact[:, [1, 0, 2, 3]]  # on tested prompts the first two latents have changed places
    assert found_values(exact, exact, (labels, labels), 4, 0.5).tolist() == [True] * 4
    assert found_values(exact, swapped, (labels, labels), 4, 0.5).tolist() == [False, False, True, True]
    assert len(found_values(exact, exact, (labels, labels), 6, 0.5)) == 4, "values that do not occur are not counted"
    always = torch.ones(400, 3, dtype=torch.bool)
    assert not found_values(always, always, (labels, labels), 4, 0.5).any(), "2 / (1 + 4) is no finding"
    two = labels % 2
    assert found_values(always, always, (two, two), 2, 0.5).all(), "of two values it would be: they are left out"


def test_slopes_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    alphas = (0.0, 0.25, 0.5, 0.75, 1.0)
    mine, null = (Swept(alphas, [rng.random((3, 20)) for _ in alphas]) for _ in range(2))
    fitted = np.polyfit(alphas, [one.mean() for one in mine.found], 1)[0]
    figure, excess = slope_figure("x", mine, null, "S"), excess_figure("x", mine, null, "S")
    assert figure.value == pytest.approx(fitted) and figure.n == 20
    assert figure.null == pytest.approx(np.polyfit(alphas, [one.mean() for one in null.found], 1)[0])
    assert excess.value == pytest.approx(figure.value - figure.null) and excess.ci_low < excess.value < excess.ci_high


def test_a_line_that_rises_as_planted_is_told_and_the_interval_is_over_values_and_seeds():
    alphas, base = (0.0, 0.5, 1.0), np.zeros((3, 12))
    rising = Swept(alphas, [base, base + 0.25, base + 0.5])
    figure = slope_figure("x", rising, Swept(alphas, [base] * 3), "S")
    assert figure.value == pytest.approx(0.5) and figure.null == 0
    apart = [base, base + np.array([[0.0], [0.25], [0.5]]), base + np.array([[0.0], [0.5], [1.0]])]
    wide = slope_figure("x", Swept(alphas, apart), Swept(alphas, [base] * 3), "S")
    assert wide.value == pytest.approx(0.5) and wide.ci_high - wide.ci_low > 1, "seeds that differ say little"
    share = share_figure("x", base + 0.5, base, "S", 0.5)
    assert share.value == 0.5 and share.null == 0 and share.n == 12


def test_the_sweep_has_prompts_and_seeds_of_the_task_and_types_of_its_own():
    config = occlusion_config(TaskConfig(n_seeds=2, kinds=("batchtopk",), l0s=(2, 4), n_test=77, seed=5))
    assert (config.n_seeds, config.n_test, config.seed) == (2, 77, 5)
    assert (config.kinds, config.l0s, config.l1s) == (("relu", "topk"), (3,), (1.0, 2.5))
    assert OcclusionConfig.parse(config.to_json()) == config
