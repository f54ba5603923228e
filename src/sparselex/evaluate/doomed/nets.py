"""Small networks of one hidden layer that approximate functions of one number, many trained at once."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_LR = 0.01
_BATCH = 256


class Nets(NamedTuple):
    """`n` networks `y = relu(x W + b) V + c` of one number each."""

    W: Float[Tensor, "n units"]
    b: Float[Tensor, "n units"]
    V: Float[Tensor, "n units d_out"]
    c: Float[Tensor, "n d_out"]

    def hidden(self, x: Float[Tensor, "n batch"]) -> Float[Tensor, "n batch units"]:
        """Activations of the units."""
        return (x[..., None] * self.W[:, None] + self.b[:, None]).relu()

    def out(self, hidden: Float[Tensor, "n batch units"]) -> Float[Tensor, "n batch d_out"]:
        """What is read from them."""
        return torch.baddbmm(self.c[:, None], hidden, self.V)


def train_nets(
    of: Callable[[Float[Tensor, "n batch"]], Float[Tensor, "n batch d_out"]],
    n: int,
    n_units: int,
    n_steps: int,
    generator: torch.Generator,
    *,
    constant: bool = True,
) -> Nets:
    """Networks trained by Adam to compute `of` on numbers uniform from -1 to 1, with a learning rate that falls to 0.
    `of` gives the values of every network's functions; kinks start spread over the interval. Without a `constant`, `c`
    stays 0."""
    draw = lambda *shape: torch.randn(*shape, generator=generator)
    d_out = of(torch.zeros(n, 1)).shape[-1]
    W = draw(n, n_units)
    kinks = 2 * torch.rand(n, n_units, generator=generator) - 1
    nets = Nets(W, -W * kinks, draw(n, n_units, d_out) / n_units**0.5, torch.zeros(n, d_out))
    learnt = list(nets) if constant else list(nets[:3])
    for part in learnt:
        part.requires_grad_()
    adam = torch.optim.Adam(learnt, lr=_LR, betas=(0.9, 0.99))
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, n_steps)
    for _ in range(n_steps):
        x = 2 * torch.rand(n, _BATCH, generator=generator) - 1
        loss = (nets.out(nets.hidden(x)) - of(x)).square().mean((1, 2)).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        falling.step()
    return Nets(*(part.detach() for part in nets))
