"""What an import says of the dictionary: what is measured on a few rows, what its files state, where they place it."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.recipes.config import new_run
from sparselex.recipes.run import Run
from tests.support.command import done
from tests.support.small import write_documents

pytestmark = pytest.mark.slow

OUT = "blocks.0.hook_mlp_out"
EYE = torch.eye(128)
PERFECT = {
    "W_enc": torch.cat([EYE, -EYE], 1),
    "b_enc": torch.zeros(256),
    "W_dec": torch.cat([EYE, -EYE]),
    "b_dec": torch.zeros(128),
}
"""Every coordinate and its opposite as a latent."""


def saelens(folder, cfg=None, **tensors):
    folder.mkdir()
    save_file(
        {name: value.contiguous() for name, value in (PERFECT | tensors).items()}, folder / "sae_weights.safetensors"
    )
    settings = {"architecture": "standard", "hook_name": OUT} | (cfg or {})
    (folder / "cfg.json").write_text(json.dumps(settings))
    return str(folder)


def text(tmp_path):
    return tmp_path / "text" if (tmp_path / "text").exists() else write_documents(tmp_path / "text")


def run_of(tmp_path, run="main", **options):
    options = {"n_ctx": 64, "n_tokens": 20_000} | options
    return Run(Workspace.create(tmp_path / "w"), run, new_run("embedded", str(text(tmp_path)), **options))


def notes(run, source, **options):
    run.do("import", source=source, **options)
    return run.manifest("dictionary").notes


def test_a_sample_tells_a_dictionary_that_fits_from_one_that_does_not(tmp_path, caplog):
    for number, (tensors, fvu, l0, words) in enumerate(
        [
            ({}, 0, 128, ["more than one latent in 4 is active on a token"]),
            (
                {"b_enc": torch.full((256,), -1e6)},
                None,
                0,
                ["further away than the mean is", "none of its latents is ever"],
            ),
            ({"W_dec": -PERFECT["W_dec"]}, 7, 128, ["further away than the mean is", "more than one latent in 4"]),
        ]
    ):
        found = notes(run_of(tmp_path, f"r{number}"), saelens(tmp_path / f"d{number}", **tensors))
        assert found["sample"]["l0"] == pytest.approx(l0, abs=1) and found["sample"]["split"] == "validation"
        assert fvu is None or fvu <= found["sample"]["fvu"] + 1e-3 < fvu + 1
        assert 100 < found["sample"]["n_tokens"] <= 32 * 64
        assert len(found["warnings"]) == len(words)
        assert [record.getMessage() for record in caplog.records] == found["warnings"]
        caplog.clear()
        for warning, word in zip(found["warnings"], words, strict=True):
            assert word in warning


def test_a_wrong_assumption_shows_on_the_sample(tmp_path):
    """Of a dictionary that centres its input by a bias, read as one that does not."""
    shift = {"b_dec": torch.full((128,), 50.0)}
    source = saelens(tmp_path / "d", **shift)
    right = notes(run_of(tmp_path, "right"), source)
    wrong = notes(run_of(tmp_path, "wrong"), source, options={"apply_b_dec_to_input": False})
    assert right["sample"]["fvu"] < 1e-3 < 1 < wrong["sample"]["fvu"]
    assert any("something assumed of the files that is not so" in warning for warning in wrong["warnings"])
    run = Run.open(Workspace(tmp_path / "w"), "right")
    with pytest.raises(UserError, match="replace"):
        run.do("import", source=source, options={"apply_b_dec_to_input": False})
    run.do("import", source=source, options={"apply_b_dec_to_input": False}, replace=True)
    assert run.manifest("dictionary").notes["sample"] == wrong["sample"], "what was given is part of what was made"


def test_what_the_files_state_is_kept_and_held_against_the_rows(tmp_path):
    cfg = {"context_size": 1024, "prepend_bos": True, "dataset_path": "a/b", "model_name": "m", "temperature": 2}
    run = run_of(tmp_path)
    found = notes(run, saelens(tmp_path / "d", cfg))
    assert found["stated"] == {"model": "m", "prepend_bos": True, "context_size": 1024, "dataset": "a/b"}
    told = " ".join(found["warnings"])
    assert "trained on rows of 1024 tokens, and those of this run have 64" in told
    assert "temperature=2" in told
    assert ("trained on rows with BOS, and those of this run have none" in told) == (run.corpus.bos_id is None)
    same = {"context_size": 64, "prepend_bos": run.corpus.bos_id is not None}
    assert not any(
        "trained on rows" in told for told in notes(run_of(tmp_path, "b"), saelens(tmp_path / "e", same))["warnings"]
    )


def test_the_command_line_says_it_and_takes_what_no_file_says(tmp_path):
    torch.save({"reads": PERFECT["W_enc"], "W_dec": PERFECT["W_dec"], "b_dec": PERFECT["b_dec"]}, tmp_path / "1.pt")
    arguments = ["--text", text(tmp_path), "--context", 64, "--tokens", 20_000, "--kind", "topk", "--option", "k=40"]
    said = done("import", tmp_path / "w", tmp_path / "1.pt", *arguments, "--map", "W_enc=reads", "--hook", OUT).out
    assert "topk dictionary, 128 -> 256 latents, read as tensors, FVU" in said and "L0 40 on" in said
    assert "warning: recognised by names and shapes: W_enc = W_enc" in said
    assert "warning: assumed: b_dec is subtracted" in said


def test_a_warning_is_printed_once(tmp_path):
    """In a process of its own: the log of this one is the tests'."""
    source = saelens(tmp_path / "d", {"temperature": 2}, W_dec=-PERFECT["W_dec"])
    arguments = ["--text", text(tmp_path), "--context", "64", "--tokens", "20000", "--hook", OUT]
    command = [sys.executable, "-m", "sparselex", "import", tmp_path / "w", source, *arguments]
    ended = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")
    for words in ("temperature=2", "further away than the mean is", "more than one latent in 4 is active"):
        assert (ended.stdout + ended.stderr).count(words) == 1 and words in ended.stdout


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("blocks.0.hook_mlp_out", OUT),
        ("resid_post_layer_0", "blocks.0.hook_resid_post"),
        ("layers.0", "blocks.0.hook_resid_post"),
        ("model.layers.0", "blocks.0.hook_resid_post"),
    ],
)
def test_places_by_the_names_of_other_projects(name, hook, tmp_path):
    run = run_of(tmp_path)
    assert notes(run, saelens(tmp_path / "d", {"hook_name": name}))["named"]["hook"] == hook
    assert run.manifest("dictionary").inputs["hook"] == hook


