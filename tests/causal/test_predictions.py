"""Losses and divergences are the model's own."""

import pytest
import torch
import torch.nn.functional as F

from sparselex.causal import predictions
from sparselex.causal.predictions import compared, divergences, log_probabilities
from sparselex.lm.load import load_model

HOOK = "blocks.0.mlp.hook_post"
TOKENS = torch.randint(1, 4096, (2, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


@pytest.mark.parametrize("at_once", [1, 5, 100])
def test_losses_and_divergences_equal_those_of_whole_logits(model, monkeypatch, at_once):
    """However few tokens have their logits at a time."""
    monkeypatch.setattr(predictions, "AT_ONCE", at_once * model.n_vocab)
    targets = TOKENS[:, 1:].flatten()
    there = {"zero": torch.zeros_like, "half": lambda x: x / 2}
    last = {name: model.last(TOKENS, {HOOK: way})[:, :-1].flatten(0, 1) for name, way in there.items()}
    loss, found = compared(model, model.last(TOKENS)[:, :-1].flatten(0, 1), last, targets)
    plain = model.run(TOKENS).logits[:, :-1].flatten(0, 1)
    torch.testing.assert_close(loss, F.cross_entropy(plain, targets, reduction="none"))
    assert torch.isclose(loss.mean(), model.hf(input_ids=TOKENS, labels=TOKENS).loss)
    p = plain.double().softmax(-1)
    for name, way in there.items():
        logits = model.run(TOKENS, edits={HOOK: way}).logits[:, :-1].flatten(0, 1)
        torch.testing.assert_close(found[name].loss, F.cross_entropy(logits, targets, reduction="none"))
        slow = (p * (p / logits.double().softmax(-1)).log()).sum(-1)
        torch.testing.assert_close(found[name].divergence.double(), slow, rtol=1e-4, atol=1e-6)
    same = log_probabilities(plain)
    assert (divergences(same, same) == 0).all()
