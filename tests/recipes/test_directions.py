"""Directions of a person's own indexed like latents: against products taken by hand, and what is refused."""

import io
import re
import shutil
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from starlette.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.base.locks import lock
from sparselex.base.registry import found
from sparselex.base.workspace import Workspace
from sparselex.convert.directions import read_directions
from sparselex.recipes.directions import run_of_directions
from sparselex.recipes.run import Run
from sparselex.server.app import create_app
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.run_rows import run_row
from tests.support.command import done, sparselex


@pytest.fixture(scope="module")
def workspace(small_workspace, tmp_path_factory) -> Workspace:
    path = tmp_path_factory.mktemp("directions") / "w"
    shutil.copytree(small_workspace.path, path)
    return Workspace(path)


@pytest.fixture(scope="module")
def probes(tmp_path_factory) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(4, 512)).astype(np.float32)
    return {"coef_": rows, "intercept_": np.array([-9.0, -5.0, 0.0, 4.0], dtype=np.float32)}


def read(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all training tokens, and what the model gives there."""
    batches = list(run.reader.batches(["train"]))
    return np.concatenate([batch.positions for batch in batches]), torch.cat([batch.x for batch in batches]).numpy()


def columns(run: Run, latent: int) -> dict[int, float]:
    positions, values = run.index.split_column(latent, "train")
    return dict(zip(positions.tolist(), np.asarray(values, dtype=np.float32).tolist(), strict=True))


def assert_column(run: Run, latent: int, positions, values, threshold: float) -> int:
    expected = {int(at): float(value) for at, value in zip(positions, values, strict=True) if value > threshold + 1e-4}
    found = columns(run, latent)
    assert expected.keys() <= found.keys() and len(found) <= len(expected) + 3
    for at, value in expected.items():
        assert found[at] == pytest.approx(value, rel=5e-3, abs=1e-4)
    return len(found)


def test_a_probe_is_active_where_it_is_above_zero(workspace, probes, tmp_path):
    np.savez(tmp_path / "probes.npz", **probes)
    run = Run.open(workspace, run_of_directions(workspace, tmp_path / "probes.npz").name)
    assert run.name == "probes" and run.do("index", train_rows=None).d_sae == 4
    positions, x = read(run)
    for latent, (row, bias) in enumerate(zip(probes["coef_"], probes["intercept_"], strict=True)):
        assert_column(run, latent, positions, x @ row + bias, 0.0)
    assert run.index.record(0).logits_top and run.dictionary.config.kind == "jumprelu"


def test_a_direction_is_the_distance_from_the_mean_on_the_share_asked_for(workspace, probes, tmp_path):
    save_file({"anything": torch.from_numpy(probes["coef_"])}, tmp_path / "steering.safetensors")
    folder = run_of_directions(workspace, tmp_path / "steering.safetensors", name="s", active_share=0.05)
    run = Run.open(workspace, folder.name)
    run.do("index", train_rows=None)
    positions, x = read(run)
    assert run.manifest("dictionary").notes["directions"]["n_tokens"] == len(x), "all of so short a text is looked at"
    for latent, row in enumerate(probes["coef_"]):
        values = (x - x.mean(0)) @ row
        bar = np.sort(values)[::-1][round(0.05 * len(x))]
        n = assert_column(run, latent, positions, values, float(bar))
        assert n / len(x) == pytest.approx(0.05, abs=0.002)


def test_neurons_are_their_own_values(workspace):
    done("index", workspace.path, "--neurons", "--train-rows", "none")
    run = Run.open(workspace, "neurons")
    positions, x = read(run)
    for latent in (0, 17, 511):
        values = x[:, latent]
        bar = max(float(np.sort(values)[::-1][round(0.01 * len(x))]), 0.0)
        assert_column(run, latent, positions, values, bar)
    near = run.index.record(17).neurons[0]
    assert near.neuron == 17 and near.correlation > 0.3
    # The dictionary of the run beside it is another, and stays.
    assert Run.open(workspace, "main").index.d_sae == 256


def shown(workspace, path: str) -> str:
    client = TestClient(create_app(Workspace(workspace.path)), base_url="http://127.0.0.1")
    return re.sub(r"\s+", " ", client.get(path).text)


def test_pages_say_that_where_they_are_active_was_chosen(workspace, probes, tmp_path):
    np.savez(tmp_path / "above.npz", **probes)
    np.save(tmp_path / "single.npy", probes["coef_"][0])
    assert "4 features over" in done("index", workspace.path, "--directions", tmp_path / "above.npz").out
    assert "1 feature over" in done("index", workspace.path, "--directions", tmp_path / "single.npy").out
    for path in ("/runs/above", "/runs/above/features/1"):
        assert "Active wherever a probe is above 0. A value is the product with the" in shown(workspace, path)
    for path in ("/runs/single", "/runs/single/features/0"):
        assert "Active on the 1.00 % of training tokens where it is largest: a share that" in shown(workspace, path)
    assert "a share that was chosen" not in shown(workspace, "/runs/main/features/1")
    assert "1 feature." in (listed := shown(workspace, "/runs/single/features")) and "This one as" in listed


def test_neurons_are_from_nowhere_and_near_to_none(workspace):
    done("index", workspace.path, "--neurons")
    assert "not trained here" not in shown(workspace, "/runs/neurons")
    page = shown(workspace, "/runs/neurons/features/17")
    assert "None with a cosine of 0.01 or more" in page and "By cosine of decoder" not in page
    ended = sparselex("index", workspace.path, "--neurons", "--active-share", "0.05")
    assert ended.code == 2 and "made otherwise" in ended.err and "--active-share" in ended.err


def test_every_later_stage_takes_it(workspace, tmp_path):
    """Of the directions of a dictionary's own encoder, where they are known to mean something."""
    rows = Run.open(workspace, "main").dictionary.W_enc.detach().T[:12].contiguous()
    torch.save({"directions": rows}, tmp_path / "rows.pt")
    for _ in range(2):  # the second does nothing
        done("index", workspace.path, "--directions", tmp_path / "rows.pt", "--as", "rows")
    for verb in ("explain", "evaluate"):
        done(verb, workspace.path, "--run", "rows")
    opened = OpenWorkspace(workspace)
    row = run_row(opened, "rows", workspace.card("rows"), lambda act, _: act())
    assert row.dictionary == "directions (rows.pt), 512 → 12" and row.imported_from == str(tmp_path / "rows.pt")
    assert row.figures and workspace.card("rows").twin_of is None


def test_with_another_file_of_that_name_it_is_made_anew_if_told(workspace, probes, tmp_path):
    np.save(tmp_path / "mine.npy", probes["coef_"])
    first = run_of_directions(workspace, tmp_path / "mine.npy").manifest("dictionary").id
    assert run_of_directions(workspace, tmp_path / "mine.npy").manifest("dictionary").id == first
    np.save(tmp_path / "mine.npy", probes["coef_"][:2])
    with pytest.raises(UserError, match="is a run 'mine' already"):
        run_of_directions(workspace, tmp_path / "mine.npy")
    assert workspace.artifacts("mine")["dictionary"].id == first
    assert run_of_directions(workspace, tmp_path / "mine.npy", replace=True).manifest("dictionary").id != first


def test_a_run_that_a_kill_left_out_of_the_way_is_there_again(workspace, probes, tmp_path):
    np.save(tmp_path / "moved.npy", probes["coef_"])
    first = run_of_directions(workspace, tmp_path / "moved.npy").manifest("dictionary").id
    folder = workspace.run("moved")
    folder.rename(folder.with_name(".moved.~old.99999999.aside"))
    np.save(tmp_path / "moved.npy", probes["coef_"][:2])
    with pytest.raises(UserError, match="is a run 'moved' already"):
        run_of_directions(workspace, tmp_path / "moved.npy")
    assert workspace.artifacts("moved")["dictionary"].id == first


def test_a_folder_that_is_no_run_is_left_alone(workspace, probes, tmp_path):
    np.save(tmp_path / "mine.npy", probes["coef_"])
    kept = workspace.path / "runs" / "thesis" / "chapter.txt"
    kept.parent.mkdir()
    kept.write_text("long")
    for replace in (False, True):
        with pytest.raises(UserError, match="thesis exists and is no run"):
            run_of_directions(workspace, tmp_path / "mine.npy", name="thesis", replace=replace)
    assert kept.read_text() == "long"


def test_two_at_once_do_not_write_into_each_other(workspace, probes, tmp_path, monkeypatch):
    np.save(tmp_path / "one.npy", probes["coef_"])
    np.save(tmp_path / "other.npy", probes["coef_"][:2])
    make, seen = found("sparselex.recipes.work.directions:make_run"), []

    def made(*arguments):
        with pytest.raises(UserError, match="is making run 'both'"):
            run_of_directions(workspace, tmp_path / "other.npy", name="both")
        seen.append(1)
        return make(*arguments)

    monkeypatch.setattr("sparselex.recipes.work.directions.make_run", made)
    first = run_of_directions(workspace, tmp_path / "one.npy", name="both")
    assert seen and first.manifest("dictionary").config["dictionary"]["d_sae"] == 4
    assert not [path.name for path in first.folder.parent.iterdir() if path.name.startswith(".")]


def test_a_run_that_is_being_indexed_is_not_replaced(workspace, probes, tmp_path):
    np.save(tmp_path / "busy.npy", probes["coef_"])
    folder = run_of_directions(workspace, tmp_path / "busy.npy")
    first = folder.manifest("dictionary").id
    np.save(tmp_path / "busy.npy", probes["coef_"][:2])
    with lock(folder.folder / ".index.lock", "writing"), pytest.raises(UserError, match="Another sparselex process"):
        run_of_directions(workspace, tmp_path / "busy.npy", replace=True)
    assert folder.manifest("dictionary").id == first


def test_a_file_may_lie_elsewhere_and_be_called_anything(workspace, probes, tmp_path):
    np.save(tmp_path / f"_{'long' * 40}.npy", probes["coef_"])
    first = run_of_directions(workspace, tmp_path / f"_{'long' * 40}.npy")
    assert first.name == "long" * 16
    np.save(tmp_path / "moved.npy", probes["coef_"])
    again = run_of_directions(workspace, tmp_path / "moved.npy", name=first.name)
    assert again.manifest("dictionary").id == first.manifest("dictionary").id


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--neurons", "--as", "main"], "There is a run 'main' already"),
        (["--as", "x"], "nothing of its own to index"),
        (["--active-share", "0.1"], "nothing of its own to index"),
        (["--neurons", "--directions", "x.npy"], "both given"),
        (["--directions", "no.npy"], "no.npy"),
        (["--neurons", "--active-share", "2"], "--active-share is 2."),
        (["--neurons", "--active-share", "nan"], "--active-share is nan."),
        (["--neurons", "--as", "../x"], "cannot be the name of a run"),
        (["--neurons", "--run", "nobody"], "no run"),
    ],
)
def test_what_cannot_be_is_one_message_and_makes_nothing(workspace, arguments, said):
    # SQLite's own files beside the database come with whoever reads, and go.
    there = lambda: {path for path in workspace.path.rglob("*") if not path.name.endswith(("-wal", "-shm"))}
    before = there()
    ended = sparselex("index", workspace.path, *arguments)
    assert ended.code == 2 and said in ended.err and "fault in sparselex" not in ended.err
    assert "sha256" not in ended.err  # no option
    assert there() == before