def test_modules_that_the_model_has_by_the_names_of_other_projects(tmp_path):
    run = run_of(tmp_path)
    modules = [name for name, _ in run.model.hf.named_modules() if name.endswith("mlp")]
    inside = modules[0].partition(".")[2]
    notes(run, saelens(tmp_path / "d", {"hook_name": inside}))
    assert run.manifest("dictionary").inputs["hook"] == f"module:{modules[0]}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "layers.20",
            "The files name the place layers.20 (blocks.20.hook_resid_post here), and were made for the model 'm'; "
            "the model embedded has no such place",
        ),
        ("blocks.0.hook_elsewhere", "The files name the place blocks.0.hook_elsewhere, and were made"),
        ("layers.20.mlp", "The files name a place 'layers.20.mlp', which is no name of a hook here and no module"),
        ("a place", "The files name a place 'a place'"),
    ],
)
def test_a_place_that_the_model_has_not_is_said_to_come_from_the_files(name, words, tmp_path):
    """Names near it are of no help to somebody who typed none."""
    run = run_of(tmp_path)
    with pytest.raises(UserError) as caught:
        run.do("import", source=saelens(tmp_path / "d", {"hook_name": name, "model_name": "m"}))
    assert words in str(caught.value) and "did you mean" not in str(caught.value)
    assert run.config.hook is None


def test_files_that_name_no_place_are_read_at_the_default_and_it_is_said(tmp_path):
    found = notes(
        run_of(tmp_path),
        saelens(
            tmp_path / "d",
            {"hook_name": ""},
            W_enc=torch.eye(512),
            b_enc=torch.zeros(512),
            W_dec=torch.eye(512),
            b_dec=torch.zeros(512),
        ),
    )
    assert any("the files name no place: it is read at blocks.0.mlp.hook_post" in told for told in found["warnings"])
