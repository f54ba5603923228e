"""An index of anything that codes, over any rows of tokens: neurons, two directions of a probe, prompts one a row."""

import json

import numpy as np
import pytest
import torch

from sparselex.atlas.elsewhere import elsewhere
from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.dictionaries.coder import Coder
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.controls.neurons import neurons
from sparselex.dictionaries.types.abstopk import AbsTopK, AbsTopKConfig
from sparselex.dictionaries.types.clt import CrossLayerConfig, CrossLayerTranscoder
from sparselex.dictionaries.types.matching_pursuit import MatchingPursuit, MatchingPursuitConfig
from sparselex.dictionaries.types.topk import TopK, TopKConfig
from sparselex.features import build
from sparselex.features.build import NO_DIRECTIONS, build_index
from sparselex.features.config import IndexConfig
from sparselex.features.index import FeatureIndex
from sparselex.lm.load import load_model
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.rows import TokenRows
from sparselex.text.sources import load_documents
from tests.support.bars import Bars
from tests.support.small import write_documents

HOOK = "blocks.0.hook_mlp_out"
SITES = Sites.at(HOOK)


class Probe:
    """Two directions, and what each token has along them beyond a threshold: no dictionary, no module."""

    d_in, d_sae = 128, 2

    def __init__(self):
        self.rows = torch.randn(2, 128, generator=torch.Generator().manual_seed(0))

    def encode_sparse(self, x):
        along = x @ self.rows.T
        return Codes.from_dense(torch.where(along > 0.5, along, 0))


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


@pytest.fixture(scope="module")
def corpora(model, tmp_path_factory):
    """The same documents packed, and one a row with a role each."""
    root = tmp_path_factory.mktemp("coders")
    packed = load_documents(str(write_documents(root / "text", 24)))
    texts = [f"def function_{n}(self, value):\n    return value + {n}\n" for n in range(60)]
    records = [{"text": text, "roles": {"name": [4, text.index("(")]}} for text in texts]
    (root / "prompts.json").write_text(json.dumps(records))
    prompts = load_documents(str(root / "prompts.json"))
    return {
        layout: build_corpus(
            documents, model.tokenizer, CorpusConfig(source=layout, n_ctx=48, layout=layout), root / layout
        )
        for layout, documents in (("packed", packed), ("prompts", prompts))
    }


def dense(model, corpus, coder):
    """`[n_positions, d_sae]` codes of every text token, the slow way."""
    tokens = torch.from_numpy(np.asarray(corpus.tokens).astype(np.int64))
    acts = coder.encode_sparse(model.read(tokens, [HOOK])[HOOK].flatten(0, 1)).dense().numpy()
    acts[~corpus.text_mask(range(corpus.n_rows)).reshape(-1)] = 0
    return acts


@pytest.mark.parametrize("layout", ["packed", "prompts"])
@pytest.mark.parametrize("kind", ["neurons", "probe"])
def test_columns_are_the_codes(model, corpora, tmp_path, kind, layout):
    corpus, coder = corpora[layout], Probe() if kind == "probe" else neurons(torch.zeros(128), 9)
    assert isinstance(coder, Coder) and isinstance(corpus, TokenRows)
    index = build_index(model, coder, corpus, SITES, IndexConfig(), tmp_path / "i", inputs={"corpus": corpus.id})
    expected = dense(model, corpus, coder)
    assert index.d_sae == coder.d_sae and index.sites == SITES and (expected != 0).any()
    for latent in range(index.d_sae):
        positions, values = index.column(latent)
        assert np.array_equal(positions, np.flatnonzero(expected[:, latent]))
        np.testing.assert_allclose(values, expected[positions, latent], rtol=1e-4, atol=1e-5)
    record = index.record(1)
    assert record.top and bool(record.neighbours) is bool(record.logits_top) is (kind == "neurons")
    notes = index.manifest.notes
    missing = {"logits": NO_DIRECTIONS, "neighbours": NO_DIRECTIONS}
    assert ({name: notes[name] for name in missing} == missing) is (kind == "probe")
    n_text = int(corpus.text_mask(range(corpus.n_rows)).sum())
    assert sum(notes["masks"].values()) + sum(notes["n_tokens"].values()) == corpus.n_rows * corpus.n_ctx
    assert sum(notes["n_tokens"].values()) == n_text


@pytest.mark.parametrize("layout", ["packed", "prompts"])
def test_what_was_left_out_is_counted_in_the_rows_that_were_read(model, corpora, tmp_path, layout):
    corpus, config = corpora[layout], IndexConfig(train_rows=7)
    index = build_index(model, Probe(), corpus, SITES, config, tmp_path / "i", inputs={"corpus": corpus.id})
    notes, n_rows = index.manifest.notes, corpus.n_rows - len(corpus.row_ranges["train"]) + 7
    assert notes["masks"]["bos"] == (n_rows if corpus.bos_id is not None else 0)
    assert sum(notes["masks"].values()) + sum(notes["n_tokens"].values()) == n_rows * corpus.n_ctx


