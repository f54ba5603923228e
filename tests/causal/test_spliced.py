"""Divergences of spliced reconstructions: the model's own, with autograd's gradients, in parts as in one."""

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.causal import spliced
from sparselex.causal.spliced import (
    PlainRows,
    Weights,
    divergence,
    first_of,
    loss_gradient,
    lost,
    places_in,
    streams_behind,
)
from sparselex.lm.load import load_model
from tests.support.tiny import N_VOCAB, tiny_llama

GENERATOR = torch.Generator().manual_seed(0)
TOKENS = torch.randint(1, 4096, (4, 12), generator=GENERATOR)
COUNTED = torch.rand(4, 12, generator=GENERATOR) < 0.7
COUNTED[2] = False
PREDICTED = torch.rand(4, 11, generator=GENERATOR) < 0.8
STREAMS = [Hook(f"blocks.{block}.hook_resid_post") for block in range(3)]
HOOKS = {
    "one": ("blocks.0.mlp.hook_post",),
    "two": ("blocks.0.hook_mlp_out", "blocks.0.hook_attn_out"),
    "a head": ("blocks.0.attn.hook_z:1",),
    "a module": ("module:gpt_neox.layers.0.mlp",),
    "a module among others": ("blocks.0.hook_attn_out", "module:gpt_neox.layers.0.mlp"),
}


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


def rows(n_at_once):
    return [
        PlainRows(TOKENS[at : at + n_at_once], COUNTED[at : at + n_at_once], PREDICTED[at : at + n_at_once])
        for at in range(0, 4, n_at_once)
    ]


def in_place(values):
    """An edit that puts these at the counted tokens."""

    def edit(value):
        new = value.clone()
        new[COUNTED] = values
        return new

    return edit


def values_at(model, hooks):
    found = model.run(TOKENS, read=hooks, logits=False).values
    return torch.cat([found[hook][COUNTED] for hook in hooks], dim=-1)


