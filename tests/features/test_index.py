"""The whole index on a real run: what it holds is what the dictionary says, and nothing masked is in it."""

import json
import shutil
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow.parquet
import pytest
import torch
from fastapi.testclient import TestClient

from sparselex.base.artifacts import MANIFEST, identity
from sparselex.base.errors import UserError
from sparselex.base.files import FileEntry
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.files import load_dictionary
from sparselex.features.build import build_index
from sparselex.features.config import IndexConfig
from sparselex.features.index import FeatureIndex
from sparselex.lm.load import load_model
from sparselex.recipes.run import Run
from sparselex.server.app import create_app
from sparselex.text.corpus import TokenCorpus
from sparselex.text.splits import SPLITS
from tests.support.small import small_run
from tests.support.subjects import saved

HOOK = "blocks.0.mlp.hook_post"


def dense_codes(workspace, corpus):
    """`[n_positions, d_sae]` codes of every text token, straight from model and dictionary."""
    model, dictionary = load_model("embedded"), load_dictionary(workspace.run("main") / "dictionary")
    tokens = torch.from_numpy(np.asarray(corpus.tokens).astype(np.int64))
    x = torch.cat([model.read(part, [HOOK])[HOOK].flatten(0, 1) for part in tokens.split(16)])
    acts = dictionary.encode(x).numpy()
    acts[~corpus.text_mask(range(corpus.n_rows)).reshape(-1)] = 0
    return acts


def test_every_column_equals_the_dense_codes(small_workspace, small_index):
    corpus = small_index.corpus
    dense = dense_codes(small_workspace, corpus)
    assert np.array_equal(small_index.counted, corpus.text_mask(range(corpus.n_rows)).reshape(-1))
    for latent in range(small_index.d_sae):
        positions, values = small_index.column(latent)
        assert np.array_equal(positions, np.flatnonzero(dense[:, latent]))
        np.testing.assert_allclose(values, dense[positions, latent], rtol=1e-4, atol=1e-5)
    for number, split in enumerate(SPLITS):
        rows = corpus.row_ranges[split]
        part = dense[rows.start * corpus.n_ctx : rows.stop * corpus.n_ctx]
        assert np.array_equal(small_index.table[f"{split}_n_active"], (part != 0).sum(0)), number
        n = small_index.n_tokens[split]
        np.testing.assert_allclose(
            small_index.table[f"{split}_mean"], part.sum(0, dtype=float) / n, rtol=1e-4, atol=1e-6
        )


