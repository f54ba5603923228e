"""What is logged of a step, and of held-out activations."""

import torch
from torch import Tensor

from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.training.step import Step


@torch.no_grad()
def step_figures(step: Step, loss: Tensor) -> dict[str, float]:
    """Loss, L0, FVU and the share of dead latents, those of all processes together; `loss` is this one's."""
    ranks, n_here = step.dictionary.ranks, len(step.x)
    n = int(ranks.over_data(torch.tensor(n_here, device=step.x.device)))
    n_dead = step.codes.values.new_tensor(len(step.dead)).long()
    active, dead = ranks.total(torch.stack([step.codes.values.count_nonzero(), n_dead]))
    return {
        "loss": float(ranks.over_data(loss * n_here)) / n,
        "l0": int(active) / n,
        "fvu": fvu(step.x_hat, step.target, ranks),
        "dead_share": int(dead) / ranks.n_data / step.dictionary.config.d_sae,
    }


@torch.no_grad()
def held_out_figures(dictionary: TrainableDictionary, x: Tensor, target: Tensor) -> dict[str, float]:
    """L0 and FVU of scaled activations, coded as after training; every process has all of them."""
    codes, past = dictionary.encode_sparse(x), dictionary.bypass(x)
    n_active = dictionary.ranks.over_latents(torch.tensor(float(len(codes.indices)), device=x.device))
    x_hat = dictionary.training_decode(codes)
    return {
        "validation_l0": float(n_active) / len(x),
        "validation_fvu": fvu(x_hat if past is None else x_hat + past, target),
    }


def fvu(x_hat: Tensor, target: Tensor, ranks: Ranks = ALONE) -> float:
    """Fraction of the target's variance that is left unexplained, over the tokens of all processes that share a
    batch."""
    residual = ranks.over_data((x_hat - target).square().sum()).item()
    n = ranks.over_data(torch.tensor(float(len(target)), device=target.device))
    mean = ranks.over_data(target.sum(0)) / n
    spread = ranks.over_data((target - mean).square().sum()).item()
    return residual / spread if spread else 0.0
