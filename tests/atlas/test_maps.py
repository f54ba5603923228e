"""Maps of latents: groups lie together, their words are told, equal work gives equal bytes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from sparselex.atlas.config import MapConfig
from sparselex.atlas.maps import layout
from sparselex.atlas.maps.build import build_map
from sparselex.atlas.maps.layout import clusters, components, placed
from sparselex.base.errors import UserError

PLAIN = MapConfig(layout="pca", least_cluster=5)
GROUPS = {0: "fires on the word apple", 1: "fires on the word pear", 2: "fires on the word plum"}
UMAP = """
import numpy as np
from sparselex.atlas.config import MapConfig
from sparselex.atlas.maps.layout import placed
rows = np.random.default_rng(0).standard_normal((16, 60)).astype("f4")
config = MapConfig(n_neighbors=3, n_components=8)
first, again = placed(rows, config), placed(rows, config)
assert first.shape == (16, 2) and np.isfinite(first).all() and len(np.unique(first, axis=0)) == 16
assert first.tobytes() == again.tobytes()
"""


def planted(sizes=(30, 12, 8), d=20, seed=0):
    """Rows around three directions, in any order, and the group of each."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = np.eye(d)[group] * 4 + 0.1 * rng.standard_normal((len(group), d))
    return torch.tensor(rows * rng.uniform(0.5, 2, (len(group), 1)), dtype=torch.float32), group


def test_planted_groups_are_clusters_with_their_words(tmp_path):
    rows, group = planted((20, 16, 12))
    said = {j: f"{GROUPS[g]} <b>{j}</b>" for j, g in enumerate(group.tolist()) if j % 7}
    found = build_map(rows, np.ones(len(group), dtype=np.int64), said, PLAIN, tmp_path / "map", inputs={"index": "i"})
    assert [one.n for one in found.summary.clusters] == [20, 16, 12] and found.summary.n_alone == 0
    assert found.cluster.tolist() == group.tolist(), "numbered from the largest on"
    for number, fruit in enumerate(("apple", "pear", "plum")):
        (best, *_) = found.summary.clusters[number].words
        assert best.word == fruit and best.share == 1 and best.share_of_all < 0.5
    assert all(word.word not in ("fires", "the", "b") for one in found.summary.clusters for word in one.words)


def test_what_is_silent_or_zero_is_left_out_and_said(tmp_path):
    rows, group = planted()
    rows[3] = 0
    active = np.ones(len(group), dtype=np.int64)
    active[[5, 6]] = 0
    found = build_map(rows, active, {}, PLAIN, tmp_path / "map", inputs={})
    assert (found.summary.n_placed, found.summary.n_silent, found.summary.n_zero) == (47, 2, 1)
    assert [found.row(j) is None for j in range(8)] == [False, False, False, True, False, True, True, False]
    assert found.latents[found.row(7)] == 7 and not any(one.words for one in found.summary.clusters)


def test_equal_work_gives_equal_bytes_and_is_not_done_again(tmp_path, monkeypatch):
    rows, group = planted()
    given = rows, np.ones(len(group), dtype=np.int64), {}
    first, other = (build_map(*given, PLAIN, tmp_path / name, inputs={}) for name in ("one", "two"))
    assert first.manifest.id == other.manifest.id
    monkeypatch.setattr("sparselex.atlas.maps.build.placed", None)
    assert build_map(*given, PLAIN, tmp_path / "one", inputs={}).manifest.id == first.manifest.id


def test_components_are_those_of_the_svd():
    rows = placed(planted()[0].numpy(), PLAIN)
    unit = planted()[0].numpy()
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    u, s, _ = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(rows), np.abs(u[:, :2] * s[:2]), atol=1e-4)
    assert components(unit[:, :1], 2)[:, 1].tolist() == [0] * len(unit)


@pytest.mark.parametrize("n", [0, 1, 9])
def test_few_places_have_no_cluster(n):
    assert clusters(np.zeros((n, 2), dtype=np.float32), 5).tolist() == [-1] * n


@pytest.mark.slow
def test_umap_with_a_seed_gives_the_same_bytes_twice():
    """Without numba's compiler, which would take most of a minute of a test of seconds."""
    pytest.importorskip("sklearn")
    if layout.find_spec("umap") is None:
        pytest.skip("needs the extra `umap`")
    command = [sys.executable, "-c", UMAP]
    ran = subprocess.run(command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_a_package_that_is_missing_is_told_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "find_spec", lambda name: None if name == "umap" else True)
    with pytest.raises(UserError, match="umap-learn") as caught:
        build_map(*(planted()[0], np.ones(50, dtype=np.int64), {}), MapConfig(), tmp_path / "map", inputs={})
    assert "sparselex[umap]" in caught.value.todo and "--layout pca" in caught.value.todo
    assert list(tmp_path.glob("*map*")) == []
    with pytest.raises(UserError, match="3 latents"):
        placed(planted()[0].numpy()[:3], MapConfig())
