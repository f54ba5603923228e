"""The Jacobian from the latents of a dictionary at what an MLP reads to those of one at what it writes.

Of a token with the latents i active before the MLP and those j active behind it, J_ji is the derivative of j's
pre-activation by i's activation through decoder, MLP and encoder, the active sets being held. Of matrices it is a
closed form: `reads_j · W_out · diag(slope) · W_in · writes_i`, summed over the matrices by which a gated MLP reads
(Farnik et al. 2025, arXiv:2502.18147, section 3).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.lm.mlps import Formula


class Active(NamedTuple):
    """The active latents of some tokens, in as many columns as the token with most of them has."""

    latents: Int[Tensor, "n most"]
    """Which; 0 where there is none."""

    there: Bool[Tensor, "n most"]
    """Where there is one."""

    @classmethod
    def of(cls, codes: Codes) -> "Active":
        """Those of codes."""
        rows, counts = codes.rows, codes.indptr.diff()
        most = int(counts.max()) if len(counts) else 0
        column = torch.arange(len(rows), device=rows.device) - codes.indptr[rows]
        latents = torch.zeros(len(codes), most, dtype=torch.int64, device=rows.device)
        there = torch.zeros(len(codes), most, dtype=torch.bool, device=rows.device)
        latents[rows, column], there[rows, column] = codes.indices.long(), True
        return cls(latents, there)

    def at(self, tokens: slice) -> "Active":
        """Those of some of the tokens."""
        return Active(self.latents[tokens], self.there[tokens])


class Jacobians(NamedTuple):
    """Of every token the entries between its active latents."""

    entries: Float[Tensor, "n m k"]
    """By latent behind the MLP and latent before it; 0 where there is none of either."""

    there: Bool[Tensor, "n m k"]
    """Where there are both."""

    def mean_size(self) -> Float[Tensor, ""]:
        """Mean of |J| over all pairs of active latents of all tokens."""
        return self.entries.abs().sum() / self.there.sum().clamp_min(1)


class LatentMlp(NamedTuple):
    """An MLP between what latents write and what latents read, for some weights of both dictionaries."""

    mlp: Formula
    """What the MLP computes."""

    before: tuple[Float[Tensor, "d_sae_x d_mlp"], ...]
    """What a unit of each latent gives to each of the MLP's `readers`."""

    behind: Float[Tensor, "d_sae_y d_mlp"]
    """How each latent behind it reads what its hidden units write."""

    @classmethod
    def of(
        cls, mlp: Formula, writes: Float[Tensor, "d_sae_x d_in"], reads: Float[Tensor, "d_sae_y d_out"]
    ) -> "LatentMlp":
        """The same MLP between latents that write so and latents that read so. Gradients flow back to both."""
        return cls(mlp, tuple(writes @ reader for reader in mlp.readers), reads @ mlp.W_out.T)

    def jacobians(self, x: Float[Tensor, "n d_in"], source: Active, later: Active) -> Jacobians:
        """The Jacobian at each token, the MLP reading `x` there: `n k (k + d_mlp)` numbers are held at a time."""
        weighed = [
            by_latent[source.latents] * slope[:, None]
            for by_latent, slope in zip(self.before, self.mlp.slopes(x), strict=True)
        ]
        hidden = weighed[0] if len(weighed) == 1 else weighed[0] + weighed[1]
        entries = self.behind[later.latents] @ hidden.transpose(1, 2)
        there = later.there[:, :, None] & source.there[:, None]
        return Jacobians(torch.where(there, entries, 0), there)
