"""From a run to components of its model's weights, which are runs of their own."""

import shutil

import pytest
from fastapi.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.evaluate.records import Report
from sparselex.evaluate.report import report, write_report
from sparselex.parameters.again import BEGINNING
from sparselex.parameters.config import AttackConfig
from sparselex.parameters.mlp.config import MlpConfig
from sparselex.parameters.records import AGAIN_FOLDER, again_of, decomposition_of
from sparselex.recipes.config import twin_of
from sparselex.recipes.decomposing import _twin_of, decompose_run
from sparselex.recipes.run import Run
from sparselex.server.app import create_app

CONFIG = MlpConfig(
    spd=MlpConfig().spd.model_copy(update={"n_components": 16, "n_steps": 2, "batch_size": 32}),
    attack=AttackConfig(n_inputs=16, n_steps=1),
    n_inputs=512,
)
RUNS = [f"main-mlp-0-{matrix}{suffix}" for suffix in ("", "-twin") for matrix in ("dense_4h_to_h", "dense_h_to_4h")]


@pytest.fixture(scope="module")
def workspace(small_workspace, tmp_path_factory) -> Workspace:
    path = tmp_path_factory.mktemp("decomposed") / "w"
    shutil.copytree(small_workspace.path, path)
    write_report(Workspace(path))
    decompose_run(path, config=CONFIG, index=True)
    return Workspace(path)


def test_each_matrix_is_a_run_of_its_own_beside_its_control(workspace):
    assert [name for name in workspace.runs() if "mlp" in name] == sorted(RUNS)
    card = workspace.card("main-mlp-0-dense_4h_to_h")
    assert card.sites.names() == {"hook": "blocks.0.mlp.hook_post", "target": "blocks.0.hook_mlp_out"}
    twin = workspace.card("main-mlp-0-dense_4h_to_h-twin")
    assert (twin.twin, twin.twin_of) == (workspace.card("twin").twin, "main-mlp-0-dense_4h_to_h")
    first = workspace.card("main-mlp-0-dense_h_to_4h").sites.names()
    assert first["target"] == "module:gpt_neox.layers.0.mlp.dense_h_to_4h"
    assert Run.open(workspace, RUNS[0]).manifest("dictionary").notes["sample"]["fvu"] >= 0


def test_its_pages_are_those_of_any_run_and_lead_both_ways(workspace):
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1")
    index = Run.open(workspace, RUNS[0]).index
    latent = int(index.table["density"].argmax())
    page = client.get(f"/runs/{RUNS[0]}/features/{latent}.json").json()
    assert page["component"] == f"/decompositions/main-mlp-0/components/dense_4h_to_h/{latent}"
    assert page["logits_top"] and page["examples"] and "component of the matrix" in page["chosen_activity"]
    assert client.get(page["component"] + ".json").json()["feature"] == f"/runs/{RUNS[0]}/features/{latent}"
    assert f"/runs/{RUNS[0]}/features" in client.get("/decompositions/main-mlp-0").text
    assert client.get("/runs/main/features/3.json").json()["component"] == ""


def test_its_figures_are_in_the_reports_of_the_run_and_of_the_components(workspace):
    found = decomposition_of(workspace.path / "decompositions" / "main-mlp-0")
    written = Report.from_file(workspace.report_of("main"))
    there = {one.name: one for one in written.figures if one.name.startswith("decompositions/")}
    assert len(there) == len(found.figures) and {"twin"} == {name for one in there.values() for name in one.controls}
    for one in found.figures:
        name = one.name.replace("parameters/", "decompositions/main-mlp-0/", 1)
        assert there[name].to_json() == one.to_json() | {"name": name}
    of_one = [one.name for one in report(workspace, RUNS[0]).figures]
    assert "decompositions/main-mlp-0/dense_4h_to_h/l0" in of_one and not any("dense_h_to_4h" in one for one in of_one)


def test_done_already_it_is_not_done_again(workspace):
    before = [workspace.artifacts(name)["dictionary"].id for name in RUNS]
    stamps = [(workspace.run(name) / "dictionary" / "manifest.json").stat().st_mtime_ns for name in RUNS]
    touched = (workspace.path / "runs").stat().st_mtime_ns
    decompose_run(workspace, config=CONFIG)
    assert (workspace.path / "runs").stat().st_mtime_ns == touched, (
        "nor is a lock written: it may be on a read-only disk"
    )
    assert [workspace.artifacts(name)["dictionary"].id for name in RUNS] == before
    assert [(workspace.run(name) / "dictionary" / "manifest.json").stat().st_mtime_ns for name in RUNS] == stamps


