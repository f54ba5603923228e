"""Divergences of spliced reconstructions: the model's own, with autograd's gradients, in parts as in one."""

import pytest
import torch

from sparselex.base.sites import Hook
from sparselex.causal import spliced
from sparselex.causal.spliced import PlainRows, divergence, first_of, places_in
from sparselex.lm.load import load_model

GENERATOR = torch.Generator().manual_seed(0)
TOKENS = torch.randint(1, 4096, (4, 12), generator=GENERATOR)
COUNTED = torch.rand(4, 12, generator=GENERATOR) < 0.7
COUNTED[2] = False
PREDICTED = torch.rand(4, 11, generator=GENERATOR) < 0.8
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

    def put(place):
        def edit(value):
            new = value.clone()
            new[COUNTED] = slow[:, place.columns]
            return new

        return edit

    q = model.run(TOKENS, edits={place.hook: put(place) for place in places}, grad=True).logits[:, :-1][PREDICTED]
    p = model.run(TOKENS).logits[:, :-1][PREDICTED].softmax(-1)
    expected = (p * (p.log() - q.log_softmax(-1))).sum()
    (3 * expected).backward()
    assert float(expected.detach()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(x_hat.grad, slow.grad, rtol=1e-3, atol=1e-5)


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
