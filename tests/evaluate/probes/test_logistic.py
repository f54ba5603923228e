"""Probes against scikit-learn's, and what they do at the edges."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sparselex.evaluate.probes.logistic import fit_dense, fit_probe


def data(n=120, d=7, seed=0, noise=1.0):
    chance = np.random.default_rng(seed)
    x = chance.normal(size=(n, d)) * chance.uniform(0.01, 100, size=d) + chance.normal(size=d)
    weight = chance.normal(size=d) / x.std(0)
    return x, x @ weight - (x @ weight).mean() + noise * chance.normal(size=n) > 0


@pytest.mark.parametrize("ridge", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_probe_is_that_of_a_library(ridge, noise):
    x, has = data(noise=noise)
    scaled = (x - x.mean(0)) / x.std(0)
    known = LogisticRegression(C=1 / ridge, tol=1e-12, max_iter=10_000).fit(scaled, has)
    np.testing.assert_allclose(
        fit_probe(x, has, ridge).scores(x), known.decision_function(scaled), rtol=1e-4, atol=1e-4
    )


def test_columns_that_say_nothing_get_no_weight():
    x, has = data()
    x[:, 2] = 5.0
    found = fit_probe(x, has)
    assert found.weight[2] == 0 and np.isfinite(found.scores(x)).all()


def test_many_columns_want_a_large_ridge():
    chance = np.random.default_rng(0)
    x, has = chance.normal(size=(90, 200)), chance.random(90) < 0.5
    dense = fit_dense(x, has, np.arange(90))
    assert np.abs(dense.scores(x)).max() < np.abs(fit_probe(x, has, 1.0).scores(x)).max()


def test_one_third_without_the_concept_does_not_decide_the_ridge():
    chance = np.random.default_rng(1)
    x = chance.normal(size=(90, 3))
    units = np.arange(90)
    has = (x[:, 0] > 0) & (units % 3 != 0)
    found = fit_dense(x[:, :1], has, units)
    assert np.abs(found.weight).max() > 2 * np.abs(fit_probe(x[:, :1], has, 1000.0).weight).max()
