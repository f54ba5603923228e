"""Several dictionaries on one map: what splits from a latent lies with it, and chance is what shuffling gives."""

import numpy as np
import pytest

from sparselex.atlas.config import MapConfig
from sparselex.atlas.maps.build_together import Laid, build_together
from sparselex.atlas.maps.joint import listed, medoids, nearest, of_all_by_chance, same_by_chance
from sparselex.atlas.maps.records import LatentMap
from sparselex.atlas.maps.together import JointMap

PLAIN = MapConfig(layout="pca", clusters="10d", least_cluster=3)
D, N_NARROW, N_EACH = 16, 8, 6


def planted(seed=0):
    """A narrow dictionary of eight directions and a wide one in which each became six near ones."""
    rng = np.random.default_rng(seed)
    directions = np.eye(D)[:N_NARROW]
    wide = np.repeat(directions, N_EACH, axis=0) + 0.03 * rng.standard_normal((N_NARROW * N_EACH, D))
    narrow = directions + 0.03 * rng.standard_normal(directions.shape)
    return [
        Laid(name, f"index of {name}", rows.astype(np.float32), np.ones(len(rows), dtype=np.int64), said, differs)
        for name, rows, said, differs in (
            ("narrow", narrow, {n: f"fires on fruit{n}" for n in range(N_NARROW)}, "expansion 1"),
            ("wide", wide, {n: f"fires on fruit{n // N_EACH}" for n in range(len(wide))}, ""),
        )
    ]


@pytest.fixture(scope="module")
def laid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together") / "map"
    build_together(planted(), "wide", PLAIN, folder, inputs={"index": "index of wide", "narrow/index": "i"})
    return folder


def test_a_latent_lies_with_those_that_split_from_it(laid):
    one = JointMap(laid)
    assert [cluster.of for cluster in one.found.clusters] == [{"narrow": 1, "wide": N_EACH}] * N_NARROW
    assert one.found.n_alone == 0 and one.found.n_placed == N_NARROW * (1 + N_EACH)
    for cluster in one.found.clusters:
        members = {(int(one.run[row]), int(one.latents[row])) for row in np.flatnonzero(one.cluster == cluster.number)}
        (own,) = (latent for run, latent in members if run == 0)
        assert {latent for run, latent in members if run == 1} == set(range(own * N_EACH, (own + 1) * N_EACH))
        assert [word.word for word in cluster.words] == [f"fruit{own}"]
        assert (one.found.number_of(cluster.medoid_run), cluster.medoid) in members
    assert sorted(cluster.place for cluster in one.found.clusters) == list(range(N_NARROW))
    assert one.row(1, 7) == N_NARROW + 7 and one.row(0, 99) is None


def test_figures_are_beside_what_shuffling_gives(laid):
    same, of_all = JointMap(laid).found.figures
    assert same.name == "map/narrow-to-wide/same_cluster" and of_all.name == "map/of_all_widths"
    assert same.value == 1 and same.n == N_NARROW and same.null == pytest.approx(1 / N_NARROW)
    assert same.controls["tenth nearest"] < 0.5, "six of each: the tenth nearest is of another"
    assert of_all.value == 1 and of_all.n == N_NARROW and 0.4 < of_all.null < 0.8


def test_the_run_has_a_map_of_its_own_in_it(laid):
    own, one = LatentMap(laid), JointMap(laid)
    mine = one.run == 1
    assert np.array_equal(own.latents, one.latents[mine]) and np.array_equal(own.places, one.places[mine])
    assert np.array_equal(own.cluster, one.cluster[mine]) and own.summary.together == ["narrow"]
    assert [cluster.n for cluster in own.summary.clusters] == [N_EACH] * N_NARROW
    assert "principal" in own.summary.clusters_by and "3 latents" in own.summary.clusters_by


def test_clusters_without_own_latents_are_not_told_of_the_run(tmp_path):
    narrow, wide = planted()
    gone = np.ones(len(wide.rows), dtype=np.int64)
    gone[: N_EACH * 3] = 0
    few = narrow._replace(rows=np.concatenate([narrow.rows] * 3), n_active=np.ones(24, dtype=np.int64))
    own = build_together([few, wide._replace(n_active=gone)], "wide", PLAIN, tmp_path / "m", inputs={})
    assert len(own.summary.clusters) == 5 and own.summary.n_silent == N_EACH * 3
    assert {cluster.number for cluster in own.summary.clusters} == set(own.cluster.tolist())


def test_equal_work_gives_equal_bytes_and_is_not_done_again(laid, tmp_path, monkeypatch):
    inputs = {"index": "index of wide", "narrow/index": "i"}
    again = build_together(planted(), "wide", PLAIN, tmp_path / "map", inputs=inputs)
    assert again.manifest.id == LatentMap(laid).manifest.id
    monkeypatch.setattr("sparselex.atlas.maps.build_together.placed", None)
    assert build_together(planted(), "wide", PLAIN, laid, inputs=inputs).manifest.id == again.manifest.id


def test_chance_is_the_mean_over_shuffles():
    rng = np.random.default_rng(0)
    run = np.repeat([0, 1, 2], [5, 9, 20])
    cluster = rng.integers(0, 6, len(run)).astype(np.int32)
    sizes, of_run = np.bincount(cluster), np.bincount(run)
    shuffled = [rng.permutation(run) for _ in range(4000)]
    drawn = np.mean([[len(set(one[cluster == c].tolist())) == 3 for c in range(6)] for one in shuffled], axis=0)
    np.testing.assert_allclose(of_all_by_chance(sizes, of_run), drawn, atol=0.03)
    assert of_all_by_chance(np.array([2, 34]), of_run).tolist() == pytest.approx([0, 1]), "of two none holds three runs"
    narrow, wide = np.array([0, 0, 1, -1], dtype=np.int32), np.array([0, 1, 1, -1, -1], dtype=np.int32)
    assert same_by_chance(narrow, wide) == (2 * 1 + 1 * 2) / 20, "by hand, what is in no cluster with none"
    pairs = [(a == b) and a >= 0 for a in narrow for b in wide]
    assert same_by_chance(narrow, wide) == np.mean(pairs)


def test_neighbours_medoids_and_places_are_those_of_a_slow_reading():
    rng = np.random.default_rng(1)
    unit = lambda n: (lambda x: x / np.linalg.norm(x, axis=1, keepdims=True))(rng.standard_normal((n, 5)))
    narrow, wide = unit(7).astype(np.float32), unit(30).astype(np.float32)
    assert nearest(narrow, wide, 4).tolist() == np.argsort(-(narrow @ wide.T), axis=1)[:, :4].tolist()
    assert nearest(narrow, wide[:1], 1).tolist() == [[0]] * 7
    cluster = np.array([1, 0, 0, -1, 1, 0, -1], dtype=np.int32)
    slow = []
    for number in (0, 1):
        rows = np.flatnonzero(cluster == number)
        slow.append(rows[np.argmax((narrow[rows] @ narrow[rows].T).mean(1))])
    assert medoids(narrow, cluster).tolist() == slow
    line = np.array([0.5, 0.1, 0.9, 0.3], dtype=np.float32)  # rows 3 and 6, then clusters 0 and 1
    assert listed(line, cluster, np.array(slow)).tolist() == [1, 3, 3, 2, 1, 3, 0]