def test_what_a_record_says_equals_a_slow_count(small_workspace, small_index):
    """Tokens, both histograms, and examples drawn at random, of values as the columns have them."""
    corpus, n_counted = small_index.corpus, int(small_index.counted.sum())
    flat = np.asarray(corpus.tokens).reshape(-1).astype(int)
    base = np.bincount(flat[small_index.counted], minlength=len(corpus.vocabulary)) / n_counted
    n_train = corpus.row_ranges["train"].stop * corpus.n_ctx
    for latent in range(small_index.d_sae):
        record, (positions, values) = small_index.record(latent), small_index.column(latent)
        assert small_index.counted[positions].all()
        slow = Counter(flat[positions].tolist())
        assert [(t.token, t.n) for t in record.tokens] == sorted(slow.items(), key=lambda t: (-t[1], t[0]))[:5]
        for found in record.tokens:
            assert found.share == found.n / len(positions) and found.base == pytest.approx(base[found.token])
        one = len(positions) >= 5 and max(slow.values(), default=0) >= 0.9 * len(positions)
        assert small_index.single_token[latent] == one
        if record.dead:
            assert record.histogram is record.log_histogram is None and not record.random
            continue
        for histogram in (record.histogram, record.log_histogram):
            slow = [int(((values > low) & (values <= high)).sum()) for low, high in pairwise(histogram.edges)]
            assert histogram.counts == slow and sum(slow) == len(positions)
        drawn, train = [example.position for example in record.random], positions[positions < n_train]
        assert len(drawn) == min(20, len({*(train // corpus.n_ctx)})) == len({p // corpus.n_ctx for p in drawn})
        assert {*drawn} <= {*train} and small_index.column(latent)[1].dtype == np.float32
        at = dict(zip(positions.tolist(), values.tolist(), strict=True))
        assert all(at[example.position] == example.value for example in record.random)


def test_a_record_takes_less_than_three_kilobytes(small_index):
    beside = ("positions.npy", "values.npy", "counted.npy", "token-counts.npy")  # by entry, token and vocabulary
    sizes = {path.name: path.stat().st_size for path in small_index.path.iterdir()}
    assert sum(size for name, size in sizes.items() if name not in beside) < 3000 * small_index.d_sae


def test_examples_come_from_training_documents_only(small_index):
    corpus, seen = small_index.corpus, set()
    for latent in range(small_index.d_sae):
        record = small_index.record(latent)
        examples = record.top + [example for interval in record.intervals for example in interval.examples]
        seen |= {int(corpus.documents[divmod(example.position, corpus.n_ctx)]) for example in examples}
    assert seen and {int(corpus.split_of_documents[document]) for document in seen} == {SPLITS.index("train")}
    parts = {split: set() for split in SPLITS}
    for latent in range(small_index.d_sae):
        for split in SPLITS:
            positions, _ = small_index.split_column(latent, split)
            parts[split] |= set(np.asarray(corpus.documents).reshape(-1)[positions].tolist())
    for split, documents in parts.items():
        assert {int(corpus.split_of_documents[d]) for d in documents} <= {SPLITS.index(split)}


def test_the_parquet_table_says_the_same(small_index):
    table = pyarrow.parquet.read_table(small_index.path / "features.parquet").to_pydict()
    assert table["latent"] == list(range(small_index.d_sae))
    assert np.allclose(table["density"], small_index.table["density"])


def test_an_index_of_another_corpus_is_refused(small_index, tmp_path):
    other = TokenCorpus(small_index.corpus.path)
    other.id = "another"
    with pytest.raises(UserError, match="not from another"):
        FeatureIndex(small_index.path, other)


def test_an_index_of_an_earlier_version_is_told_with_its_command(small_index, tmp_path):
    """What it lacks would else end in the middle of a page."""
    copy = shutil.copytree(small_index.path, tmp_path / "index")
    made = json.loads((copy / MANIFEST).read_text())
    del made["notes"]["n_sampled"], made["id"]
    parts = {name: made[name] for name in ("kind", "config", "inputs", "notes")}
    files = {name: FileEntry(**entry) for name, entry in made["files"].items()}
    (copy / MANIFEST).write_text(json.dumps(made | {"id": identity(**parts, files=files)}))
    with pytest.raises(UserError, match="made by an earlier version") as caught:
        FeatureIndex(copy, small_index.corpus)
    assert "--replace" in caught.value.todo


def test_a_number_that_is_no_latent(small_index):
    with pytest.raises(UserError, match="There is no latent 256"):
        small_index.record(256)


def test_a_dictionary_of_another_width_is_refused(tmp_path):
    run = small_run(tmp_path, {"expansion": 0.1, "k": 4, "n_tokens": 4_000})
    run.do("train")
    moved = Run(run.workspace, "main", run.config.model_copy(update={"hook": "blocks.0.hook_resid_post"}))
    with pytest.raises(UserError, match=r"told hook=.blocks\.0\.hook_resid_post"):
        moved.do("index")
    with pytest.raises(UserError, match="reads width 512"):
        build_index(moved.model, run.dictionary, run.corpus, moved.sites, IndexConfig(), tmp_path / "i", inputs={})


def test_latents_that_are_not_finite_are_named(tmp_path, monkeypatch):
    """Finite weights can make them of finite activations."""
    run = small_run(tmp_path, {"expansion": 0.1, "k": 4, "n_tokens": 4_000})
    run.do("train")
    dictionary = run.dictionary
    acts = dictionary.encode

    def overflowing(x):
        return Codes.from_dense(acts(x).index_fill(1, torch.tensor([3]), torch.inf))

    monkeypatch.setattr(dictionary, "encode_sparse", overflowing)
    with pytest.raises(UserError, match=r"Latent 3 is inf at position \d+"):
        build_index(run.model, dictionary, run.corpus, run.sites, IndexConfig(), tmp_path / "i", inputs={})
    assert not (tmp_path / "i").exists()


def test_rows_of_a_padded_unembedding_that_are_no_tokens_are_not_ranked(tmp_path):
    """The largest effects of all would be theirs; pages show the tokens' and answer."""
    source = load_model("embedded")
    model, n_vocab = source.hf, len(source.tokenizer.vocabulary)
    model.resize_token_embeddings(n_vocab + 128, mean_resizing=False)
    model.get_output_embeddings().weight.data[n_vocab:] = 50 * torch.randn(128, model.config.hidden_size)
    run = small_run(tmp_path / "run", model=saved(tmp_path / "padded", model))
    for verb in ("train", "index", "explain", "evaluate"):
        run.do(verb)
    assert len(run.corpus.vocabulary) == n_vocab < run.model.n_vocab
    record = run.index.record(3)
    assert len(record.logits_top) and max(e.token for e in record.logits_top + record.logits_bottom) < n_vocab
    text = run.corpus.tokens[run.corpus.text_mask(range(run.corpus.n_rows))]
    written = np.flatnonzero(np.bincount(text, minlength=n_vocab))
    expected = run.model.readout(HOOK).logits(run.dictionary.W_dec)[3, written].topk(3)
    assert [effect.token for effect in record.logits_top[:3]] == written[expected.indices].tolist()
    assert (
        f"ranked are the {len(written):,} of {n_vocab:,} tokens that stand in the text"
        in run.index.manifest.notes["logits"]
    )
    run.do("index", logit_count=0, replace=True)
    expected = run.model.readout(HOOK).logits(run.dictionary.W_dec)[3, :n_vocab].topk(3)
    assert [effect.token for effect in run.index.record(3).logits_top[:3]] == expected.indices.tolist()
    assert "ranked are" not in run.index.manifest.notes["logits"]
    client = TestClient(create_app(run.workspace), base_url="http://127.0.0.1")
    assert client.get("/runs/main/features/3").status_code == 200
    assert client.get("/runs/main/features/3.json").status_code == 200
