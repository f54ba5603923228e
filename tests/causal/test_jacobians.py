"""Jacobians between latents around an MLP: the closed form against reverse-mode derivatives of the whole function."""

import pytest
import torch
from torch.func import jacrev

from sparselex.causal.jacobians import Active, LatentMlp
from sparselex.dictionaries.codes import Codes
from sparselex.lm.mlps import Formula, derivative

ACTIVATIONS = {
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
    "squared": lambda x: torch.relu(x).square(),
}


def drawn(activation="gelu", *, gated=False, d=6, d_mlp=11, seed=0):
    """An MLP and two dictionaries around it, float64."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    gate = (draw(d, d_mlp), draw(d_mlp)) if gated else None
    mlp = Formula(ACTIVATIONS[activation], draw(d, d_mlp), draw(d_mlp), draw(d_mlp, d), draw(d), gate)
    return mlp, draw(9, d), draw(8, d), draw(d)


def codes_of(lists, d_sae):
    rows = torch.tensor([row for row, latents in enumerate(lists) for _ in latents])
    latents = torch.tensor([latent for latents in lists for latent in latents])
    values = torch.linspace(0.5, 2.0, len(rows), dtype=torch.float64)
    return Codes.from_pairs(rows, latents, values, len(lists), d_sae)


BEFORE, BEHIND = [[0, 3, 8], [2], [1, 4, 5, 7]], [[5, 1], [0, 2, 7], [3]]


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_is_the_derivative_of_the_whole_function(activation, gated):
    """From activations of the latents that are active, by decoder, MLP and encoder, to pre-activations of those that
    are active behind it."""
    mlp, writes, reads, b_dec = drawn(activation, gated=gated)
    codes, later = codes_of(BEFORE, len(writes)), codes_of(BEHIND, len(reads))
    x_hat = codes.dense() @ writes + b_dec
    found = LatentMlp.of(mlp, writes, reads).jacobians(x_hat, Active.of(codes), Active.of(later))
    for row, (sources, targets) in enumerate(zip(BEFORE, BEHIND, strict=True)):
        values = codes.dense()[row, sources]
        whole = jacrev(lambda acts, s=sources, t=targets: mlp.of((acts @ writes[s] + b_dec)[None])[0] @ reads[t].T)
        entries = found.entries[row, : len(targets), : len(sources)]
        torch.testing.assert_close(entries, whole(values), rtol=1e-10, atol=1e-12)
        assert int(found.there[row].sum()) == len(sources) * len(targets)
        assert not found.entries[row][~found.there[row]].any()
    n = sum(len(s) * len(t) for s, t in zip(BEFORE, BEHIND, strict=True))
    assert float(found.mean_size()) == pytest.approx(float(found.entries.abs().sum()) / n, rel=1e-12)


@pytest.mark.parametrize("gated", [False, True])
def test_its_gradients_are_those_of_the_slow_way(gated):
    """Of the mean size, by what latents write, what they read and where the MLP stands: second derivatives too."""
    mlp, writes, reads, b_dec = drawn("gelu", gated=gated)
    codes, later = codes_of(BEFORE, len(writes)), codes_of(BEHIND, len(reads))
    leaves = [tensor.requires_grad_() for tensor in (writes, reads, b_dec)]

    def quick():
        x_hat = codes.dense() @ writes + b_dec
        return LatentMlp.of(mlp, writes, reads).jacobians(x_hat, Active.of(codes), Active.of(later)).mean_size()

    def slow():
        sizes = []
        for row, (sources, targets) in enumerate(zip(BEFORE, BEHIND, strict=True)):
            acts = codes.dense()[row, sources].clone().requires_grad_()
            pre = mlp.of((acts @ writes[sources] + b_dec)[None])[0] @ reads[targets].T
            sizes += [torch.autograd.grad(one, acts, create_graph=True)[0].abs() for one in pre]
        return torch.cat(sizes).mean()

    torch.testing.assert_close(quick(), slow())
    for one, other in zip(torch.autograd.grad(quick(), leaves), torch.autograd.grad(slow(), leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_tokens_without_active_latents_have_no_entries():
    mlp, writes, reads, b_dec = drawn("relu")
    codes, later = codes_of([[], [1]], len(writes)), codes_of([[2], []], len(reads))
    found = LatentMlp.of(mlp, writes, reads).jacobians(b_dec.expand(2, -1), Active.of(codes), Active.of(later))
    assert not found.there.any() and float(found.mean_size()) == 0


def test_a_derivative_without_gradients_asks_for_none():
    x = torch.linspace(-2, 2, 7, dtype=torch.float64)
    with torch.no_grad():
        slope = derivative(torch.nn.functional.silu, x)
    assert not slope.requires_grad and not x.requires_grad
    s = torch.sigmoid(x)
    torch.testing.assert_close(slope, s * (1 + x * (1 - s)))
