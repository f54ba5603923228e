"""Twins: the same architecture with weights that were not learned.

Heap et al. 2025 (arXiv:2501.17727) found that dictionaries of random transformers can score well; so every figure of
a dictionary needs the same figure on a twin. Each twin is a function of the model and a seed, in place. Of `redrawn`
alone they found scores at chance, which shows that a score can fail.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
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


def redrawn(model: nn.Module, seed: int) -> None:
    """Draw what stands for a token anew wherever it stands, from the normal distribution with the mean and standard
    deviation of all embeddings; every other weight stays. Nothing says any more what a token is, so whatever scores a
    feature by the text must come out at chance."""
    tokens: Any = model.get_input_embeddings()  # type: ignore[operator]
    model.set_input_embeddings(Redrawn(tokens, derive(seed, "redrawn")))  # type: ignore[operator]


class Redrawn(nn.Module):
    """An embedding that gives noise: numbers that only the row up to a token and the seed decide, so that the same
    row reads the same in every pass, and no token has the same twice but where rows begin alike."""

    weight: nn.Parameter
    key: Tensor

    def __init__(self, tokens: nn.Module, seed: int):
        """`tokens` is the learned embedding: unembeddings that are tied to its weight stay what they are."""
        super().__init__()
        self.weight = tokens.weight  # type: ignore[assignment]
        with torch.no_grad():
            parts = [tokens(part).double() for part in torch.arange(len(self.weight)).split(4096)]
            given = torch.cat(parts)
            self.width, self.mean, self.std = given.shape[1], float(given.mean()), float(given.std(correction=0))
        self.register_buffer("key", torch.tensor(seed))

    def forward(self, input_ids: Int[Tensor, "batch ctx"]) -> Float[Tensor, "batch ctx d_model"]:
        """Noise in the place of the embeddings of these tokens, which begin their rows."""
        ids = input_ids.to(torch.int64)
        places = torch.arange(ids.shape[-1], device=ids.device)
        # A sum over the row so far, modulo 2^64, of what each place makes of its token.
        row = _mixed(_mixed(ids + self.key) + places).cumsum(-1)
        bits = _mixed(row[..., None] + _STEP * torch.arange(1, self.width + 1, device=ids.device))
        uniform = ((bits >> 40) & (2**24 - 1)).double().add_(0.5).div_(2**24)
        return torch.special.ndtri(uniform).mul_(self.std).add_(self.mean).to(self.weight.dtype)


_STEP = -7046029254386353131
"""2^64 over the golden ratio, odd, as a signed number: multiples of it are spread evenly."""


def _mixed(x: Tensor) -> Tensor:
    """Each whole number as another one that tells nothing of it: the last step of SplitMix64 (Steele, Lea and Flood
    2014), of which every bit depends on every bit."""
    x = (x ^ ((x >> 30) & (2**34 - 1))) * -4658895280553007687
    x = (x ^ ((x >> 27) & (2**37 - 1))) * -7723592293110705685
    return x ^ ((x >> 31) & (2**33 - 1))


TWINS: dict[str, Callable[[nn.Module, int], None]] = {
    "reinitialised": reinitialise,
    "permuted": permute,
    "gaussian": gaussian,
    "gaussian_kept": gaussian_kept,
    "redrawn": redrawn,
}


def _weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    # Tied tensors appear once, so they stay tied.
    return ((name, parameter.data) for name, parameter in model.named_parameters())


def _generator(seed: int, *purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, *purpose))
