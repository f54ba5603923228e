"""The sweep at a place of a model that was made by hand: from a finished task to its figures, and on where it was."""

import json
import shutil

import pytest

from sparselex.base.artifacts import open_artifact
from sparselex.evaluate.occlusion.config import occlusion_config
from sparselex.evaluate.occlusion.occlude import occlude
from sparselex.evaluate.occlusion.records import OCCLUSION, RANDOM, STRONG, sweeps_of
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.walk import put_to_task
from tests.support.copier import copier, task

PLACES = ("blocks.0.hook_resid_post@end", "blocks.0.attn.hook_v:0@IO")
SMALL = TaskConfig(places=PLACES, n_fit=400, n_test=64, n_circuit=32, kinds=("topk",), l0s=(2,), n_tokens=4_000)
SMALL = SMALL.model_copy(update={"n_seeds": 2, "most_latents": 64, "budgets": (1, 2)})
ALPHAS = (0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    to = tmp_path_factory.mktemp("swept")
    model = copier(to / "model")
    put_to_task(model, task(), SMALL, to / "t")
    return model, to / "t", occlude(model, task(), sweep(SMALL), to / "t")


def sweep(config: TaskConfig):
    return occlusion_config(config).model_copy(update={"alphas": ALPHAS, "l1s": (1.0,)})


def test_both_names_are_there_and_the_longer_one_is_taken_out(swept):
    _, _, sweeps = swept
    (one,) = sweeps.found
    assert one.place.name == PLACES[0] and (one.strong, one.weak) == ("IO", "S") and one.decided == ["IO"]
    assert one.lengths["IO"] > one.lengths["S"] and set(one.lengths) == {"IO", "S"}, "Pos has two values"
    names = [(row.name, row.setting) for row in one.rows]
    assert names == [("relu", "l1=1"), ("topk", "k=3"), ("frozen decoder", "k=3")]
    for row in one.rows:
        for removed in (STRONG, RANDOM):
            assert [point.alpha for point in row.of(removed)] == [*ALPHAS]
        assert row.of(STRONG)[0].weak == row.of(RANDOM)[0].weak.model_copy(
            update={"name": row.of(STRONG)[0].weak.name}
        ), "nothing is nothing, of whatever"
        assert row.of(STRONG)[-1].strong.value < 0.5, "what was taken out is not found"


def test_a_place_that_holds_one_attribute_is_told(swept):
    _, _, sweeps = swept
    assert set(sweeps.left_out) == {PLACES[1]}


def test_every_figure_is_written_with_a_name_of_its_own(swept):
    _, to, _ = swept
    written = json.loads((to / "occlusion" / "summary" / "figures.json").read_text())["figures"]
    assert len(written) == len({one["name"] for one in written}) == 3 * (3 + 2 * 6)
    assert all(one["definition"] and one["n"] and one["null"] is not None for one in written)


def test_it_goes_on_where_it_was(swept):
    model, to, sweeps = swept
    kept = {path: path.stat().st_mtime_ns for path in to.rglob("manifest.json")}
    for file in sorted((to / "occlusion" / "summary").iterdir()):
        file.unlink()
    (to / "occlusion" / "summary").rmdir()
    assert sweeps_of(to) is None
    assert occlude(model, task(), sweep(SMALL), to) == sweeps == sweeps_of(to)
    for path, at in kept.items():
        assert path.parent.name == "summary" or path.stat().st_mtime_ns == at, "nothing is made again"
    assert open_artifact(next((to / "occlusion").glob("blocks*")), OCCLUSION).inputs["model"] == model.id


def test_a_place_that_was_deleted_is_made_again_from_its_dictionaries(swept, tmp_path):
    model, to, sweeps = swept
    copy = shutil.copytree(to, tmp_path / "t")
    (gone,) = [path for path in (copy / "occlusion").glob("blocks*") if path.is_dir()]
    shutil.rmtree(gone)
    shutil.rmtree(copy / "occlusion" / "summary")
    kept = {path: path.stat().st_mtime_ns for path in (copy / "occlusion" / "dictionaries").rglob("manifest.json")}
    assert occlude(model, task(), sweep(SMALL), copy) == sweeps and gone.is_dir()
    assert kept and all(path.stat().st_mtime_ns == at for path, at in kept.items())


def test_sweeps_of_another_result_are_not_shown(swept, tmp_path):
    model, to, _ = swept
    copy = shutil.copytree(to, tmp_path / "t")
    assert sweeps_of(copy) is not None
    put_to_task(model, task(), SMALL.model_copy(update={"budgets": (1,)}), copy)
    assert sweeps_of(copy) is None
