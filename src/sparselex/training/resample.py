"""Resampling of dead latents on the tokens that are reconstructed worst."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.training.adam import Adam
from sparselex.training.step import Step


class Candidates(NamedTuple):
    """Tokens that latents may be resampled to."""

    x: Float[Tensor, "n d_in"]
    """What each reads, scaled."""

    wanted: Float[Tensor, "n d_out"]
    """What the latents are to give for it, scaled."""

    loss: Float[Tensor, " n"]
    """Squared error of its reconstruction, summed over `d_out`."""

    @classmethod
    def of(cls, step: Step) -> "Candidates":
        """The tokens of a step, those of all processes that share its batch."""
        ranks = step.dictionary.ranks
        return cls(
            ranks.gather_data(step.x),
            ranks.gather_data(step.target if step.bypass is None else step.target - step.bypass),
            ranks.gather_data((step.target - step.x_hat).square().sum(-1)),
        )

    @classmethod
    def join(cls, parts: "Sequence[Candidates]") -> "Candidates":
        """All of several batches, at least one."""
        return cls(*(torch.cat(fields) for fields in zip(*parts, strict=True)))

    def draw(self, n: int, generator: torch.Generator) -> Int[Tensor, " n"]:
        """Numbers of `n` of them, each drawn by itself with a probability proportional to its squared loss. Those whose
        loss is no number are never drawn: training refuses them when it comes to them."""
        squares = torch.where(torch.isfinite(self.loss), self.loss, 0).double().square()
        chances = (squares + torch.finfo(squares.dtype).tiny).to(generator.device)
        return torch.multinomial(chances, n, replacement=True, generator=generator).to(self.loss.device)


@torch.no_grad()
def resample(
    dictionary: TrainableDictionary, dead: Tensor, among: Candidates, optimiser: Adam, generator: torch.Generator
) -> Tensor:
    """Point every latent of `dead` at a token, drawn with a probability proportional to its squared loss (Bricken et
    al. 2023, Towards Monosemanticity, appendix).

    What is replaced of a latent, and by what, its type says (`revive`); Adam forgets those rows. Returns the latents
    that were resampled. Several processes draw for all dead latents from all candidates, each with the same generator,
    and each takes what was drawn for its own.
    """
    first, n_dead = dictionary.ranks.place_in_latents(len(dead), dead.device)
    if not n_dead:
        return dead
    drawn = among.draw(n_dead, generator)[first : first + len(dead)]
    for parameter, dim in dictionary.revive(dead, among.x[drawn], among.wanted[drawn], among.x.mean(0)):
        optimiser.forget(parameter, dim, dead)
    return dead