@pytest.mark.parametrize("train_rows", [None, 7])
def test_the_bar_ends_where_the_rows_do(model, corpora, tmp_path, monkeypatch, train_rows):
    corpus, bars = corpora["prompts"], Bars.watched(build, monkeypatch)
    config = IndexConfig(train_rows=train_rows, batch_rows=5)
    build_index(model, Probe(), corpus, SITES, config, tmp_path / "i", inputs={"corpus": corpus.id})
    n_train = len(corpus.row_ranges["train"])
    assert n_train % 5 and bars == [[n := (corpus.n_rows - n_train + (train_rows or n_train)) * corpus.n_ctx, n]]


def test_examples_of_prompts_lie_in_their_own_row_and_know_its_roles(model, corpora, tmp_path):
    corpus = corpora["prompts"]
    index = build_index(model, Probe(), corpus, SITES, IndexConfig(), tmp_path / "i", inputs={"corpus": corpus.id})
    for example in index.record(0).top:
        row, column = divmod(example.position, corpus.n_ctx)
        name = corpus.roles(row)["name"]
        written = corpus.vocabulary.decode(corpus.tokens[row, name.start : name.stop].tolist())
        assert f"function_{int(corpus.documents[row, column])}" in written
    assert index.manifest.notes["masks"]["separator"] == 0 and index.manifest.notes["masks"]["padding"] > 0


class InMemory:
    """Rows that nobody wrote to disk: two documents in each, no BOS and no padding."""

    id, bos_id, n_ctx, n_rows = "in-memory", None, 12, 6
    n_padding = {"train": 0, "validation": 0, "test": 0}
    row_ranges = {"train": range(4), "validation": range(4, 5), "test": range(5, 6)}

    def __init__(self, vocabulary):
        self.vocabulary = vocabulary
        self.tokens = np.random.default_rng(0).integers(3, 4000, (6, 12))
        self.documents = np.repeat(np.arange(12).reshape(6, 2), 6, axis=1)
        self.names = [f"document {number}" for number in range(12)]

    def text_mask(self, rows):
        return self.documents[slice(rows.start, rows.stop) if isinstance(rows, range) else rows] >= 0

    def roles(self, row):
        return {"all": range(12)}


def test_rows_need_no_file(model, tmp_path):
    rows = InMemory(model.tokenizer.vocabulary)
    assert isinstance(rows, TokenRows)
    index = build_index(model, Probe(), rows, SITES, IndexConfig(), tmp_path / "i", inputs={"corpus": rows.id})
    expected = dense(model, rows, Probe())
    for latent in range(2):
        assert np.array_equal(index.column(latent)[0], np.flatnonzero(expected[:, latent]))
    assert FeatureIndex(tmp_path / "i", rows).n_tokens == {"train": 48, "validation": 12, "test": 12}


def test_a_coder_of_another_width_is_refused(model, corpora, tmp_path):
    sites = Sites.at("blocks.0.mlp.hook_post")
    with pytest.raises(UserError, match="reads width 128"):
        build_index(model, Probe(), corpora["packed"], sites, IndexConfig(), tmp_path / "i", inputs={})
    assert not (tmp_path / "i").exists()


MID, OUT = "blocks.0.hook_mlp_in", "blocks.0.hook_mlp_out"
KINDS = {
    "signed": (AbsTopK, AbsTopKConfig(d_in=128, d_sae=96, k=6), SITES),
    "transcoder": (TopK, TopKConfig(d_in=128, d_out=128, d_sae=96, k=6), Sites.at(MID, OUT)),
    "crosscoder": (TopK, TopKConfig(d_in=256, parts=(128, 128), d_sae=96, k=6), Sites.at(f"{MID}+{OUT}")),
    "cross-layer": (
        CrossLayerTranscoder,
        CrossLayerConfig(d_in=256, d_out=256, layers_in=(128, 128), layers_out=(128, 128), d_sae=96, k=6),
        Sites.at(f"{MID}+{OUT}", f"{MID}+{OUT}"),
    ),
    "without an encoder": (MatchingPursuit, MatchingPursuitConfig(d_in=128, d_sae=96, k=6), SITES),
}


@pytest.mark.parametrize("kind", KINDS)
def test_latents_of_every_kind_have_relations_and_are_found_elsewhere(model, corpora, tmp_path, kind):
    corpus, (made, config, sites) = corpora["packed"], KINDS[kind]
    dictionary = made(config, torch.Generator().manual_seed(0)).requires_grad_(False)
    inputs = {"corpus": corpus.id, "model": "m"}
    index = build_index(model, dictionary, corpus, sites, IndexConfig(), tmp_path / "i", inputs=inputs)
    living = np.flatnonzero(index.table["n_active"] > 50).tolist()
    records = [index.record(latent) for latent in living]
    assert records and index.signed is (kind == "signed") and index.directions.shape == (96, dictionary.d_out)
    assert any(record.coactive for record in records) and any(record.following for record in records)
    assert all(bool(record.encoder_neighbours) is (kind != "without an encoder") for record in records)
    rows = dictionary.encoder_rows()
    for record in records:
        assert all(0 <= one.neuron < dictionary.d_in and -1 <= one.correlation <= 1 for one in record.neurons)
        found = elsewhere(index, record.latent, index, 3)
        assert found[0].latent == record.latent and found[0].correlation == pytest.approx(1)
    if rows is not None:
        near = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1).fill_diagonal_(-2).max(1).values
        values = torch.tensor([record.encoder_neighbours[0].cosine for record in records])
        torch.testing.assert_close(values, near[living], atol=1e-5, rtol=0)
