"""A second cluster of very low density is found where one was planted, and not where there is none."""

import numpy as np
import pytest

from sparselex.atlas.census.clusters import split
from sparselex.atlas.census.config import CensusConfig
from sparselex.atlas.census.records import Census
from sparselex.atlas.census.walk import Coordinates, counted

NAMES = ["encoder bias", "decoder · encoder"]


def _counted(log: np.ndarray, beside: np.ndarray, n_dead: int = 0) -> Census:
    density = np.concatenate([10.0**log, np.zeros(n_dead)])
    values = np.concatenate([beside, np.zeros((n_dead, beside.shape[1]))])
    single = np.zeros(len(density), dtype=bool)
    return counted(density, Coordinates(NAMES[: values.shape[1]], values), single, CensusConfig(n_draws=19), 10**8)


def test_a_planted_cluster_is_found_latent_by_latent() -> None:
    rng = np.random.default_rng(0)
    log = np.concatenate([rng.normal(-6.5, 0.3, 120), rng.normal(-3, 0.6, 900)])
    found = _counted(log, np.zeros((1020, 0)), n_dead=40)
    assert found.groups["dead"] == 40
    assert found.groups["ultralow"] + found.groups["rest"] == 1020
    planted = set(range(120))
    assert len(planted & set(found.ultralow)) >= 118
    assert len(set(found.ultralow) - planted) <= 2
    assert found.valley and found.valley.depth > found.valley.drawn
    figures = {one.name: one for one in found.figures}
    assert figures["census/dead_share"].value == pytest.approx(40 / 1060)
    assert figures["census/ultralow_share"].value == pytest.approx(len(found.ultralow) / 1060)


def test_modes_that_overlap_in_density_are_told_apart_by_the_other_coordinates() -> None:
    rng = np.random.default_rng(1)
    log = np.concatenate([rng.normal(-5.2, 0.6, 200), rng.normal(-4, 0.6, 800)])
    beside = np.concatenate([rng.normal([-3, 0.2], 0.3, (200, 2)), rng.normal([0, 1.0], 0.3, (800, 2))])
    alone, together = _counted(log, np.zeros((1000, 0))), _counted(log, beside)
    assert alone.groups["ultralow"] == 0
    assert set(together.ultralow) == set(range(200))
    assert "by the other coordinates" not in together.found
    log[:3] = -1.9
    assert "Of these 3 are active on more than 1% of the tokens" in _counted(log, beside).found


@pytest.mark.parametrize("seed", range(4))
def test_one_cluster_is_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    skewed = -2 - rng.gamma(2.0, 0.5, 1500)
    assert _counted(skewed, rng.normal(0, 1, (1500, 2))).groups["ultralow"] == 0


def test_two_clusters_of_common_latents_are_not_ultralow() -> None:
    rng = np.random.default_rng(0)
    log = np.concatenate([rng.normal(-3, 0.15, 400), rng.normal(-1.5, 0.15, 400)])
    found = _counted(log, np.zeros((800, 0)))
    assert found.groups["ultralow"] == 0
    assert "neither is one of very low" in found.found


def test_few_latents_are_not_divided() -> None:
    found = _counted(np.linspace(-4, -2, 20), np.zeros((20, 0)))
    assert found.valley is None
    assert next(one for one in found.figures if one.name == "census/valley").failure


def test_the_lower_cluster_is_the_one_of_lower_density() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal([-6, 0], 0.2, (100, 2)), rng.normal([-3, 1], 0.2, (300, 2))])
    assert split(x, rng).low.tolist() == [True] * 100 + [False] * 300
