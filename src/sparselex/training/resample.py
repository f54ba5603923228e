"""Resampling of dead latents on the tokens that are reconstructed worst."""

import torch
from torch import Tensor

from sparselex.dictionaries.dictionary import EncoderDictionary, unit
from sparselex.training.step import Step


@torch.no_grad()
def resample(step: Step, optimiser: torch.optim.Optimizer, generator: torch.Generator) -> Tensor:
    """Point every dead latent at a token of the batch, drawn with a probability proportional to its squared loss.

    The decoder row becomes the direction of the token's target (less `b_dec`, on top of which latents write), the
    encoder that of the token at 0.2 times the mean norm of living latents, the bias 0 (of a transcoder: what centres
    the data), and Adam forgets those rows (Bricken et al. 2023, Towards Monosemanticity, appendix). A type without an
    encoder has its decoder rows replaced. Returns the latents that were resampled. Several processes draw for all dead
    latents from the whole batch, each with the same generator, and each takes what was drawn for its own.
    """
    dictionary, dead, ranks = step.dictionary, step.dead, step.dictionary.ranks
    first, n_dead = ranks.place_in_latents(len(dead), dead.device)
    if not n_dead:
        return dead
    loss = ranks.gather_data((step.target - step.x_hat).square().sum(-1))
    chances = (loss.square() + torch.finfo(loss.dtype).tiny).to(generator.device)
    drawn = torch.multinomial(chances, n_dead, replacement=True, generator=generator).to(loss.device)
    drawn = drawn[first : first + len(dead)]
    wanted = ranks.gather_data(step.target if step.bypass is None else step.target - step.bypass)
    dictionary.W_dec[dead] = unit(wanted[drawn] - dictionary.b_dec)
    replaced = [(dictionary.W_dec, 0)]
    if isinstance(dictionary, EncoderDictionary):
        alive = torch.ones(dictionary.d_sae, dtype=torch.bool, device=dead.device)
        alive[dead] = False
        norms, x = dictionary.W_enc.norm(dim=0), ranks.gather_data(step.x)
        if n_dead == dictionary.config.d_sae:
            alive[:] = True
        size = 0.2 * float(ranks.over_latents(norms[alive].sum()) / ranks.over_latents(alive.sum()))
        # A transcoder does not subtract its centre: its bias does.
        centre = dictionary.centre if dictionary.is_autoencoder else x.mean(0)
        dictionary.W_enc[:, dead] = size * unit(x[drawn] - centre).T
        dictionary.b_enc[dead] = 0 if dictionary.is_autoencoder else -(centre @ dictionary.W_enc[:, dead])
        replaced += [(dictionary.W_enc, 1), (dictionary.b_enc, 0)]
    for parameter, dim in replaced:
        for moment in ("exp_avg", "exp_avg_sq"):
            if parameter in optimiser.state:
                optimiser.state[parameter][moment].index_fill_(dim, dead, 0)
    return dead
