"""TopK dictionaries: the k largest latents of each token."""

from typing import Literal, Self

import torch
from jaxtyping import Float
from pydantic import PositiveInt, model_validator
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import DictionaryConfig, TrainableDictionary
from sparselex.dictionaries.sparse import Gradients, encode_at


class TopKConfig(DictionaryConfig):
    """Configuration of `TopK`."""

    kind: Literal["topk"] = "topk"
    """Type of dictionary."""

    k: PositiveInt = 32
    """Latents kept per token; this is the L0 unless fewer are positive."""

    @model_validator(mode="after")
    def _k_fits(self) -> Self:
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
        keep = scores > 0
        rows = torch.arange(len(x)).repeat_interleave(keep.sum(-1))
        chosen = indices[keep]
        return Codes.from_pairs(rows, chosen, pre[rows, chosen], len(x), self.d_sae)

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "sparse") -> Codes:
        with torch.no_grad():
            codes = self.encode_sparse(x)
        return encode_at(x, self.W_enc, self.b_enc, self.b_dec, codes, gradients=gradients)
