"""Shards of one byte per number: how far they are off, how large they are, and what they refuse."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from sparselex.activations.config import HarvestConfig
from sparselex.activations.harvest import harvest
from sparselex.activations.int8 import quantise, restore
from sparselex.activations.live import Reader
from sparselex.activations.shuffle import ShuffledSource
from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.dictionaries.types.batchtopk import BatchTopKConfig
from sparselex.lm.load import load_model
from sparselex.recipes.run import Run
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.sources import load_documents
from sparselex.training.config import TrainConfig
from sparselex.training.train import train
from tests.support.small import shards, small_run, write_documents

HOOK = "blocks.0.hook_resid_post"
SITES = Sites.at(HOOK)
PRECISIONS = ("float32", "bfloat16", "int8")
HALF_STEP = 1 / 254 * (1 + 1e-5)
"""The stated bound, with float32 rounding of the scale and the product."""


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


@pytest.fixture(scope="module")
def corpus(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("int8")
    documents = load_documents(str(write_documents(root / "text", 24)))
    return build_corpus(documents, model.tokenizer, CorpusConfig(source="x", n_ctx=32), root / "corpus")


@pytest.fixture(scope="module")
def stores(model, corpus, tmp_path_factory):
    root = tmp_path_factory.mktemp("stores")
    return {dtype: harvest(model, corpus, SITES, config(dtype), root / dtype) for dtype in PRECISIONS}


def config(dtype, **options):
    return HarvestConfig(batch_rows=8, shard_rows=32, dtype=dtype, **options)


def slow_quantise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number by number."""
    scales = [max(abs(v) for v in token) / np.float32(127) for token in x]
    acts = [[0 if s == 0 else int(np.rint(v / s)) for v in token] for token, s in zip(x, scales, strict=True)]
    return np.array(acts, dtype=np.int8), np.array(scales, dtype=np.float32)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(-25, 25))
def test_quantising_equals_the_slow_way_and_keeps_the_bound(seed, magnitude):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((6, 5)) * 10.0 ** (magnitude + rng.integers(-3, 4, (6, 1)))).astype(np.float32)
    x[2], x[3, 1:] = 0, 0
    acts, scale = quantise(torch.from_numpy(x))
    slow = slow_quantise(x)
    assert np.array_equal(acts.numpy(), slow[0]) and np.array_equal(scale.numpy(), slow[1])
    assert np.array_equal(quantise(-torch.from_numpy(x)).acts.numpy(), -slow[0])
    back = restore(acts, scale).numpy()
    assert (np.abs(back - x) <= HALF_STEP * np.abs(x).max(-1, keepdims=True)).all()
    assert not back[2].any()


def test_the_largest_and_the_smallest_numbers_stay_in_range():
    x = torch.tensor([[3.4e38, -1.0], [190 * 1.4e-45, 1.4e-45]])
    back = restore(*quantise(x))
    assert torch.isfinite(back).all() and back[1, 0] > 0, "no integer wraps around"


def test_a_store_in_int8_is_off_by_half_a_step_at_most(stores):
    whole, small = stores["float32"], stores["int8"]
    assert small.shard_sizes == whole.shard_sizes and small.dtype == "int8"
    for exact, rounded in zip(shards(whole), shards(small), strict=True):
        assert np.array_equal(exact.positions, rounded.positions) and rounded.x.dtype == torch.float32
        bound = HALF_STEP * exact.x.abs().amax(-1, keepdim=True)
        assert ((exact.x - rounded.x).abs() <= bound).all() and not torch.equal(exact.x, rounded.x)
    units = np.array([5, 0, 3])
    chunks = [store.units().read(units) for store in (whole, small)]
    assert np.array_equal(chunks[0].positions, chunks[1].positions)
    assert ((chunks[0].x - chunks[1].x).abs() <= HALF_STEP * chunks[0].x.abs().amax(-1, keepdim=True)).all()


