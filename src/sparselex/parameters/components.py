"""The components of one matrix, and how important each is on an input."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sparselex.dictionaries.importance import importance_gates


class Components(nn.Module):
    """A matrix `W [d_out, d_in]` as a sum of rank-one components, `W ≈ Σ_c U_c V_cᵀ` (arXiv:2506.20790, section 3).

    Each component has a network of its own, with one number in, `d_gate` GELU units and one number out, which says from
    the component's activation `V_c · x` how important it is for this input. All networks of a matrix are computed
    together.

    Args:
        weight: `[d_out, d_in]`, the matrix.
        v: `[n_components, d_in]`, directions along which components read at first, brought to unit norm. `U` begins as
            that of least norm whose sum is nearest to the matrix (the matrix itself where these directions span its
            inputs), in the place of steps on faithfulness alone.
        d_gate: hidden units of each network.
        generator: draws the networks.
        cut: singular values of `v` below this share of the largest count as 0 when `U` is sought. Directions that are
            nearly dependent else give large components that cancel, and masking one of them moves everything.
    """

    def __init__(
        self,
        weight: Float[Tensor, "d_out d_in"],
        v: Float[Tensor, "n_components d_in"],
        d_gate: int,
        generator: torch.Generator,
        cut: float = 0.0,
    ):
        super().__init__()
        n_components = len(v)
        drawn = lambda *shape: torch.randn(*shape, generator=generator, dtype=weight.dtype)
        v = functional.normalize(v, dim=-1)
        u = (torch.linalg.pinv(v, rtol=cut) if cut else torch.linalg.pinv(v)).T @ weight.detach().T
        self.V, self.U = nn.Parameter(v), nn.Parameter(u.contiguous())
        self.gate_in = nn.Parameter(drawn(n_components, d_gate))
        self.gate_in_bias = nn.Parameter(torch.zeros(n_components, d_gate, dtype=weight.dtype))
        self.gate_out = nn.Parameter(drawn(n_components, d_gate) / math.sqrt(d_gate))
        # At 1 a component begins as important everywhere, and everything is reconstructed.
        self.gate_out_bias = nn.Parameter(torch.ones(n_components, dtype=weight.dtype))

    @property
    def n_components(self) -> int:
        """How many components there are."""
        return len(self.V)

    def total(self) -> Float[Tensor, "d_out d_in"]:
        """The sum of all components."""
        return self.U.T @ self.V

    def inner(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch n_components"]:
        """Activations of the components, `V_c · x`."""
        return x @ self.V.T

    def gates(self, inner: Float[Tensor, "*batch n_components"]) -> Float[Tensor, "*batch n_components"]:
        """What the networks make of the activations, before any hard sigmoid."""
        return importance_gates(inner, self.gate_in, self.gate_in_bias, self.gate_out, self.gate_out_bias)

    def masked(
        self, x: Float[Tensor, "*batch d_in"], masks: Float[Tensor, "*batch n_components"]
    ) -> Float[Tensor, "*batch d_out"]:
        """What the matrix makes of `x` with each component scaled by its mask."""
        return (self.inner(x) * masks) @ self.U
