"""The masks that move the output most, where it is known which these are."""

import pytest
import torch

from sparselex.parameters.adversary import worst_masks
from sparselex.parameters.components import Components
from sparselex.parameters.toys.tms import EMBED, UNEMBED, Tms

N = 8


@pytest.fixture
def planted():
    """A toy whose first matrix is two components that cancel, and one that is the matrix: masking one of the two and
    not the other moves the output, masking both does not."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    target = Tms(weight, torch.full((2,), 9.0), identity=False)  # far from where the ReLU is flat
    parts = {
        name: Components(one, torch.randn(4, 2, generator=generator), 2, generator)
        for name, one in target.weights.items()
    }
    with torch.no_grad():
        parts[EMBED].V.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]))
        parts[EMBED].U.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 5.0], [0.0, -5.0]]))
    x = torch.rand(N, 2, generator=generator) + 0.5
    gates = {EMBED: torch.tensor([2.0, 2.0, -1.0, -1.0]).expand(N, 4), UNEMBED: torch.ones(N, 4)}
    return target, x, target.run(x, {}), parts, gates


@pytest.mark.parametrize("shared", [False, True])
def test_the_worst_masks_are_found(planted, shared):
    target, x, there, parts, gates = planted
    found = worst_masks(target, x, there, parts, gates, torch.Generator().manual_seed(1), shared=shared)
    masks = found.masks[EMBED]
    assert masks.shape == (1 if shared else N, 4)
    # One of the two is kept whole and the other taken out, whichever it is.
    assert torch.allclose((masks[:, 2] - masks[:, 3]).abs(), torch.ones(len(masks)))
    assert torch.allclose(found.distance, (5 * x[:, 0]).square() / 2, rtol=1e-4)


def test_more_steps_never_find_less_and_none_are_random_masks(planted):
    target, x, there, parts, gates = planted
    reached = [
        worst_masks(target, x, there, parts, gates, torch.Generator().manual_seed(1), n_steps=n, step=0.05).distance
        for n in (0, 3, 30)
    ]
    assert (reached[1] >= reached[0]).all() and (reached[2] >= reached[1]).all()
    assert reached[2].mean() > 1.5 * reached[0].mean()


def test_what_is_important_is_never_masked(planted):
    target, x, there, parts, _ = planted
    gates = {name: torch.full((N, 4), 1.5) for name in parts}
    found = worst_masks(target, x, there, parts, gates, torch.Generator().manual_seed(1))
    assert torch.allclose(found.distance, torch.zeros(N), atol=1e-8)
