"""The toy model of superposition (Elhage et al. 2022, arXiv:2209.10652): more sparse features than dimensions."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sparselex.base.seeds import derive
from sparselex.parameters.target import LinearMap, Ran
from sparselex.parameters.toys.config import TmsConfig

EMBED, IDENTITY, UNEMBED = "embed", "identity", "unembed"
"""Its matrices: `W`, the identity that is inserted, and `Wᵀ`."""


class Tms:
    """`relu(Wᵀ I W x + b)` with `W [d_hidden, n_features]`: what is read and what is written are the same matrix, and
    `I` is there where it was asked for. It is decomposed as two or three matrices that know nothing of each other."""

    def __init__(
        self, weight: Float[Tensor, "d_hidden n_features"], bias: Float[Tensor, " n_features"], *, identity: bool
    ):
        self.bias = bias
        self.weights: dict[str, Tensor] = {EMBED: weight}
        if identity:
            self.weights[IDENTITY] = torch.eye(len(weight), dtype=weight.dtype)
        self.weights[UNEMBED] = weight.T.contiguous()

    def run(self, x: Float[Tensor, "n n_features"], maps: Mapping[str, LinearMap]) -> Ran:
        """Run with some of the matrices replaced."""
        inputs = {}
        for name, weight in self.weights.items():
            inputs[name] = x
            x = maps[name](x) if name in maps else x @ weight.T
        return Ran(functional.relu(x + self.bias), inputs)

    def distance(self, output: Float[Tensor, "n d"], reference: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Squared difference, mean over features."""
        return (output - reference).square().mean(-1)


def draw_features(n: int, config: TmsConfig, generator: torch.Generator) -> Float[Tensor, "n n_features"]:
    """Inputs whose features are active independently, each uniform between 0 and 1 where it is."""
    shape = n, config.n_features
    active = torch.rand(shape, generator=generator) < config.probability
    return torch.rand(shape, generator=generator) * active


def draw_active(n: int, config: TmsConfig, generator: torch.Generator) -> Float[Tensor, "n n_features"]:
    """Inputs of which at least one feature is active, otherwise like those of `draw_features`.

    A decomposition learns nothing from an input of zeros, where no component writes anything, and of few features most
    inputs are: 77 in 100 of five. All losses but faithfulness grow by the same factor without them.
    """
    share = 1 - (1 - config.probability) ** config.n_features
    found, n_found = list[Tensor](), 0
    while n_found < n:
        x = draw_features(int(1.2 * (n - n_found) / share) + 8, config, generator)
        found.append(x[x.any(-1)])
        n_found += len(found[-1])
    return torch.cat(found)[:n]


def train_tms(config: TmsConfig, seed: int) -> Tms:
    """A toy that was trained to give back what it reads, by AdamW and a rate that falls to 0 along a half cosine. With
    `n_steps=0` it is as it was drawn."""
    generator = torch.Generator().manual_seed(derive(seed, "toy"))
    weight = torch.randn(config.d_hidden, config.n_features, generator=generator) / config.d_hidden**0.5
    weight.requires_grad_()
    bias = torch.zeros(config.n_features, requires_grad=True)
    optimiser = torch.optim.AdamW([weight, bias], lr=config.lr, weight_decay=config.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, config.n_steps))
    for _ in range(config.n_steps):
        x = draw_features(config.batch_size, config, generator)
        loss = (functional.relu(x @ weight.T @ weight + bias) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return Tms(weight.detach(), bias.detach(), identity=config.identity)
