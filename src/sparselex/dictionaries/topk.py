"""TopK dictionaries: the k largest latents of each token."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveInt, model_validator
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import DictionaryConfig, TrainableDictionary
from sparselex.dictionaries.sparse import Gradients, Selection, coarse_product, encode_at, product_at

_N_SPARE = 8
"""Latents a token that the bfloat16 product chooses beyond k, to be ranked exactly."""


class TopKConfig(DictionaryConfig):
    """Configuration of `TopK`."""

    kind: Literal["topk"] = "topk"
    """Type of dictionary."""

    k: PositiveInt = 32
    """Latents kept per token; this is the L0 unless fewer are positive."""

    selection: Selection = "float32"
    """Precision in which training chooses latents."""

    @model_validator(mode="after")
    def _k_fits(self) -> "TopKConfig":
        if self.k > self.d_sae:
            raise ValueError(
                f"k={self.k} latents per token cannot be kept of d_sae={self.d_sae}; lower k or raise d_sae"
            )
        return self


class TopK(TrainableDictionary):
    """TopK sparse autoencoder (Gao et al. 2024, arXiv:2406.04093, section 2.3).

    Latents are ranked by the length of their contribution, `pre_act * |decoder row|`, so the decoder needs no norm
    constraint (equal to the paper at unit norm). Of the k chosen only positive ones are kept.
    """

    config: TopKConfig

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        return self.encode_sparse(x).dense()

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        pre = self.pre_acts(x)
        norms = self.W_dec.norm(dim=-1)
        scores, indices = (pre * norms).topk(self.config.k, dim=-1, sorted=False)
        return self._positive(scores, indices, pre.gather(-1, indices))

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "sparse") -> Codes:
        with torch.no_grad():
            codes = self._coarse_codes(x) if self.config.selection == "bfloat16" else self.encode_sparse(x)
        return encode_at(x, self.W_enc, self.b_enc, self.b_dec, codes, gradients=gradients)

    def _coarse_codes(self, x: Tensor) -> Codes:
        norms = self.W_dec.norm(dim=-1)
        W, b = self.W_enc * norms, (self.b_enc - self.b_dec @ self.W_enc) * norms
        n_chosen = min(self.config.k + _N_SPARE, self.d_sae)
        chosen = coarse_product(x, W, b).topk(n_chosen, dim=-1, sorted=False).indices
        rows = torch.arange(len(x)).repeat_interleave(n_chosen)
        exact = product_at(x, W, b, rows, chosen.view(-1)).view(-1, n_chosen)
        scores, places = exact.topk(self.config.k, dim=-1, sorted=False)
        indices = chosen.gather(-1, places)
        return self._positive(scores, indices, scores / norms[indices])

    def _positive(self, scores: Tensor, indices: Tensor, values: Tensor) -> Codes:
        """Codes of the chosen latents with a positive score; all three `[n, k]`."""
        keep = scores > 0
        rows = torch.arange(len(scores)).repeat_interleave(keep.sum(-1))
        return Codes.from_pairs(rows, indices[keep], values[keep], len(scores), self.d_sae)
