"""Terms of the loss. Each is a function of a `Step`; squared errors are summed over `d_out` and averaged over tokens."""

import torch
from torch import Tensor

from sparselex.dictionaries.dictionary import EncoderDictionary
from sparselex.training.step import Step


def reconstruction(step: Step) -> Tensor:
    """Squared error of the reconstruction."""
    return (step.x_hat - step.target).square().sum() / len(step.x)


def penalty(step: Step) -> Tensor:
    """The terms that belong to the dictionary's type: L1, L0, gates, prefixes."""
    target = step.target if step.bypass is None else step.target - step.bypass
    return step.dictionary.penalty(step.codes, target, step.progress)


def auxk(step: Step, *, alpha: float, k_aux: int, share: int) -> Tensor:
    """AuxK (Gao et al. 2024, arXiv:2406.04093, appendix A.2): dead latents reconstruct what the others miss.

    The `k_aux` dead latents with the largest positive pre-activations of each token reconstruct the residual, without bias.
    The term is `alpha * |e - e_hat|²`; gradients reach encoder and decoder rows of dead latents, and nothing else. Dense on
    the dead sub-dictionary, on every `share`-th token: gathers would move far more memory than the product.
    """
    dictionary, dead = step.dictionary, step.dead
    if not len(dead) or not alpha or not isinstance(dictionary, EncoderDictionary):
        return step.x_hat.new_zeros(())
    x = step.x[::share]
    residual = (step.target - step.x_hat)[::share].detach()
    W_enc, W_dec = dictionary.W_enc.T[dead], dictionary.W_dec[dead]
    pre = torch.addmm(dictionary.b_enc[dead], x - dictionary.centre.detach(), W_enc.T)
    kept = pre.topk(min(k_aux, len(dead)), dim=-1)
    acts = torch.zeros_like(pre).scatter(-1, kept.indices, kept.values.relu())
    return alpha * (residual - acts @ W_dec).square().sum() / len(x)
