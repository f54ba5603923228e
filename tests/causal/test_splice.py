"""Splices: a perfect dictionary changes nothing, ablations are what they say, losses are the model's own."""

import pytest
import torch

from sparselex.causal.splice import divergences, spliced_logits, to_constant, token_losses
from sparselex.lm.load import load_model

HOOK = "blocks.0.mlp.hook_post"
TOKENS = torch.randint(1, 4096, (2, 12), generator=torch.Generator().manual_seed(0))
ALL = torch.ones(2, 12, dtype=torch.bool)


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


def test_a_perfect_reconstruction_changes_nothing(model):
    assert torch.equal(spliced_logits(model, TOKENS, HOOK, lambda x: x.clone(), ALL), model.run(TOKENS).logits)


def test_only_counted_positions_are_replaced(model):
    counted = ALL.clone()
    counted[:, 6:] = False
    spliced = spliced_logits(model, TOKENS, HOOK, torch.zeros_like, counted)
    plain = model.run(TOKENS).logits
    torch.testing.assert_close(spliced[:, 6:], plain[:, 6:])  # one layer: later positions do not read this site
    assert (spliced[:, :6] - plain[:, :6]).abs().amax(-1).min() > 1e-4


def test_zero_ablation_equals_a_model_without_its_mlp(model):
    spliced = spliced_logits(model, TOKENS, HOOK, to_constant(torch.zeros(512)), ALL)
    down = model.hf.get_submodule("gpt_neox.layers.0.mlp.dense_4h_to_h").weight
    before = down.data.clone()
    down.data.zero_()
    torch.testing.assert_close(spliced, model.run(TOKENS).logits, rtol=1e-4, atol=1e-5)
    down.data.copy_(before)


def test_losses_equal_the_models_own(model):
    losses = token_losses(model.run(TOKENS).logits, TOKENS)
    own = model.hf(input_ids=TOKENS, labels=TOKENS).loss
    assert losses.shape == (2, 11) and torch.isclose(losses.mean(), own)


def test_divergence_equals_the_slow_sum(model):
    p = model.run(TOKENS).logits
    q = spliced_logits(model, TOKENS, HOOK, torch.zeros_like, ALL)
    found = divergences(p, q)
    p, q = p.double().softmax(-1)[:, :-1], q.double().softmax(-1)[:, :-1]
    torch.testing.assert_close(found.double(), (p * (p / q).log()).sum(-1), rtol=1e-4, atol=1e-6)
    assert (found > -1e-6).all() and (
        divergences(model.run(TOKENS).logits, model.run(TOKENS).logits).abs() < 1e-5
    ).all()
