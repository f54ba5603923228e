"""Splices: a perfect dictionary changes nothing, ablations are what they say, losses are the model's own."""

import pytest
import torch
import torch.nn.functional as F

from sparselex.causal import splice
from sparselex.causal.splice import compared, divergences, log_probabilities, replaced, to_constant
from sparselex.lm.load import load_model

HOOK = "blocks.0.mlp.hook_post"
TOKENS = torch.randint(1, 4096, (2, 12), generator=torch.Generator().manual_seed(0))
ALL = torch.ones(2, 12, dtype=torch.bool)


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


def spliced(model, replace, counted=ALL):
    return model.run(TOKENS, edits={HOOK: replaced(replace, counted)}).logits


def test_a_perfect_reconstruction_changes_nothing(model):
    assert torch.equal(spliced(model, lambda x: x.clone()), model.run(TOKENS).logits)


def test_only_counted_positions_are_replaced(model):
    counted = ALL.clone()
    counted[:, 6:] = False
    there, plain = spliced(model, torch.zeros_like, counted), model.run(TOKENS).logits
    torch.testing.assert_close(there[:, 6:], plain[:, 6:])  # one layer: later positions do not read this site
    assert (there[:, :6] - plain[:, :6]).abs().amax(-1).min() > 1e-4


def test_zero_ablation_equals_a_model_without_its_mlp(model):
    there = spliced(model, to_constant(torch.zeros(512)))
    down = model.hf.get_submodule("gpt_neox.layers.0.mlp.dense_4h_to_h").weight
    before = down.data.clone()
    down.data.zero_()
    torch.testing.assert_close(there, model.run(TOKENS).logits, rtol=1e-4, atol=1e-5)
    down.data.copy_(before)


@pytest.mark.parametrize("at_once", [1, 5, 100])
def test_losses_and_divergences_equal_those_of_whole_logits(model, monkeypatch, at_once):
    """However few tokens have their logits at a time."""
    monkeypatch.setattr(splice, "_LOGITS", at_once * model.n_vocab)
    targets = TOKENS[:, 1:].flatten()
    there = {"zero": torch.zeros_like, "half": lambda x: x / 2}
    last = {name: model.last(TOKENS, {HOOK: replaced(way, ALL)})[:, :-1].flatten(0, 1) for name, way in there.items()}
    loss, found = compared(model, model.last(TOKENS)[:, :-1].flatten(0, 1), last, targets)
    plain = model.run(TOKENS).logits[:, :-1].flatten(0, 1)
    torch.testing.assert_close(loss, F.cross_entropy(plain, targets, reduction="none"))
    assert torch.isclose(loss.mean(), model.hf(input_ids=TOKENS, labels=TOKENS).loss)
    p = plain.double().softmax(-1)
    for name, way in there.items():
        logits = spliced(model, way)[:, :-1].flatten(0, 1)
        torch.testing.assert_close(found[name].loss, F.cross_entropy(logits, targets, reduction="none"))
        slow = (p * (p / logits.double().softmax(-1)).log()).sum(-1)
        torch.testing.assert_close(found[name].divergence.double(), slow, rtol=1e-4, atol=1e-6)
    same = log_probabilities(plain)
    assert (divergences(same, same) == 0).all()