def test_bytes_on_disk(stores):
    tensors = load_file(stores["int8"].path / "shard-00000.safetensors")
    assert {name: value.dtype for name, value in tensors.items()} == {
        "acts": torch.int8,
        "scale": torch.float32,
        "positions": torch.int64,
    }
    for dtype, per_token in (("float32", 4 * 128 + 8), ("bfloat16", 2 * 128 + 8), ("int8", 128 + 4 + 8)):
        store = stores[dtype]
        shards = sum(entry.n_bytes for entry in store.manifest.files.values())
        assert per_token * store.n_tokens < shards < per_token * store.n_tokens + 400 * len(store.shard_sizes)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused_while_writing(model, corpus, tmp_path, monkeypatch, dtype, bad):
    read = model.read
    row = corpus.row_ranges["train"].start + 40
    tokens = torch.from_numpy(corpus.tokens[row].astype(np.int64))

    def broken(batch, hooks):
        found = {name: value.clone() for name, value in read(batch, hooks).items()}
        for place in range(len(batch)):
            if torch.equal(batch[place], tokens):
                found[HOOK][place, 3, 7] = bad
        return found

    monkeypatch.setattr(model, "read", broken)
    with pytest.raises(UserError, match=r"Shard shard-00001\.safetensors holds NaN or infinite") as error:
        harvest(model, corpus, SITES, config(dtype), tmp_path / "a")
    assert f"corpus position {row * 32 + 3})" in error.value.given
    before = int(corpus.text_mask(range(row - 8, row + 1)).reshape(-1)[: 8 * 32 + 3].sum())
    assert f"first in its row {before} " in error.value.given, "rows of a shard are counted from its own start"
    assert not (tmp_path / "a").exists()
    reader = Reader(model, corpus, SITES, batch_rows=8)
    with pytest.raises(UserError, match="in the train split holds NaN"):
        list(reader.batches(["train"]))
    monkeypatch.undo()
    assert harvest(model, corpus, SITES, config(dtype), tmp_path / "a").n_tokens


def test_a_model_that_is_broken_from_its_first_token(model, corpus, tmp_path, monkeypatch):
    """The median is NaN then; nothing may pass for a norm outlier because of it."""
    read = model.read
    monkeypatch.setattr(model, "read", lambda *a: {name: value * float("nan") for name, value in read(*a).items()})
    with pytest.raises(UserError, match="finite"):
        harvest(model, corpus, SITES, config("int8"), tmp_path / "a")


@pytest.mark.slow
def test_training_from_int8_reaches_the_loss_of_float32(stores, tmp_path):
    """Stated tolerance: 2 % of the mean loss over the last ten lines of the log."""
    losses = {}
    for dtype in PRECISIONS:
        store = stores[dtype]
        source = ShuffledSource(store.units(), batch_size=512, block_tokens=8192, seed=0)
        options = TrainConfig(
            dictionary=BatchTopKConfig(d_in=128, d_sae=256, k=8), n_tokens=30_000, batch_size=512, log_steps=1
        )
        train(source, options, tmp_path / dtype, inputs={"store": store.id})
        lines = (tmp_path / dtype / "log.jsonl").read_text().splitlines()
        losses[dtype] = np.mean([json.loads(line)["loss"] for line in lines[-10:]])
    assert losses["int8"] != losses["float32"]
    assert abs(losses["int8"] / losses["float32"] - 1) < 0.02


@pytest.mark.slow
def test_the_choice_is_kept_with_the_run(tmp_path):
    run = small_run(tmp_path)
    run.do("harvest", dtype="int8")
    again = Run.open(run.workspace)
    assert again.config == run.config and again.do("harvest").dtype == "int8"
    again.do("train")
    assert again.manifest("dictionary").inputs["shards"] == "int8"
    with pytest.raises(UserError, match="dtype"):
        again.do("harvest", dtype="int4")
