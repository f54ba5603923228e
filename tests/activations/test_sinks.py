"""Attention sinks: tokens a hundred times as long as all others move neither the median norm nor the input scale."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sparselex.activations.config import HarvestConfig
from sparselex.activations.harvest import harvest
from sparselex.activations.live import LiveUnits, Reader
from sparselex.activations.shuffle import ShuffledSource
from sparselex.base.artifacts import open_artifact
from sparselex.base.sites import Mask, Sites
from sparselex.dictionaries.types.batchtopk import BatchTopKConfig
from sparselex.lm.load import load_model
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.sources import load_documents
from sparselex.training.config import TrainConfig
from sparselex.training.train import train
from tests.support.small import small_run, write_documents

HOOK = "blocks.0.hook_resid_post"
SITES = Sites.at(HOOK)
EVERYTHING = Sites.at(HOOK, mask=Mask(norm_outlier=0))
N_CTX, BATCH, SAMPLED = 32, 128, 4


@pytest.fixture(scope="module")
def clean_model():
    return load_model("embedded")


@pytest.fixture(scope="module")
def corpus(clean_model, tmp_path_factory):
    root = tmp_path_factory.mktemp("sinks")
    documents = load_documents(str(write_documents(root / "text", 24)))
    return build_corpus(documents, clean_model.tokenizer, CorpusConfig(source="x", n_ctx=N_CTX), root / "corpus")


@pytest.fixture(scope="module")
def clean(clean_model, corpus):
    """Every activation of the corpus by position, nothing left out."""
    tokens = torch.from_numpy(np.asarray(corpus.tokens).astype(np.int64))
    return torch.cat([clean_model.read(part, [HOOK])[HOOK] for part in tokens.split(32)]).flatten(0, 1)


def plant(model, corpus, monkeypatch, columns):
    """Tokens in these columns of every row are multiplied by a hundred, special tokens by a thousand."""
    model.width(HOOK)  # asked with a single token, which has no such columns
    read, special = model.read, torch.tensor(sorted(corpus.special_ids))

    def with_sinks(tokens, hooks):
        found = {name: value.clone() for name, value in read(tokens, hooks).items()}
        found[HOOK][:, columns] *= 100
        found[HOOK][torch.isin(tokens, special)] *= 1000
        return found

    monkeypatch.setattr(model, "read", with_sinks)


def trained(source, folder: Path):
    config = TrainConfig(
        dictionary=BatchTopKConfig(d_in=128, d_sae=128, k=4),
        n_tokens=BATCH * SAMPLED,
        batch_size=BATCH,
        calibration_batches=SAMPLED,
    )
    train(source, config, folder, inputs={})
    return open_artifact(folder, "dictionary").notes


def slow_scale(source, clean) -> float:
    """The scale as its definition says, from the activations without sinks at the positions that the source gives."""
    positions = np.concatenate([source.next_batch().positions for _ in range(SAMPLED)])
    return math.sqrt(128 / np.mean([float(x @ x) for x in clean[positions].double()]))


@pytest.mark.parametrize("columns", [[5], list(range(3, 17))], ids=["one in a row", "nearly half"])
@pytest.mark.parametrize("stored", [False, True])
def test_sinks_move_nothing(clean_model, corpus, clean, tmp_path, monkeypatch, columns, stored):
    plant(clean_model, corpus, monkeypatch, columns)
    reader = Reader(clean_model, corpus, SITES, batch_rows=8)
    units = LiveUnits(reader, ["train"])
    if stored:
        store = harvest(clean_model, corpus, SITES, HarvestConfig(batch_rows=8), tmp_path / "store")
        units = store.units()
    make = lambda units=units: ShuffledSource(units, batch_size=BATCH, block_tokens=4096, seed=0)
    notes, expected = trained(make(), tmp_path / "d"), slow_scale(make(), clean)
    assert notes["x_scales"][0] == pytest.approx(expected, rel=1e-5)

    rows = range(corpus.row_ranges["train"].start, corpus.row_ranges["train"].start + 2048 // N_CTX)
    text = np.flatnonzero(corpus.text_mask(rows)) + rows.start * N_CTX
    kept = text[~np.isin(text % N_CTX, columns)]
    assert float(reader.median_norms[0]) == float(clean[kept].norm(dim=-1).median())
    if stored:
        assert store.manifest.notes["median_norms"][0] == float(reader.median_norms[0])
        assert store.manifest.notes["masks"]["norm_outlier"] > 0

    everything = Reader(clean_model, corpus, EVERYTHING, batch_rows=8)
    moved = trained(make(LiveUnits(everything, ["train"])), tmp_path / "moved")["x_scales"][0]
    assert moved < expected / 5, "the test would see a sink"


@pytest.mark.slow
def test_a_run_keeps_both(tmp_path):
    run = small_run(tmp_path)
    run.do("train")
    notes, reader = run.manifest("dictionary").notes, run.reader
    assert notes["median_norms"] == reader.median_norms.tolist() and notes["x_scales"][0] > 0
