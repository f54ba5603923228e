"""Harvest, store, masks, shuffling: every counted token once, no masked token ever, the same bytes after any
interruption."""

import numpy as np
import pytest
import torch

from sparselex.activations import harvest as harvest_module
from sparselex.activations import store as store_module
from sparselex.activations.config import HarvestConfig
from sparselex.activations.harvest import harvest
from sparselex.activations.live import LiveUnits, Reader
from sparselex.activations.masks import special_counts
from sparselex.activations.shuffle import ShuffledSource
from sparselex.activations.source import EndOfData
from sparselex.activations.store import ActivationStore, shard_name
from sparselex.activations.synthetic import MixtureConfig, SparseMixture
from sparselex.base.errors import UserError
from sparselex.base.sites import Mask, Sites
from sparselex.lm.load import load_model
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.corpus import TokenCorpus
from sparselex.text.sources import load_documents
from sparselex.text.splits import SPLITS
from tests.support.small import shards, write_documents

HOOK = "blocks.0.hook_resid_post"
SITES = Sites.at(HOOK)
EVERYTHING = Sites.at(HOOK, mask=Mask(norm_outlier=0))
CONFIG = HarvestConfig(splits=("train",), batch_rows=8, shard_rows=32)


def in_precision(dtype):
    return CONFIG.model_copy(update={"dtype": dtype})


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


@pytest.fixture(scope="module")
def corpus(model, tmp_path_factory) -> TokenCorpus:
    root = tmp_path_factory.mktemp("activations")
    documents = load_documents(str(write_documents(root / "text", 24)))
    return build_corpus(documents, model.tokenizer, CorpusConfig(source="x", n_ctx=32), root / "corpus")


def test_the_store_equals_direct_capture_at_every_position(model, corpus, tmp_path):
    store = harvest(model, corpus, SITES, CONFIG, tmp_path / "a")
    rows = corpus.row_ranges["train"]
    tokens = torch.from_numpy(np.asarray(corpus.tokens[rows.start : rows.stop]).astype(np.int64))
    direct = torch.cat([model.read(part, [HOOK])[HOOK] for part in tokens.split(8)]).flatten(0, 1)
    batches = shards(store)
    positions = np.concatenate([batch.positions for batch in batches])
    assert np.array_equal(positions, rows.start * 32 + np.flatnonzero(corpus.text_mask(rows)))
    torch.testing.assert_close(torch.cat([batch.x for batch in batches]), direct[positions - rows.start * 32])
    assert store.n_tokens == len(positions) and store.manifest.inputs == {"model": model.id, "corpus": corpus.id}


def test_masked_tokens_are_left_out_and_counted(model, corpus, tmp_path):
    store = harvest(model, corpus, SITES, CONFIG, tmp_path / "a")
    masks, rows = store.manifest.notes["masks"], corpus.row_ranges["train"]
    assert masks["bos"] == len(rows) and masks["padding"] == corpus.manifest.notes["n_padding"]["train"]
    assert masks["separator"] == corpus.manifest.notes["n_documents"]["train"]
    assert store.n_tokens + sum(masks.values()) == len(rows) * corpus.n_ctx
    tokens = np.asarray(corpus.tokens).reshape(-1)[shards(store)[0].positions]
    assert not np.isin(tokens, list(corpus.special_ids)).any()


def test_norm_outliers_are_left_out_and_counted(model, corpus, monkeypatch):
    reader = Reader(model, corpus, SITES, batch_rows=8)
    plain = reader.read(np.arange(8)).positions
    read = model.read

    def with_sinks(tokens, hooks):
        found = {name: value.clone() for name, value in read(tokens, hooks).items()}
        found[HOOK][:, 5] *= 1000
        return found

    monkeypatch.setattr(model, "read", with_sinks)
    masked = reader.read(np.arange(8)).positions
    sinks = np.setdiff1d(plain, masked)
    assert reader.n_outliers == len(sinks) > 0 and set(sinks % 32) == {5}
    kept = Reader(model, corpus, EVERYTHING, batch_rows=8)
    assert np.array_equal(kept.read(np.arange(8)).positions, plain)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_killed_after_any_shard_and_run_again_it_gives_the_same_bytes(model, corpus, tmp_path, monkeypatch, dtype):
    config = in_precision(dtype)
    whole = harvest(model, corpus, SITES, config, tmp_path / "whole")
    write, left = harvest_module._write, [2]

    def failing(batch, n_outliers, number, config, staging):
        left[0] -= 1
        if left[0] < 0:
            (staging.folder / f".{shard_name(number)}.aside").write_bytes(b"half a shard")
            raise KeyboardInterrupt
        return write(batch, n_outliers, number, config, staging)

    monkeypatch.setattr(harvest_module, "_write", failing)
    for start in range(4):
        left[0] = start % 3
        with pytest.raises(KeyboardInterrupt):
            harvest(model, corpus, SITES, config, tmp_path / "killed")
        assert not (tmp_path / "killed").exists()
    monkeypatch.undo()
    again = harvest(model, corpus, SITES, config, tmp_path / "killed")
    assert again.manifest == whole.manifest
    for name in whole.manifest.files:
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_shard_is_named(model, corpus, tmp_path, damage):
    path = harvest(model, corpus, SITES, CONFIG, tmp_path / "a").path / "shard-00001.safetensors"
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-7] if damage == "truncate" else data[:-7] + bytes([data[-7] ^ 1]) + data[-6:])
    with pytest.raises(UserError, match="shard-00001"):
        shards(ActivationStore(tmp_path / "a"))


