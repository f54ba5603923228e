"""TopK dictionaries: the k largest latents of each token."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import EncoderDictionary, KConfig
from sparselex.dictionaries.sparse import Gradients, coarse_product, encode_at, product_at

_N_SPARE = 8
"""Latents a token that the bfloat16 product chooses beyond k, to be ranked exactly."""


class TopKConfig(KConfig):
    """Configuration of `TopK`."""

    kind: Literal["topk"] = "topk"
    """Type of dictionary."""


class TopK(EncoderDictionary):
    """TopK sparse autoencoder (Gao et al. 2024, arXiv:2406.04093, section 2.3).

    Latents are ranked by the length of their contribution, `pre_act * |decoder row|`, so the decoder needs no norm
    constraint (equal to the paper at unit norm). Of the k chosen only positive ones are kept.
    """

    config: TopKConfig
    signed = False
    """Whether latents are ranked by size and keep their sign."""

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        return self.encode_sparse(x).dense()

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        W, b, norms = self.contributions()
        scores, indices = self._largest(torch.addmm(b, x, W), self.config.k)
        return self._active(scores, indices, norms)

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        with torch.no_grad():
            codes = self._coarse_codes(x) if self.config.selection == "bfloat16" else self.encode_sparse(x)
        return encode_at(x, self.W_enc, self.b_enc, self.b_dec, codes, gradients=gradients)

    def _coarse_codes(self, x: Tensor) -> Codes:
        W, b, norms = self.contributions()
        n_chosen = min(self.config.k + _N_SPARE, self.d_sae)
        _, chosen = self._largest(coarse_product(x, W, b), n_chosen)
        rows = torch.arange(len(x)).repeat_interleave(n_chosen)
        exact = product_at(x, W, b, rows, chosen.view(-1)).view(-1, n_chosen)
        scores, places = self._largest(exact, self.config.k)
        return self._active(scores, chosen.gather(-1, places), norms)

    def _largest(self, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Scores and places `[n, k]` of the k largest of each row."""
        places = (scores.abs() if self.signed else scores).topk(k, dim=-1, sorted=False).indices
        return scores.gather(-1, places), places

    def _active(self, scores: Tensor, indices: Tensor, norms: Tensor) -> Codes:
        """Codes of the chosen latents, contributions `scores [n, k]`; without a sign only positive ones are kept."""
        keep = scores != 0 if self.signed else scores > 0
        rows, chosen = torch.arange(len(scores)).repeat_interleave(keep.sum(-1)), indices[keep]
        return Codes.from_pairs(rows, chosen, scores[keep] / norms[chosen], len(scores), self.d_sae)