@pytest.mark.parametrize("n_at_once", [1, 4])
@pytest.mark.parametrize("hooks", HOOKS.values(), ids=HOOKS)
def test_values_and_gradients_equal_those_of_whole_logits(model, hooks, n_at_once, monkeypatch):
    monkeypatch.setattr(spliced, "AT_ONCE", 5 * model.n_vocab)
    places = model.places([Hook(hook) for hook in hooks])
    x_hat = (0.8 * values_at(model, hooks)).requires_grad_()
    found = divergence(rows(n_at_once), places, x_hat)
    (3 * found).backward()
    slow = x_hat.detach().clone().requires_grad_()
    edits = {place.hook: in_place(slow[:, place.columns]) for place in places}
    q = model.run(TOKENS, edits=edits, grad=True).logits[:, :-1][PREDICTED]
    p = model.run(TOKENS).logits[:, :-1][PREDICTED].softmax(-1)
    expected = (p * (p.log() - q.log_softmax(-1))).sum()
    (3 * expected).backward()
    assert float(expected.detach()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(x_hat.grad, slow.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("n_at_once", [1, 4])
@pytest.mark.parametrize("hooks", HOOKS.values(), ids=HOOKS)
def test_the_gradient_of_the_loss_is_that_of_whole_logits(model, hooks, n_at_once, monkeypatch):
    monkeypatch.setattr(spliced, "AT_ONCE", 5 * model.n_vocab)
    places = model.places([Hook(hook) for hook in hooks])
    x = values_at(model, hooks)
    found = loss_gradient(rows(n_at_once), places, x)
    slow = x.clone().requires_grad_()
    edits = {place.hook: in_place(slow[:, place.columns]) for place in places}
    logits = model.run(TOKENS, edits=edits, grad=True).logits[:, :-1][PREDICTED]
    torch.nn.functional.cross_entropy(logits, TOKENS[:, 1:][PREDICTED], reduction="sum").backward()
    assert slow.grad.norm() > 0
    torch.testing.assert_close(found, slow.grad, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Three blocks."""
    return tiny_llama(tmp_path_factory.mktemp("deep"), 3, 0.3)


@pytest.mark.parametrize("n_at_once", [1, 4])
@pytest.mark.parametrize("weights", [Weights(0.5, 2.0), Weights(0.0, 1.0)])
def test_errors_of_later_streams_and_their_gradients_equal_those_of_whole_passes(deep, n_at_once, weights):
    tokens, hook = TOKENS % N_VOCAB, Hook("blocks.0.hook_mlp_out")
    parts = [slice(at, at + n_at_once) for at in range(0, 4, n_at_once)]
    some = [PlainRows(tokens[part], COUNTED[part], PREDICTED[part]) for part in parts]
    plain = deep.run(tokens, read=[hook, *STREAMS])
    x_hat = (0.7 * plain.values[hook][COUNTED]).requires_grad_()
    found = lost(some, deep.places([hook]), x_hat, weights)
    found.whole.backward()
    slow = x_hat.detach().clone().requires_grad_()

    def put(value):
        new = value.clone()
        new[COUNTED] = slow
        return new

    seen = deep.run(tokens, edits={hook: put}, read=STREAMS, grad=True)
    p = plain.logits[:, :-1][PREDICTED].softmax(-1)
    kl = (p * (p.log() - seen.logits[:, :-1][PREDICTED].log_softmax(-1))).sum()
    downstream = torch.zeros(())
    for stream in STREAMS:
        before, after = plain.values[stream][COUNTED], seen.values[stream][COUNTED]
        downstream = downstream + (after - before).square().sum() / before.var(0, correction=0).sum() / len(STREAMS)
    (weights.kl * kl + weights.downstream * downstream).backward()
    torch.testing.assert_close(found.downstream, downstream.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.kl, kl.detach(), rtol=1e-4, atol=1e-5)
    assert float(found.whole.detach()) == pytest.approx(
        weights.kl * float(found.kl) + weights.downstream * float(found.downstream), rel=1e-5
    )
    torch.testing.assert_close(x_hat.grad, slow.grad, rtol=1e-3, atol=1e-5)


def test_streams_behind_sites_are_those_that_come_later_and_are_none_of_them(deep):
    behind = lambda *hooks: streams_behind(deep, [Hook(hook) for hook in hooks])
    assert behind("blocks.0.hook_mlp_out") == STREAMS
    assert behind("blocks.0.hook_resid_post") == STREAMS[1:] == behind("blocks.1.hook_resid_pre")
    assert behind("blocks.0.hook_resid_post", "blocks.1.hook_resid_post") == STREAMS[2:]
    for none in ("blocks.2.hook_resid_post", "module:model.layers.0.mlp"):
        with pytest.raises(UserError, match="No residual stream"):
            behind(none)


def test_a_perfect_reconstruction_loses_nothing(model):
    hook = Hook(HOOKS["one"][0])
    found = divergence(rows(2), model.places([hook]), values_at(model, [hook]))
    assert abs(float(found)) < 1e-3


def test_the_undisturbed_pass_is_made_once_for_all_that_stands_at_one_place(model, monkeypatch):
    made, keep = [], model.passes.keep
    monkeypatch.setattr(model.passes, "keep", lambda *given, **options: made.append(1) or keep(*given, **options))
    places, shared = model.places([Hook(HOOKS["one"][0])]), rows(4)
    for by in (0.5, 0.9):
        divergence(shared, places, by * values_at(model, HOOKS["one"]))
    assert len(made) == 1


def test_sites_are_taken_in_the_order_of_the_pass(model):
    order = tuple(map(Hook, ("blocks.0.hook_attn_out", "blocks.0.hook_mlp_out")))
    assert first_of(model, order[::-1]) == order[0] == first_of(model, order)
    assert first_of(model, (*order, Hook("module:nobody.knows.where"))) is None


def test_columns_are_counted_from_where_a_part_begins(model):
    places = model.places([Hook("blocks.0.mlp.hook_post"), Hook("blocks.0.hook_mlp_out")])
    (place,) = places_in(places, slice(512, 640))
    assert (place.hook, place.columns) == ("blocks.0.hook_mlp_out", slice(0, 128))
    assert places_in(places, slice(None)) == places and places_in((), slice(None)) == []
