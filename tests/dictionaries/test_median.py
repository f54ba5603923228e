"""The geometric median against a slow minimisation."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from sparselex.dictionaries.median import geometric_median


def slow(points):
    distance = lambda at: np.linalg.norm(points - at, axis=1).sum()
    return minimize(
        distance, points.mean(0), method="Nelder-Mead", options={"maxfev": 20_000, "xatol": 1e-9, "fatol": 1e-12}
    ).x


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_point_of_least_summed_distance(seed):
    rng = np.random.default_rng(seed)
    points = rng.exponential(size=(60, 3)) * [1.0, 2.0, 5.0]
    points[:6] += 200.0  # outliers, which pull the mean away
    found = geometric_median(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(found, slow(points), atol=1e-4)
    assert np.linalg.norm(points.mean(0) - found) > 5


def test_it_may_be_a_point_of_the_sample():
    corner = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    torch.testing.assert_close(geometric_median(corner), torch.zeros(2), atol=1e-5, rtol=0)
    # The mean is a point of the sample, and the median is not.
    line = torch.tensor([[0.0], [1.0], [1.5], [2.0], [10.5], [3.0]])
    assert 1.5 <= float(geometric_median(line)) <= 2.0
    assert geometric_median(torch.full((4, 2), 7.0)).tolist() == [7.0, 7.0]


def test_single_precision_of_many_points_is_as_exact():
    x = torch.randn(5000, 16, generator=torch.Generator().manual_seed(0)) + 100
    torch.testing.assert_close(geometric_median(x), geometric_median(x.double()).float(), atol=1e-4, rtol=0)
