"""Both indices on clouds that are known, and against every line of a grid."""

import math

import numpy as np
import pytest

from sparselex.evaluate.manifolds.clouds import gaussian_like, of_cloud, planes
from sparselex.evaluate.manifolds.indices import (
    EPSILON,
    mixture_index,
    normalised,
    separability_index,
)

N = 1000


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def circle(rng):
    angle = rng.random(N) * 2 * math.pi
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.05 * rng.normal(size=(N, 2))


def two_lines(rng):
    along, first = rng.normal(size=N), rng.random(N) < 0.5
    points = np.where(first[:, None], np.stack([along, 0 * along], 1), np.stack([0.5 * along, along], 1))
    return points + 0.01 * rng.normal(size=(N, 2))


def product(rng):
    points = rng.random((N, 2)) - 0.5
    turn = np.array([[math.cos(0.6), -math.sin(0.6)], [math.sin(0.6), math.cos(0.6)]])
    return points @ turn


def share_on_line(points, direction, c):
    """Share of the points with `|v x + c|` below `EPSILON` times its root mean square."""
    along = points @ direction + c
    return (np.abs(along) < EPSILON * math.sqrt(np.square(along).mean())).mean()


def by_grid(points):
    """The mixture index from every line of a grid."""
    x = normalised(points)
    lines = ((angle, c) for angle in np.linspace(0, math.pi, 90, endpoint=False) for c in np.linspace(-2, 2, 81))
    return max(share_on_line(x, np.array([math.cos(angle), math.sin(angle)]), c) for angle, c in lines)


@pytest.mark.parametrize("cloud", [circle, two_lines, product])
def test_the_ascent_comes_to_the_best_line_of_a_grid(rng, cloud):
    points = cloud(rng)
    assert mixture_index(points, 0) >= by_grid(points) - 0.015


def test_a_circle_is_one_feature_and_two_lines_and_a_product_are_none(rng):
    found = {cloud.__name__: of_cloud(cloud(rng), rng) for cloud in (circle, two_lines, product)}
    assert found["circle"].mixture < 0.3 and found["circle"].separability > 0.5
    assert found["two_lines"].mixture > 0.5
    assert found["product"].separability < 0.05
    best = found.pop("circle").score
    assert all(one.score < best - 0.2 for one in found.values())


def test_a_star_of_three_rays_scores_as_a_circle_does(rng):
    """What is wrong with both indices, and why groups are held against random ones of their size."""
    angle = rng.integers(0, 3, N) * 2 * math.pi / 3
    star = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (0.5 + rng.random((N, 1)))
    found = of_cloud(star, rng)
    assert found.mixture == pytest.approx(1 / 3, abs=0.05) and found.score > of_cloud(circle(rng), rng).score


def test_a_normal_cloud_has_what_chance_gives(rng):
    """P(|z| < 0.1) is 0.08, and no rotation of it depends on another: the bias of histograms is taken off."""
    exact = math.erf(EPSILON / math.sqrt(2))
    scores = [of_cloud(gaussian_like(circle(rng), rng), rng) for _ in range(6)]
    assert exact - 0.01 < np.mean([one.mixture for one in scores]) < exact + 0.05, "the best of all lines, of N points"
    assert abs(np.mean([one.separability for one in scores])) < 0.03


def test_separability_is_that_of_the_axes_that_part_best(rng):
    assert separability_index(product(rng), rng) == pytest.approx(0, abs=0.05)
    same = rng.normal(size=N)
    assert separability_index(np.stack([same, same**2], axis=1), rng) > 0.2
    assert separability_index(np.zeros((60, 2)), rng) == 0


def test_scale_and_place_change_nothing(rng):
    points = circle(rng)
    assert mixture_index(points, 0) == pytest.approx(mixture_index(7 * points + 3, 0), abs=1e-9)


def test_planes_are_those_of_neighbouring_components(rng):
    x = rng.normal(size=(500, 6)) * np.array([9, 5, 3, 2, 0, 0])
    found = planes(x, 5)
    assert [pair for pair, _ in found] == [(1, 2), (2, 3), (3, 4)], "components without variance have no plane"
    spread = [points.std(0) for _, points in found]
    assert spread[0][1] == pytest.approx(spread[1][0]) and spread[0][0] > spread[0][1] > spread[2][1]
    assert planes(np.ones((100, 3)), 5) == []
