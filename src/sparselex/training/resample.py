"""Resampling of dead latents on the tokens that are reconstructed worst."""

import torch
from torch import Tensor

from sparselex.training.adam import Adam
from sparselex.training.step import Step


@torch.no_grad()
def resample(step: Step, optimiser: Adam, generator: torch.Generator) -> Tensor:
    """Point every dead latent at a token of the batch, drawn with a probability proportional to its squared loss
    (Bricken et al. 2023, Towards Monosemanticity, appendix).

    What is replaced of a latent, and by what, its type says (`revive`); Adam forgets those rows. Returns the latents
    that were resampled. Several processes draw for all dead latents from the whole batch, each with the same generator,
    and each takes what was drawn for its own.
    """
    dictionary, dead, ranks = step.dictionary, step.dead, step.dictionary.ranks
    first, n_dead = ranks.place_in_latents(len(dead), dead.device)
    if not n_dead:
        return dead
    loss = ranks.gather_data((step.target - step.x_hat).square().sum(-1))
    chances = (loss.square() + torch.finfo(loss.dtype).tiny).to(generator.device)
    drawn = torch.multinomial(chances, n_dead, replacement=True, generator=generator).to(loss.device)
    drawn = drawn[first : first + len(dead)]
    x = ranks.gather_data(step.x)
    wanted = ranks.gather_data(step.target if step.bypass is None else step.target - step.bypass)
    for parameter, dim in dictionary.revive(dead, x[drawn], wanted[drawn], x.mean(0)):
        optimiser.forget(parameter, dim, dead)
    return dead
