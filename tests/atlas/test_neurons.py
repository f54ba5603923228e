"""Directions held against neurons: by hand, and beside random ones."""

import numpy as np
import pytest

from sparselex.atlas.neurons.config import NeuronsConfig
from sparselex.atlas.neurons.walk import of_rows


def test_coefficients_as_computed_by_hand() -> None:
    rows = np.array([[0, 0, -3, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0.3, 0, 0, 4.0]], dtype=np.float32)
    found = of_rows(rows, NeuronsConfig(n_kept=2))
    assert found["places"][0, 0] == 2
    assert found["coefficients"][0].tolist() == [-1, 0]
    assert found["spread"][:2] == pytest.approx([1, 4])
    assert np.isnan(found["spread"][2])
    assert found["n_large"].tolist() == [1, 4, 0, 1]
    assert found["coefficients"][3] == pytest.approx(np.array([4, 0.3]) / np.hypot(4, 0.3))


def test_random_directions_are_spread_over_a_third_of_the_coordinates() -> None:
    """Of normal coefficients E[d⁴] = 3 E[d²]², so that 1 / Σ d⁴ is near width / 3."""
    rows = np.random.default_rng(0).standard_normal((400, 3000)).astype(np.float32)
    assert np.median(of_rows(rows, NeuronsConfig())["spread"]) == pytest.approx(1000, rel=0.02)


def test_more_kept_than_there_are_coordinates() -> None:
    assert of_rows(np.eye(3, dtype=np.float32), NeuronsConfig(n_kept=20))["places"].shape == (3, 3)
