"""Terms of the loss. Each is a function of a `Step`; squared errors are summed over `d_out` and averaged over
tokens."""

import torch
from torch import Tensor

from sparselex.dictionaries.sparse.products import decode_at, pair_dots
from sparselex.dictionaries.trainable import Select
from sparselex.training.step import Step


def reconstruction(step: Step) -> Tensor:
    """Squared error of the reconstruction."""
    return (step.x_hat - step.target).square().sum() / len(step.x)


def penalty(step: Step) -> Tensor:
    """The terms that belong to the dictionary's type: L1, L0, gates, prefixes."""
    target = step.target if step.bypass is None else step.target - step.bypass
    return step.dictionary.penalty(step.codes, target, step.progress)


def attributed(step: Step, gradient: Tensor) -> Tensor:
    """How much latents are said to matter by `gradient` `[n, d_out]`, in units of the scaled target: the mean over
    tokens of `Σ_j |f_j d_j · g|` (Anthropic, April 2024 update on attribution dictionary learning).

    The sign of each term is a constant, so that all of them are one reconstruction with changed signs, times g.
    """
    codes, W_dec = step.codes, step.dictionary.W_dec
    with torch.no_grad():
        sign = (codes.values * pair_dots(gradient, W_dec, codes.rows, codes.indices)).sign()
    signed = decode_at(codes.with_values(codes.values * sign), W_dec, gradient.new_zeros(W_dec.shape[1]))
    return (signed * gradient).sum() / len(step.x)


def unattributed(step: Step, gradient: Tensor) -> Tensor:
    """How much the error is said to matter by `gradient` `[n, d_out]`: the mean over tokens of `|(x - x_hat) · g|`."""
    return ((step.target - step.x_hat) * gradient).sum(-1).abs().sum() / len(step.x)


def auxk(step: Step, *, alpha: float, k_aux: int, share: int, select: Select = torch.index_select) -> Tensor:
    """AuxK (Gao et al. 2024, arXiv:2406.04093, appendix A.2): dead latents reconstruct what the others miss.

    The `k_aux` dead latents with the largest positive pre-activations of each token reconstruct the residual, without
    bias. The term is `alpha * |e - e_hat|²`; gradients reach encoder and decoder rows of dead latents, and nothing
    else. Dense on the dead sub-dictionary, on every `share`-th token: gathers would move far more memory than the
    product. Their rows are taken with `select`, such as `Leaves.select`.
    """
    none, x = step.x_hat.new_zeros(()), step.x[::share]
    ranks = step.dictionary.ranks
    # Processes that share the latents must agree on whether there is anything to do.
    if not alpha or not int(ranks.over_latents(torch.tensor(len(step.dead), device=x.device))):
        return none
    found = step.dictionary.reconstruct_from_dead(x, step.dead, k_aux, select)
    if found is None:
        return none
    residual = (step.target - step.x_hat)[::share].detach()
    return alpha * (residual - ranks.over_latents(found)).square().sum() / len(x)
