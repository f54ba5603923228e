"""Whether a crosscoder's latents of one model alone are true: latent scaling.

Latent scaling (Minder, Dumas et al. 2025, arXiv:2504.02922) asks of a latent how much of its direction is in the other
model after all: in what the crosscoder leaves unexplained there (an L1 penalty drops a weak row altogether, "complete
shrinkage"), or in what its other latents write there ("latent decoupling"). It takes for granted that a direction means
the same in both, as between a model and its fine-tuned version.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.atlas.difference import Directions, LatentDiff, labels
from sparselex.base.intervals import Floats
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.sparse.products import pair_dots


class LatentScaling:
    """Sums over tokens from which the factors of latent scaling follow in closed form, one set for each latent.

    Let `m` be the model in which latent j has the longer decoder row `d`, `o` the other one, and `f` its activation,
    everything in units of each site's scale. For a target `y` the factor is `argmin_b Σ |b f d - y|² = Σ f <d, y> /
    (|d|² Σ f²)`. Targets, in either model:

    - error: the activation less the reconstruction without latent j, `x - x_hat + f d'` with `d'` the latent's row in
    that model;
    - reconstruction: what all latents write, latent j included, without the decoder's bias: `x_hat - b_dec`.

    The ratio `nu` is the factor in `o` over the factor in `m`. The authors' code computes the same, but leaves the bias
    in the reconstruction; we leave it out, since a constant of the other model is nothing that its latents say. They
    look at latents of the second model only and at norms of activations as they come; we follow the longer row,
    whichever model it is in. Sums are float64 and run over the active (token, latent) pairs alone, on the CPU wherever
    the dictionary lies: a GPU adds in another order each time.
    """

    def __init__(self, found: Directions, b_dec: Float[Tensor, " d_out"]):
        found, b_dec = Directions(*(part.cpu() for part in found)), b_dec.detach().cpu()
        d_sae = found.rows.shape[1]
        norms = found.rows.norm(dim=-1)
        self.d_sae, self._found, self._b_dec = d_sae, found, b_dec
        self._own = (norms[1] > norms[0]).long()
        both = torch.arange(d_sae)
        self._rows = found.rows[self._own, both]
        own, other = self._rows.double(), found.rows[1 - self._own, both].double()
        self._square, self._cross = own.square().sum(-1), (own * other).sum(-1)
        self.n_tokens = 0
        self.n_active = torch.zeros(d_sae, dtype=torch.long)
        self.sums = torch.zeros(5, d_sae, dtype=torch.float64)
        """Of f², and of f times the product with: own error, other error, own reconstruction, other reconstruction."""

    def update(self, x: Float[Tensor, "n d_in"], codes: Codes, x_hat: Float[Tensor, "n d_in"]) -> None:
        """Add tokens, all on the CPU: activations of both sites side by side, their codes, and the reconstruction."""
        n, scales = len(x), self._found.scales[:, None, None]
        errors = torch.stack((x - x_hat).chunk(2, dim=-1)) * scales
        written = torch.stack((x_hat - self._b_dec).chunk(2, dim=-1)) * scales
        latents, f = codes.indices, codes.values.double()
        own = self._own[latents]
        places = codes.rows + n * torch.stack([own, 1 - own])
        self.n_tokens += n
        self.n_active += torch.bincount(latents, minlength=self.d_sae)
        columns = [f] + [
            pair_dots(target.flatten(0, 1), self._rows, where, latents).double()
            for target in (errors, written)
            for where in places
        ]
        for total, column in zip(self.sums, columns, strict=True):
            total += torch.bincount(latents, f * column, self.d_sae)

    def finish(self) -> LatentDiff:
        """Factors and ratios of all latents."""
        f_square, error_own, error_other, written_own, written_other = self.sums
        # A latent's own contribution is left out of the reconstruction that its error is taken from: added back here,
        # once for all tokens.
        error_own, error_other = error_own + f_square * self._square, error_other + f_square * self._cross
        weight = self._square * f_square
        betas = [(part / weight).numpy() for part in (error_own, error_other, written_own, written_other)]
        relative = self._found.relative_norm.double().numpy()
        return LatentDiff(
            relative_norm=relative,
            cosine=self._found.cosine.double().numpy(),
            label=labels(relative),
            own=self._own.numpy(),
            n_active=self.n_active.numpy(),
            beta_error_own=betas[0],
            beta_error_other=betas[1],
            beta_reconstruction_own=betas[2],
            beta_reconstruction_other=betas[3],
            nu_error=_ratio(betas[1], betas[0]),
            nu_reconstruction=_ratio(betas[3], betas[2]),
        )


def _ratio(other: Floats, own: Floats) -> Floats:
    return np.divide(other, own, out=np.full_like(own, np.nan), where=own > 0)
