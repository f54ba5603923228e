"""How important a component of weights is on an input: small networks, one a component, all computed together."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def importance_gates(
    inner: Float[Tensor, "*n n_components"],
    weight_in: Float[Tensor, "n_components d_gate"],
    bias_in: Float[Tensor, "n_components d_gate"],
    weight_out: Float[Tensor, "n_components d_gate"],
    bias_out: Float[Tensor, " n_components"],
) -> Float[Tensor, "*n n_components"]:
    """What the networks make of the components' activations: one number in, `d_gate` GELU units, one number out
    (Bushnaq, Braun and Sharkey 2025, arXiv:2506.20790, section 3). Causal importance is that, cut to 0 and 1."""
    hidden = functional.gelu(inner[..., None] * weight_in + bias_in)
    return (hidden * weight_out).sum(-1) + bias_out