def test_another_seed_stands_beside_it_under_another_name(workspace, tmp_path):
    """Both say how many components the other has, and neither says so any more when the other is another one."""
    copy = Workspace(shutil.copytree(workspace.path, tmp_path / "w"))
    client = TestClient(create_app(copy), base_url="http://127.0.0.1")
    # So few steps leave all importances at 1 and every component alive.
    other = CONFIG.model_copy(update={"spd": CONFIG.spd.model_copy(update={"seed": 1})})
    decompose_run(copy, config=other, name="second", index=False)
    assert {"second-dense_4h_to_h", "second-dense_h_to_4h-twin"} <= set(copy.runs())
    for one, there, words in (("second", "main-mlp-0", "seed 0"), ("main-mlp-0", "second", "seed 1")):
        found = again_of(copy.path, one)[there]
        assert found.differs == words and len(found.figures) == 8
        for figure in found.figures:
            assert figure.value is not None and figure.null is not None and set(figure.controls) == {BEGINNING}
            near = figure.name.endswith("nearest_cosine")
            assert not near or abs(figure.value - figure.controls[BEGINNING]) < 0.05, "two steps do not lead far"
        names = [figure.name for figure in report(copy, "main").figures]
        assert f"decompositions/{one}/again/{there}/dense_4h_to_h/back/nearest_cosine" in names
        page = client.get(f"/decompositions/{one}").text
        assert "Does another training find the same?" in page and f"({words})" in page
    back, own = (
        again_of(copy.path, one)[to].figures for one, to in (("second", "main-mlp-0"), ("main-mlp-0", "second"))
    )
    values = {figure.name: figure.value for figure in own}
    assert {figure.name: figure.value for figure in back if "/back/" not in figure.name} == {
        name.replace("/back", ""): value for name, value in values.items() if "/back/" in name
    }
    third = CONFIG.model_copy(update={"spd": CONFIG.spd.model_copy(update={"seed": 2})})
    stamps = {path: path.stat().st_mtime_ns for path in (copy.path / AGAIN_FOLDER).rglob("again.json")}
    decompose_run(copy, config=other, name="second", index=False)
    assert stamps == {path: path.stat().st_mtime_ns for path in (copy.path / AGAIN_FOLDER).rglob("again.json")}
    shutil.rmtree(copy.path / "decompositions" / "second")
    assert again_of(copy.path, "main-mlp-0") == {}
    decompose_run(copy, config=third, name="second", index=False)
    assert again_of(copy.path, "main-mlp-0")["second"].differs == "seed 2"


def test_a_run_that_cannot_be_taken_apart_is_told_before_anything_begins(workspace, tmp_path):
    with pytest.raises(UserError, match="control itself"):
        decompose_run(workspace, "twin", CONFIG)
    with pytest.raises(UserError, match="no block 1"):
        decompose_run(workspace, config=CONFIG.model_copy(update={"layer": 1}))
    with pytest.raises(UserError, match="has no run 'nobody'"):
        decompose_run(workspace, "nobody", CONFIG)
    with pytest.raises(UserError, match="other settings"):
        decompose_run(workspace, config=CONFIG.model_copy(update={"seed": 5}))
    shutil.copytree(workspace.run("main"), tmp_path / "w" / "runs" / "main-mlp-0-dense_4h_to_h")
    shutil.copytree(workspace.run("main"), tmp_path / "w" / "runs" / "main")
    shutil.copy(workspace.path / "sparselex.json", tmp_path / "w")
    shutil.copytree(workspace.corpora, tmp_path / "w" / "corpora")
    with pytest.raises(UserError, match="of something else"):
        decompose_run(tmp_path / "w", config=CONFIG)
    assert not (tmp_path / "w" / "decompositions").exists()


@pytest.mark.slow
def test_components_that_are_not_as_they_were_written_become_no_run(workspace, tmp_path):
    copy = Workspace(shutil.copytree(workspace.path, tmp_path / "w"))
    for name, run in (("components", RUNS[0]), ("control", RUNS[2])):
        shutil.rmtree(copy.run(run))
        file = copy.path / "decompositions" / "main-mlp-0" / f"{name}.safetensors"
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 64]))
        with pytest.raises(UserError, match=rf"{name}.safetensors is damaged"):
            decompose_run(copy, config=CONFIG, index=False)
        assert not copy.run(run).exists()
        file.write_bytes(whole)
    decompose_run(copy, config=CONFIG, index=False)
    assert [copy.artifacts(name)["dictionary"].id for name in RUNS] == [
        workspace.artifacts(name)["dictionary"].id for name in RUNS
    ]


def test_noise_in_the_place_of_tokens_is_no_model_of_other_weights(workspace, tmp_path):
    """A control of that kind is not what components are held against, wherever its name stands among others."""
    copy = Workspace(shutil.copytree(workspace.path, tmp_path / "w"))
    config = Run.open(copy).config
    Run.create(copy, "a-noise", twin_of(config, "main", "redrawn")).keep()
    card = copy.card("a-noise")
    assert card.twin_of == "main" and not card.has_random_weights and card.twin_words == "redrawn tokens"
    assert copy.card("twin").has_random_weights and not copy.card("main").twin_words
    assert _twin_of(copy, "main", config).model.twin == copy.card("twin").twin