def test_directions_of_another_width_are_refused_with_both(workspace, tmp_path):
    np.save(tmp_path / "narrow.npy", np.ones((3, 7), dtype=np.float32))
    with pytest.raises(UserError, match=r"width 7, and blocks\.0\.mlp.hook_post, which run 'main' reads, is 512 wide"):
        run_of_directions(workspace, tmp_path / "narrow.npy")
    assert "narrow" not in workspace.begun()


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"a": np.ones((2, 3)), "b": np.ones((2, 3))}, "no table of directions, or several"),
        ({"a": np.ones((2, 3, 4))}, "no table of directions"),
        ({"directions": np.ones((2, 3)), "bias": np.ones(5)}, "has shape"),
        ({"directions": np.array([[1.0, np.nan]])}, "NaN"),
        ({"directions": np.array([[1.0, 2.0], [0.0, 0.0]])}, "Row 1 of 'directions'"),
        ({"directions": np.array([[1.0, 2.0], [1e-21, 0.0]])}, r"Row 1 of 'directions' in .* is 1e-21 long"),
        ({"directions": np.array([[1.0, 2.0], [1e20, 0.0]])}, r"Row 1 of 'directions' in .* is 1e\+20 long"),
        ({"directions": np.ones((2, 3)), "bias": np.array([0, 3e38])}, "'bias' .* is as large as 3e"),
        ({"directions": np.array([[1, 2]])}, "numbers of the kind"),
        ({}, "no table of directions"),
    ],
)
def test_files_that_hold_no_directions(tmp_path, tables, said):
    np.savez(tmp_path / "d.npz", **tables)
    with pytest.raises(UserError, match=said):
        read_directions(tmp_path / "d.npz")


