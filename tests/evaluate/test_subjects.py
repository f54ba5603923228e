"""What is put in a site's place without looking at its activations."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sparselex.activations.live import Reader
from sparselex.base.sites import Sites
from sparselex.dictionaries.config import DictionaryConfig
from sparselex.dictionaries.controls.neurons import neurons
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.config import LOOKUPS, TOKEN_LOOKUP, EvaluateConfig
from sparselex.evaluate.evaluate import OF_EXPLAINED, evaluate
from sparselex.evaluate.moments import moments, training_rows
from sparselex.evaluate.subjects import AsExplained, Itself, PairLookup, TokenLookup, not_spliced
from sparselex.explain.config import ExplainConfig
from sparselex.explain.explain import explain
from sparselex.explain.predictions import Predictions
from sparselex.explain.records import Explanation
from sparselex.explain.store import ExplanationStore
from sparselex.features.build import build_index
from sparselex.features.config import IndexConfig
from sparselex.lm.load import load_model
from sparselex.text.rows import tokens_at

EMBEDDINGS = "blocks.0.hook_resid_pre"
"""Where an activation is a function of its token alone."""


class Kind(DictionaryConfig):
    """Configuration of a test's dictionary."""

    kind: str = "tokens"


class OfTokens(Dictionary):
    """Latent i is active, at 2, on one token: its embedding is known by heart."""

    def __init__(self, embeddings: Tensor, mean: Tensor):
        super().__init__()
        self.d_sae, self.d_in = embeddings.shape
        self.config, self.d_out = Kind(d_in=self.d_in, d_sae=self.d_sae), self.d_in
        self.register_buffer("known", embeddings)
        self.register_buffer("W_dec", (embeddings - mean) / 2)
        self.register_buffer("b_dec", mean)

    def encode(self, x: Tensor) -> Tensor:
        return 2.0 * torch.stack([(x - known).abs().amax(-1) < 1e-3 for known in self.known], dim=-1)


@pytest.fixture(scope="module")
def reader(small_index):
    return Reader(load_model("embedded"), small_index.corpus, Sites.at(EMBEDDINGS), batch_rows=8)


@pytest.fixture(scope="module")
def explained(reader, tmp_path_factory):
    """A dictionary of the commonest tokens, found out by rules, and the evaluation of both."""
    folder, corpus = tmp_path_factory.mktemp("explained"), reader.corpus
    batch = reader.read(np.array(corpus.row_ranges["train"]))
    tokens = tokens_at(corpus, batch.positions)[0]
    common = np.argsort(-np.bincount(tokens))[:12]
    places = [int(np.flatnonzero(tokens == token)[0]) for token in common]
    dictionary = OfTokens(batch.x[places], batch.x.mean(0))
    ids = {"dictionary": "d", "model": "m", "corpus": corpus.id}
    index = build_index(reader.model, dictionary, corpus, reader.sites, IndexConfig(), folder / "index", inputs=ids)
    explain(index, ExplainConfig(), folder / "w.sqlite", folder / "explanations", inputs={"index": index.id})
    said = ExplanationStore(folder / "w.sqlite").all(index.id, "rule")
    config = EvaluateConfig(controls=(), moment_rows=64)
    found = evaluate(
        reader.model, dictionary, index, reader.sites, config, folder / "evaluation", inputs={}, explanations=said
    )
    return said, found, dictionary


def test_predictions_of_perfect_rules_recover_what_the_dictionary_does(explained):
    said, found, _ = explained
    assert sum(one.status == "explained" for one in said) == 12
    by_name = {figure.name: figure for figure in found.figures}
    for name in OF_EXPLAINED:
        own, whole = by_name[f"explained/{name}"], by_name[f"core/{name}"]
        assert own.value == pytest.approx(whole.value, rel=1e-6, abs=1e-7), name
    assert 0.2 < by_name["explained/fvu"].value < 0.9, "the commonest tokens are not all of them"
    assert set(found.influences.subjects) == {"", *LOOKUPS}


def test_rules_that_are_lost_are_missed(explained, reader):
    """Half of the explanations: less is recovered than by the whole dictionary."""
    said, _, dictionary = explained
    found = [one for one in said if one.latent % 2]
    assert not not_spliced(dictionary, found)
    batch = reader.read(np.array(reader.corpus.row_ranges["test"]))
    whole = Itself(dictionary).reconstruct(batch, {}).x_hat
    half = AsExplained(dictionary, Predictions(found), reader.corpus).reconstruct(batch, {}).x_hat
    codes = dictionary.encode(batch.x)
    codes[:, ::2] = 0
    torch.testing.assert_close(half, dictionary.decode(codes))
    assert not torch.allclose(half, whole)


def test_a_token_lookup_is_the_mean_of_each_token(reader):
    corpus = reader.corpus
    train = reader.read(training_rows(reader, None))
    seen = tokens_at(corpus, train.positions)[0]
    lookup = TokenLookup(moments(reader, None), corpus)
    batch = reader.read(np.array(corpus.row_ranges["test"])[:4])
    found, mean = lookup.reconstruct(batch, {}), train.x.double().mean(0)
    for x_hat, token in zip(found.x_hat, tokens_at(corpus, batch.positions)[0], strict=True):
        own = train.x[torch.from_numpy(seen == token)].double()
        torch.testing.assert_close(x_hat, ((own.sum(0) + mean) / (len(own) + 1)).float(), rtol=1e-4, atol=1e-5)
    assert torch.equal(found.n_active, torch.ones(len(batch.x), dtype=torch.float64))


def test_a_pair_lookup_is_the_mean_of_each_token_behind_another(reader):
    """The least that rules see: pairs that training has more than once, and for any other the token alone."""
    corpus = reader.corpus
    train, at = reader.read(training_rows(reader, None)), moments(reader, None)
    seen, before = tokens_at(corpus, train.positions)
    batch = reader.read(np.array(corpus.row_ranges["test"])[:4])
    found = PairLookup(at, corpus).reconstruct(batch, {}).x_hat
    alone, n_known = TokenLookup(at, corpus).reconstruct(batch, {}).x_hat, 0
    for place, pair in enumerate(zip(*tokens_at(corpus, batch.positions), strict=True)):
        own = train.x[torch.from_numpy((seen == pair[0]) & (before == pair[1]))].double()
        expected, many = alone[place].double(), len(own) > 1
        n_known += many
        expected = (own.sum(0) + expected) / (len(own) + 1) if many else expected
        torch.testing.assert_close(found[place], expected.float(), rtol=1e-3, atol=1e-4)
    assert 0 < n_known < len(found)


def test_a_token_lookup_is_all_there_is_to_know_of_embeddings(explained):
    lookup = {figure.name: figure for figure in explained[1].controls[TOKEN_LOOKUP]}
    assert lookup["core/fvu"].value == lookup["explained/fvu"].value < 0.1


def test_what_cannot_be_spliced_is_said(explained):
    said, _, dictionary = explained
    silent = [Explanation(latent=0, explainer="x", status="abstained", text="x", title="x")]
    assert "predicts activations by itself" in not_spliced(dictionary, silent)
    assert "signs" in not_spliced(neurons(torch.zeros(4), 2), said)
    dictionary.bypass = lambda x: x
    try:
        assert "bypasses" in not_spliced(dictionary, said)
    finally:
        del dictionary.bypass
