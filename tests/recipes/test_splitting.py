"""Dictionaries of several widths in one workspace: which are taken, what they become, and what lies inside what."""

import shutil

import pytest

from sparselex.atlas.maps.together import JointMap
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.recipes.run import Run
from sparselex.recipes.stages.relatives import others_of
from sparselex.recipes.stages.splitting import levels_of


@pytest.fixture(scope="module")
def widths(small_workspace, tmp_path_factory):
    """A copy of the small workspace with a narrow and a wide run beside it."""
    path = tmp_path_factory.mktemp("splitting") / "w"
    shutil.copytree(small_workspace.path, path)
    workspace = Workspace(path)
    main = Run.open(workspace, "main")
    for name, expansion in (("narrow", 0.1), ("wide", 1.0)):
        run = Run.create(workspace, name, main.config.with_stages({}))
        run.do("train", expansion=expansion, k=8, n_tokens=40_000)
        run.do("index")
    return workspace


def test_the_levels_are_the_widths_of_the_place_in_order(widths):
    main = Run.open(widths, "main")
    assert levels_of(main) == ["narrow", "main", "wide"], "the twin is of another model"
    found = main.do("analyse splitting", least_active=5)
    assert [level.n_latents for level in found.levels] == [51, 256, 512]
    assert [(step.narrow, step.wide) for step in found.steps] == [("narrow", "main"), ("main", "wide")]
    first = found.steps[0]
    assert first.figure("children").value > (first.figure("children").null or 0) and first.n_links > 0
    assert first.figure("held").value > 0.3 and sum(first.spread.values()) == first.n_narrow
    assert {figure.name.split("/")[1] for step in found.steps for figure in step.figures} == {"narrow", "main"}


def test_runs_that_do_not_fit_are_refused_by_name(widths, small_workspace):
    main = Run.open(widths, "main")
    assert levels_of(main, ("wide",)) == ["main", "wide"]
    for others in (("twin",), ("main",), ("wide", "wide")):
        with pytest.raises(UserError, match="by --others"):
            levels_of(main, others)
    with pytest.raises(UserError, match="the only one of its place"):
        levels_of(Run.open(small_workspace, "main"))


def test_relatives_are_sought_in_the_run_and_in_one_of_each_other_width(widths):
    main = Run.open(widths, "main")
    assert list(others_of(main)) == ["narrow", "wide"]
    found = main.do("analyse relatives", least_active=5, least_told=2, n_before=4)
    assert [level.n_latents for level in found.dictionaries] == [256, 51, 512] and found.number_of("wide") == 2
    own, narrow, _ = found.among
    assert own.run == "main" and narrow.n_other <= 51 and narrow.n_pairs > 0 and narrow.n_documents > 1
    assert main.do("analyse relatives", least_active=5, least_told=2, n_before=4) == found, "nothing is done twice"


def test_runs_that_no_relatives_can_be_sought_in_are_refused_by_name(widths, small_workspace):
    main = Run.open(widths, "main")
    assert list(others_of(main, ("wide",))) == ["wide"]
    for others in (("twin",), ("main",)):
        with pytest.raises(UserError, match="leave it out of --others"):
            others_of(main, others)
    assert others_of(Run.open(small_workspace, "main")) == {}, "its own latents are enough"


def test_the_widths_are_laid_out_on_one_map(widths):
    main = Run.open(widths, "main")
    alone = main.do("map", layout="pca", least_cluster=3)
    found = main.do("map", others=("narrow", "wide"), clusters="10d")
    assert found.summary.together == ["narrow", "wide"] and alone.summary.together == []
    assert found.latents.tolist() == alone.latents.tolist(), "the same latents of its own"
    assert {"narrow/index", "wide/dictionary"} <= found.manifest.inputs.keys()
    one = JointMap(main.folder / "map")
    assert [level.run for level in one.found.runs] == ["narrow", "main", "wide"]
    assert [figure.name for figure in one.found.figures] == [
        "map/narrow-to-main/same_cluster",
        "map/main-to-wide/same_cluster",
        "map/of_all_widths",
    ]
    assert main.do("map").manifest.id == found.manifest.id, "as the run kept it"
    assert main.stage("map").facts(main)["narrow"]["index"] == widths.artifacts("narrow")["index"].id
    again = main.do("map", others=())
    assert again.manifest.id != found.manifest.id and JointMap.at(main.folder / "map") is None
    for others in (("twin",), ("main",), ("wide", "nobody")):
        with pytest.raises(UserError):
            main.do("map", others=others)
