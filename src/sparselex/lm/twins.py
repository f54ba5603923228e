"""Twins: the same architecture with weights that were not learned.

Heap et al. 2025 (arXiv:2501.17727) found that dictionaries of random transformers can score well; so every figure of
a dictionary needs the same figure on a twin. Each twin is a function of the model and a seed, in place.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sparselex.base.seeds import derive


def reinitialise(model: nn.Module, seed: int) -> None:
    """Draw all weights anew by the architecture's own rule: the model at step 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "reinitialised"))
        fresh = type(model)(model.config)
    model.load_state_dict(fresh.state_dict())


def permute(model: nn.Module, seed: int) -> None:
    """Shuffle the entries inside each tensor: every weight kept, every structure lost."""
    for name, weight in _weights(model):
        order = torch.randperm(weight.numel(), generator=_generator(seed, "permuted", name))
        weight.copy_(weight.flatten()[order.to(weight.device)].view_as(weight))


def gaussian(model: nn.Module, seed: int) -> None:
    """Draw each tensor from the normal distribution with its mean and standard deviation, embeddings included."""
    _draw_normal(model, seed, None)


def gaussian_kept(model: nn.Module, seed: int) -> None:
    """The same with the embedding of tokens as it was learned: what is left of it is how words lie to each other."""
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    _draw_normal(model, seed, embedding.weight)


def _draw_normal(model: nn.Module, seed: int, kept: Tensor | None) -> None:
    for name, weight in _weights(model):
        if kept is not None and weight.data_ptr() == kept.data_ptr():
            continue
        noise = torch.randn(weight.shape, generator=_generator(seed, "gaussian", name))
        std = weight.float().std(correction=0)
        weight.copy_(weight.float().mean() + std * noise.to(weight.device))


TWINS: dict[str, Callable[[nn.Module, int], None]] = {
    "reinitialised": reinitialise,
    "permuted": permute,
    "gaussian": gaussian,
    "gaussian_kept": gaussian_kept,
}


def _weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    # Tied tensors appear once, so they stay tied.
    return ((name, parameter.data) for name, parameter in model.named_parameters())


def _generator(seed: int, *purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, *purpose))