def test_a_shard_is_checked_once_and_then_read_in_pieces(model, corpus, tmp_path, monkeypatch):
    """Each block for training has chunks of every shard: were shards read whole, an epoch would read the store once a
    block."""
    store = harvest(model, corpus, SITES, CONFIG.model_copy(update={"shard_rows": 16}), tmp_path / "a")
    whole = shards(store)
    checked, verified = [], store_module.verified
    monkeypatch.setattr(
        store_module, "verified", lambda path, name, manifest: checked.append(name) or verified(path, name, manifest)
    )
    monkeypatch.setattr(store_module, "_OPEN_SHARDS", 2)
    chunks = ActivationStore(tmp_path / "a").units()
    units = np.random.default_rng(0).permutation(chunks.n_units)
    for _ in range(2):
        batch = chunks.read(units)
    assert len(whole) > 4 and checked == [shard_name(number) for number in range(len(whole))]
    assert torch.equal(batch.x, torch.cat([part.x for part in whole]))
    assert np.array_equal(batch.positions, np.concatenate([part.positions for part in whole]))


def test_a_live_epoch_and_a_stored_epoch_hold_every_token_once(model, corpus, tmp_path):
    store = harvest(model, corpus, SITES, CONFIG, tmp_path / "a")
    reader = Reader(model, corpus, SITES, batch_rows=8)
    expected = np.concatenate([shard.positions for shard in shards(store)])
    for units in (store.units(), LiveUnits(reader, ["train"])):
        source = ShuffledSource(units, batch_size=100, block_tokens=2048, seed=0, n_epochs=1)
        order = np.concatenate([batch.positions for batch in drain(source)])
        assert np.array_equal(np.sort(order), expected)
        # Quality of the mixing: neighbours in the stream are about as far apart as random pairs are (a third of the
        # corpus).
        assert (
            np.abs(np.diff(order)).mean()
            > 0.75 * np.abs(np.diff(np.random.default_rng(0).permutation(expected))).mean()
        )


def drain(source):
    while True:
        try:
            yield source.next_batch()
        except EndOfData:
            return


def test_a_source_goes_on_bit_for_bit(model, corpus):
    units = LiveUnits(Reader(model, corpus, SITES, batch_rows=8), ["train"])
    make = lambda: ShuffledSource(units, batch_size=100, block_tokens=512, seed=3)
    source = make()
    for _ in range(17):
        source.next_batch()
    state, expected = source.state(), [source.next_batch() for _ in range(60)]
    resumed = make()
    resumed.load_state(state)
    for batch in expected:
        other = resumed.next_batch()
        assert torch.equal(batch.x, other.x) and np.array_equal(batch.positions, other.positions)
    epochs = {source.state()["epoch"], state["epoch"]}
    assert len(epochs) == 2  # the comparison crossed the end of an epoch


def test_seeds_and_epochs_differ(model, corpus):
    units = LiveUnits(Reader(model, corpus, SITES, batch_rows=8), ["train"])
    first, second = (ShuffledSource(units, batch_size=100, block_tokens=512, seed=s).next_batch() for s in (0, 1))
    assert not np.array_equal(first.positions, second.positions)
    two = ShuffledSource(units, batch_size=100, block_tokens=512, seed=0, n_epochs=2)
    order = np.concatenate([batch.positions for batch in drain(two)])
    half = len(order) // 2
    assert not np.array_equal(order[:half], order[half:]) and np.array_equal(
        np.sort(order[:half]), np.sort(order[half:])
    )


def test_special_counts_add_up(corpus):
    counts = special_counts(corpus, {split: np.array(corpus.row_ranges[split]) for split in SPLITS})
    n_text = int(corpus.text_mask(range(corpus.n_rows)).sum())
    assert sum(counts.values()) + n_text == corpus.n_rows * corpus.n_ctx
    assert counts["padding"] == sum(corpus.n_padding.values())


@pytest.mark.parametrize("last", [False, True], ids=["full rows", "the padded row too"])
def test_special_counts_are_those_of_the_rows_that_were_read(corpus, last):
    every = corpus.row_ranges["train"]
    rows = np.array([every.start, every.start + 2, every.stop - (1 if last else 2)])
    counts, tokens = special_counts(corpus, {"train": rows}), np.asarray(corpus.tokens[rows])
    assert counts["bos"] == 3 and counts["padding"] == (corpus.n_padding["train"] if last else 0)
    assert sum(counts.values()) == tokens.size - int(corpus.text_mask(rows).sum())


def test_the_planted_mixture_is_what_it_says():
    mixture = SparseMixture(MixtureConfig(d_in=48, n_features=96, l0=5), batch_size=4000)
    x = mixture.sample(0)
    assert torch.equal(x, mixture.sample(0)) and not torch.equal(x, mixture.sample(1))
    # E|x|² = l0 * E[size²] for independent directions of unit norm and sizes uniform in [0.5, 1.5], plus what
    # correlated pairs add.
    assert abs(mixture.directions.norm(dim=-1) - 1).max() < 1e-5
    gram = mixture.directions @ mixture.directions.T
    p = 5 / 96
    expected = 5 * (1 + 1 / 12) + p * p * float(gram.sum() - gram.trace())
    assert abs(float(x.square().sum(-1).mean()) / expected - 1) < 0.05
