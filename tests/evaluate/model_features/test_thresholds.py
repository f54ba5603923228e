"""What latents are held against is itself drawn, and measured on the same documents: intervals take in both."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from sparselex.evaluate.model_features.asked import LATENTS
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.model_features.read import _figures, _Told
from sparselex.evaluate.model_features.records import NULL
from sparselex.evaluate.model_features.relevance import OutputMetric
from sparselex.evaluate.model_features.thresholds import Threshold

D, GROUPS = 12, 30


def test_a_threshold_is_a_quantile_with_and_without_documents_and_as_uncertain_as_over_new_draws():
    rng = np.random.default_rng(0)
    values, without = rng.random(500), rng.random((4, 500))
    found = Threshold.of(values, without, 0.05)
    assert found.whole == np.quantile(values, 0.05)
    assert found.without.tolist() == [np.quantile(one, 0.05) for one in without]
    told = []
    for _ in range(30):
        values = rng.normal(size=2000)
        limit = Threshold.of(values, values[None].repeat(2, 0), 0.5)
        assert limit.variance == pytest.approx(np.square(limit.by_draws(lambda one: one)).sum())
        told.append(limit.variance)
    assert np.mean(told) == pytest.approx(np.pi / 2 / 2000, rel=0.4)  # of a median of so many


def test_of_several_documents_the_threshold_is_told_without_each():
    values = np.linspace(0, 1, 101)
    limit = Threshold.of(values, np.stack([values + 0.1, values - 0.1]), 0.5)
    assert limit.variance == pytest.approx(2 * 0.1**2 / 2 + np.square(limit.by_draws(lambda one: one)).sum())


def test_intervals_hold_what_many_more_draws_would_have_said():
    """Of 40 sets of 400 directions. Latents are many and every document says the same, so that nothing but the draws
    is left to be uncertain of: without them every third interval would miss."""
    of = lambda n, seed: torch.randn(n, D, generator=torch.Generator().manual_seed(seed))
    spread = torch.linspace(0.5, 2, D)
    gradients = (of(40, 1) @ torch.diag(spread)).repeat(GROUPS, 1)
    groups = torch.arange(GROUPS).repeat_interleave(40)
    latents, variances = normalize(of(12_000, 2) * spread.flip(0), dim=-1), np.linspace(1, 2, 12_000)

    def figures(n_null, seed):
        metric = OutputMetric({LATENTS: latents, NULL: normalize(of(n_null, seed), dim=-1)}, torch.eye(D), GROUPS)
        metric.add(gradients, groups)
        null = metric.relevance(NULL), metric.without(NULL)
        limits = Threshold.of(*null, 0.5), Threshold.of(*null, 0.05)
        told = _Told(metric, metric.read_span(0.5), 80.0, *limits)
        found = _figures(LATENTS, told, ModelFeaturesConfig(n_null=n_null), variances)
        return {one.name.rpartition("/")[2]: one for one in found}

    truth, drawn = figures(50_000, 3), [figures(400, seed) for seed in range(10, 50)]
    for name in ("above_covariance", "unread", "unread_variance"):
        assert sum(one[name].ci_low <= truth[name].value <= one[name].ci_high for one in drawn) >= 34, name