@pytest.mark.parametrize("shape", [(10**12, 512), (10**30, 512), (2**62, 2**62), (2, 512)])
def test_an_array_that_claims_more_than_its_file_has_takes_no_memory(tmp_path, shape):
    with open(tmp_path / "d.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.write(bytes(400))
    with pytest.raises(UserError, match=r"d\.npy cannot be read"):
        read_directions(tmp_path / "d.npy")


@pytest.mark.parametrize("shape", [(10**12, 512), (10**30, 512), (2**62, 2**62), (2, 512)])
def test_arrays_in_a_zip_that_claim_more_than_is_there_are_told_with_both(tmp_path, shape):
    claim = io.BytesIO()
    np.lib.format.write_array_header_1_0(claim, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("directions.npy", claim.getvalue() + bytes(400))
    said = rf"d\.npz cannot be read as directions: it claims an array of \[{shape[0]}, {shape[1]}\], and 400 bytes"
    with pytest.raises(UserError, match=said):
        read_directions(tmp_path / "d.npz")


@pytest.mark.parametrize("name", ["d.npy", "d.npz", "d.safetensors", "d.pt"])
def test_a_file_of_directions_is_called_no_dictionary(tmp_path, name):
    (tmp_path / name).write_bytes(b"no such thing")
    with pytest.raises(UserError, match=rf"{name} cannot be read as directions") as told:
        read_directions(tmp_path / name)
    assert "dictionary" not in str(told.value) and "a direction a row" in told.value.expected


def test_files_that_hold_some(tmp_path):
    np.save(tmp_path / "turned.npy", np.asfortranarray(np.arange(1.0, 7.0).reshape(2, 3)).astype(">f4"))
    assert read_directions(tmp_path / "turned.npy").rows.tolist() == [[1, 2, 3], [4, 5, 6]]
    torch.save(torch.eye(2), tmp_path / "alone.pt")
    assert read_directions(tmp_path / "alone.pt").rows.tolist() == [[1, 0], [0, 1]]
    np.save(tmp_path / "one.npy", np.arange(1.0, 4.0))
    assert read_directions(tmp_path / "one.npy").rows.tolist() == [[1, 2, 3]]
    np.savez(tmp_path / "p.npz", coef_=np.eye(2), intercept_=np.float64(2.0), other=np.ones(9))
    found = read_directions(tmp_path / "p.npz")
    assert found.rows.tolist() == [[1, 0], [0, 1]] and found.bias.tolist() == [2, 2]
    (tmp_path / "x.npy").write_bytes(b"no array")
    for name in ("x.npy", "one.txt"):
        (tmp_path / "one.txt").write_text("1 2 3")
        with pytest.raises(UserError):
            read_directions(tmp_path / name)
