"""A circle that was planted among other latents, from an index to what is written."""

import json
import math

import numpy as np
import pytest

from sparselex.base.artifacts import open_artifact, record_of
from sparselex.base.errors import UserError
from sparselex.evaluate.manifolds.config import ManifoldsConfig
from sparselex.evaluate.manifolds.find import cloud_of, find_manifolds
from sparselex.evaluate.manifolds.records import KIND, MANIFOLDS, Manifolds
from tests.support.planted import PlantedIndex

N_CIRCLE, N_OTHERS, D = 8, 24, 24
CONFIG = ManifoldsConfig(most_points=300, n_components=2, n_kept=2)


class WithCircle(PlantedIndex):
    """Latents that cover a circle in pieces, and triples that write one thing three times."""

    id, d_sae = "with a circle", N_CIRCLE + N_OTHERS

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(1)
        n = len(self.acts)
        angle, there = rng.random(n) * 2 * math.pi, rng.random(n) < 0.4
        middles = np.arange(N_CIRCLE) * 2 * math.pi / N_CIRCLE
        on_circle = np.maximum(np.cos(angle[:, None] - middles) - 0.6, 0) * there[:, None]
        fires = (rng.random((n, N_OTHERS // 3)) < 0.12) * (0.5 + rng.random((n, N_OTHERS // 3)))
        others = np.repeat(fires, 3, axis=1) * (1 + 0.1 * rng.normal(size=(n, N_OTHERS)))
        self.acts = np.concatenate([on_circle, others], axis=1)
        self.table = {"n_active": (self.acts != 0).sum(0)}
        self.rows = np.zeros((self.d_sae, D))
        self.rows[:N_CIRCLE, :2] = np.stack([np.cos(middles), np.sin(middles)], axis=1)
        families = np.linalg.qr(rng.normal(size=(D - 2, N_OTHERS // 3)))[0].T
        self.rows[N_CIRCLE:, 2:] = np.repeat(families, 3, axis=0) + 0.12 * rng.normal(size=(N_OTHERS, D - 2))


@pytest.fixture(scope="module")
def index():
    return WithCircle()


@pytest.fixture(scope="module")
def found(index, tmp_path_factory) -> Manifolds:
    to = tmp_path_factory.mktemp("found") / KIND
    find_manifolds(index, index.rows, CONFIG, to, {"index": index.id})
    assert open_artifact(to, KIND).inputs == {"index": index.id}
    written = json.loads((to / "figures.json").read_text())["figures"]
    assert {one["name"] for one in written} == {
        f"manifolds/{name}" for name in ("score", "excess", "above_random_share", "gaussian_score")
    }
    return record_of(Manifolds, to, MANIFOLDS)


def test_the_planted_circle_comes_first(found):
    best = found.groups[0]
    assert best.latents == [*range(N_CIRCLE)] and best.best.components == (1, 2)
    assert best.p == 1 / 10 and best.excess > 0.1 and best.best.score > 5 * abs(best.gaussian)
    assert best.best.mixture < 0.35 and best.best.separability > 0.5
    assert all(group.excess < best.excess for group in found.groups[1:])


def test_all_groups_are_counted_and_have_their_nulls(found):
    assert found.n_alive == N_CIRCLE + N_OTHERS and found.n_groups == 1 + N_OTHERS // 3
    assert len(found.groups) == found.n_groups and not any(found.left_out.values())
    for group in found.groups:
        assert group.n_random == 9 and group.n_points <= 300 and 0 < group.p <= 1
        assert group.best.score == pytest.approx((1 - group.best.mixture) * group.best.separability)
    score, excess, above, _ = found.figures
    assert excess.value == pytest.approx(score.value - score.null) and above.null == 0.1
    assert all(figure.n == found.n_groups for figure in found.figures)


def test_points_are_kept_of_the_best_alone(found):
    assert [bool(group.best.points) for group in found.groups] == [True, True] + [False] * (len(found.groups) - 2)
    points = np.array(found.groups[0].best.points)
    assert np.square(points).sum(1).mean() == pytest.approx(1, abs=1e-2) and len(points) == found.groups[0].n_points


def test_a_cloud_is_what_the_group_alone_reconstructs(index):
    rng = np.random.default_rng(0)
    n_tokens, x = cloud_of(index, index.rows, [0, 1, 5], 10_000, rng)
    active = (index.acts[:, [0, 1, 5]] != 0).any(1)
    assert n_tokens == active.sum() == len(x)
    np.testing.assert_allclose(x, index.acts[active][:, [0, 1, 5]] @ index.rows[[0, 1, 5]], atol=1e-6)
    assert len(cloud_of(index, index.rows, [0, 1, 5], 7, rng)[1]) == 7


def test_groups_that_are_not_looked_at_are_counted(index, tmp_path):
    config = CONFIG.model_copy(update={"least_points": 900, "most_groups": 2, "least_size": 4})
    find_manifolds(index, index.rows, config, tmp_path / KIND, {})
    found = record_of(Manifolds, tmp_path / KIND, MANIFOLDS)
    assert found.left_out["fewer than 4 latents"] == N_OTHERS // 3
    assert len(found.groups) + found.left_out["active on fewer than 900 tokens"] == 1
    if not found.groups:
        assert all(figure.failure for figure in found.figures), "nothing is measured, and nothing is made up"


def test_a_silent_dictionary_and_a_sampled_index_are_refused(tmp_path):
    silent = WithCircle()
    silent.table = {"n_active": np.zeros(silent.d_sae, dtype=int)}
    with pytest.raises(UserError, match="0 latents of the index are ever active"):
        find_manifolds(silent, silent.rows, CONFIG, tmp_path / "a", {})
    silent.sampled, silent.path = True, tmp_path
    with pytest.raises(UserError, match="keeps a sample"):
        find_manifolds(silent, silent.rows, CONFIG, tmp_path / "b", {})


def test_sizes_that_no_group_has_are_refused():
    with pytest.raises(UserError, match="no group has at least 5 latents and at most 4"):
        ManifoldsConfig.parse({"least_size": 5, "most_size": 4}, "options")
