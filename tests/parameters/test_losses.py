"""The losses of stochastic parameter decomposition against a slow version that is written down entry by entry."""

import math

import pytest
import torch
from torch import nn

from sparselex.parameters.components import Components
from sparselex.parameters.config import SpdConfig
from sparselex.parameters.gates import importance, leaky_above, leaky_below
from sparselex.parameters.losses import Losses, draw, losses
from sparselex.parameters.toys.tms import Tms

N, N_FEATURES, D_HIDDEN, N_COMPONENTS = 6, 4, 3, 5


@pytest.fixture(params=[1.0, 2.0, 0.5], ids=lambda p: f"p={p:g}")
def problem(request):
    """A toy of random weights in float64 with components whose gates lie below 0, above 1 and in between."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(D_HIDDEN, N_FEATURES, generator=generator, dtype=torch.float64)
    target = Tms(weight, torch.full((N_FEATURES,), 0.1, dtype=torch.float64), identity=True)
    parts = {
        name: Components(one, torch.randn(N_COMPONENTS, one.shape[1], generator=generator).double(), 3, generator)
        for name, one in target.weights.items()
    }
    with torch.no_grad():
        for one in parts.values():
            one.gate_out_bias.copy_(torch.linspace(-0.5, 1.2, N_COMPONENTS))
            one.U.add_(0.1 * torch.randn(one.U.shape, generator=generator, dtype=torch.float64))
    x = torch.rand(N, N_FEATURES, generator=generator, dtype=torch.float64)
    config = SpdConfig(p=request.param, minimality=0.3, faithfulness=0.7, stochastic=1.1, layerwise=0.9)
    return target, x, parts, draw(parts, N, generator), config


def slow_gate(one: Components, h, c):
    """What one network makes of one number."""
    gelu = lambda value: value * (1 + torch.erf(value / math.sqrt(2))) / 2
    hidden = [gelu(h * one.gate_in[c, i] + one.gate_in_bias[c, i]) for i in range(one.gate_in.shape[1])]
    return sum(value * one.gate_out[c, i] for i, value in enumerate(hidden)) + one.gate_out_bias[c]


def slow_run(target: Tms, row, matrices):
    inputs = {}
    for name, weight in target.weights.items():
        inputs[name] = row
        row = matrices.get(name, weight) @ row
    return torch.clamp(row + target.bias, min=0), inputs


def slow_losses(target: Tms, x, parts, draws, config) -> Losses:
    """Row by row and component by component."""
    n_entries = sum(weight.numel() for weight in target.weights.values())
    faithful = sum(
        ((weight - sum(torch.outer(parts[name].U[c], parts[name].V[c]) for c in range(N_COMPONENTS))) ** 2).sum()
        for name, weight in target.weights.items()
    )
    together, alone, penalty = [], [], []
    for row in range(len(x)):
        there, inputs = slow_run(target, x[row], {})
        gates = {
            name: [slow_gate(one, one.V[c] @ inputs[name], c) for c in range(N_COMPONENTS)]
            for name, one in parts.items()
        }

        def masked(name, drawn, gates=gates, row=row):
            total = 0
            for c, gate in enumerate(gates[name]):
                g = 0.01 * gate if gate < 0 else torch.clamp(gate, max=1)
                total = total + (g + (1 - g) * drawn[name][row, c]) * torch.outer(parts[name].U[c], parts[name].V[c])
            return total

        moved = lambda matrices, row=row, there=there: ((slow_run(target, x[row], matrices)[0] - there) ** 2).mean()
        together.append(moved({name: masked(name, draws.together) for name in parts}))
        alone += [moved({name: masked(name, draws.alone)}) for name in parts]
        for gate in (gate for each in gates.values() for gate in each):
            g = 1 + 0.01 * (gate - 1) if gate > 1 else torch.clamp(gate, min=0)
            penalty.append(g**config.p if gate > 0 else 0 * gate)
    mean = lambda values: sum(values) / len(values)
    return Losses(faithful / n_entries, mean(together), mean(alone), sum(penalty) / len(x))


@pytest.mark.parametrize("name", Losses._fields)
def test_each_loss_and_its_gradients_are_those_of_the_slow_version(problem, name):
    target, x, parts, draws, config = problem
    every = nn.ModuleDict(parts)
    found = []
    for made in (losses(target, x, parts, draws, config), slow_losses(target, x, parts, draws, config)):
        value = getattr(made, name)
        slopes = torch.autograd.grad(value, list(every.parameters()), allow_unused=True)
        found.append((value.detach(), [torch.zeros(()) if slope is None else slope for slope in slopes]))
    (fast, fast_slopes), (slow, slow_slopes) = found
    assert torch.allclose(fast, slow, rtol=1e-7)  # of powers below 1 the fast one keeps a distance from 0
    assert any(slope.abs().max() > 0 for slope in slow_slopes)
    for (parameter, _), one, other in zip(every.named_parameters(), fast_slopes, slow_slopes, strict=True):
        assert torch.allclose(one, other.expand_as(one), rtol=1e-6, atol=1e-9), parameter


def test_the_whole_loss_weighs_its_parts(problem):
    target, x, parts, draws, config = problem
    found = losses(target, x, parts, draws, config)
    wanted = 0.7 * found.faithfulness + 1.1 * found.stochastic + 0.9 * found.layerwise + 0.3 * found.minimality
    assert torch.allclose(found.weighted(config), wanted)


@pytest.mark.parametrize("name", ["stochastic", "layerwise"])
def test_a_loss_of_no_weight_is_not_computed(problem, name):
    target, x, parts, draws, config = problem
    assert getattr(losses(target, x, parts, draws, config.model_copy(update={name: 0.0})), name) == 0


def test_sigmoids_leak_on_their_own_side():
    gates = torch.tensor([-2.0, 0.0, 0.25, 1.0, 3.0])
    assert torch.allclose(leaky_below(gates), torch.tensor([-0.02, 0.0, 0.25, 1.0, 1.0]))
    assert torch.allclose(leaky_above(gates), torch.tensor([0.0, 0.0, 0.25, 1.0, 1.02]))
    assert torch.equal(importance(gates), torch.tensor([0.0, 0.0, 0.25, 1.0, 1.0]))


@pytest.mark.parametrize("n_components", [4, 9])
def test_components_begin_as_the_matrix_itself_where_there_are_enough(n_components):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, generator=generator)
    assert torch.allclose(
        Components(weight, torch.randn(n_components, 4, generator=generator), 2, generator).total(), weight, atol=1e-5
    )


def test_too_few_components_begin_as_near_as_their_inputs_allow():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, generator=generator)
    made = Components(weight, torch.randn(2, 4, generator=generator), 2, generator)
    rest = weight - made.total()
    assert rest.norm() > 0.1
    assert torch.allclose(rest @ made.V.T, torch.zeros(6, 2), atol=1e-5)  # nothing is left that these inputs reach


def test_where_nothing_is_drawn_masks_are_importances(problem):
    parts = problem[2]
    draws = draw(parts, 200, torch.Generator().manual_seed(0), 0.25)
    for those in draws:
        bare = torch.stack([(one == 0).all(-1) for one in those.values()])
        assert (bare == bare[0]).all() and 0.15 < bare[0].double().mean() < 0.35
    assert all((one > 0).all() for one in draw(parts, 20, torch.Generator().manual_seed(0)).together.values())
