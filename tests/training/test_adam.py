"""Our Adam against clipping, projection, torch's Adam and norms one after another.

`tests/dictionaries/test_product_kernels.py` runs this file once more in Triton's interpreter, where matrices go by the
kernel.
"""

import os

import pytest
import torch

from sparselex.training import adam as module
from sparselex.training.adam import Adam
from sparselex.training.decoder import normalise, project_out

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
GPU = torch.cuda.is_available() and not INTERPRETED
DEVICE = "cuda" if GPU else "cpu"


@pytest.fixture(autouse=True)
def with_kernels(monkeypatch):
    if INTERPRETED:
        from sparselex.dictionaries.sparse import product_kernels as kernels

        monkeypatch.setattr(module, "kernels_for", lambda table: kernels if table.dtype == torch.float32 else None)


def parameters(dtype):
    generator = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=generator).to(DEVICE, dtype)
    W_dec, W_enc = torch.nn.Parameter(normal(9, 20)), torch.nn.Parameter(normal(9, 20).T)
    normalise(W_dec)
    return [W_dec, W_enc, torch.nn.Parameter(normal(9))]


def gradients(n_steps):
    generator = torch.Generator().manual_seed(1)
    for step in range(n_steps):
        yield [torch.randn(shape, generator=generator) * 10 ** (step - 1) for shape in ((9, 20), (20, 9), (9,))]


def give(tensors, found):
    for parameter, gradient in zip(tensors, found, strict=True):
        parameter.grad = torch.empty_like(parameter).copy_(gradient)  # laid out as autograd makes it


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("unit", [False, True])
def test_a_step_equals_the_passes_one_after_another(unit, dtype):
    ours, theirs = parameters(dtype), parameters(dtype)
    groups = [{"params": ours[:1], "unit_rows": unit}, {"params": ours[1:2]}, {"params": ours[2:], "lr": 0.5}]
    optimiser = Adam(groups, lr=1e-2)
    reference = torch.optim.Adam([{"params": theirs[:2]}, {"params": theirs[2:], "lr": 0.5}], lr=1e-2, fused=True)
    for found in gradients(3):
        give(ours, found)
        give(theirs, found)
        expected = torch.nn.utils.clip_grad_norm_(theirs, 5.0)
        if unit:
            project_out(theirs[0])
        reference.step()
        if unit:
            normalise(theirs[0])
        norm = optimiser.gradient_norm()
        torch.testing.assert_close(norm, expected)
        optimiser.clipped_step(norm, 5.0)
        assert all(parameter.grad is not None for parameter in ours)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
        for name, value in reference.state[other].items():
            torch.testing.assert_close(optimiser.state[mine][name], value, rtol=1e-5, atol=1e-6)
            assert optimiser.state[mine][name].stride() == value.stride()


def test_the_state_of_torchs_adam_is_taken_over():
    """As after loading a checkpoint: the moments and the number of steps are those of another optimiser."""
    ours, theirs = parameters(torch.float32), parameters(torch.float32)
    optimiser, reference = Adam(ours, lr=1e-2), torch.optim.Adam(theirs, lr=1e-2, fused=True)
    for step, found in enumerate(gradients(4)):
        give(theirs, found)
        reference.step()
        if step < 2:
            for mine, other in zip(ours, theirs, strict=True):
                mine.data.copy_(other)
                optimiser.state[mine] = {name: value.clone() for name, value in reference.state[other].items()}
        else:
            give(ours, found)
            optimiser.clipped_step(optimiser.gradient_norm(), 1e9)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not (INTERPRETED or GPU), reason="the kernel runs in the interpreter's process")
def test_matrices_really_go_by_the_kernel(monkeypatch):
    calls, kernels = [], module.kernels_for(torch.zeros(1, 1, device=DEVICE))
    plain = kernels.adam_rows
    monkeypatch.setattr(kernels, "adam_rows", lambda *tensors, **options: (calls.append(1), plain(*tensors, **options)))
    ours = parameters(torch.float32)
    give(ours, next(gradients(1)))
    optimiser = Adam(ours)
    optimiser.clipped_step(optimiser.gradient_norm(), 1.0)
    assert len(calls) == 2
