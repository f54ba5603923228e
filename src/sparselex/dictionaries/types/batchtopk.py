"""BatchTopK dictionaries: the largest latents of a whole batch, k per token on average."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.base.bounds import Amount
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import KConfig
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse.products import encode_at
from sparselex.dictionaries.sparse.selection import batch_codes


class BatchTopKConfig(KConfig):
    """Configuration of `BatchTopK`."""

    kind: Literal["batchtopk"] = "batchtopk"
    """Type of dictionary."""

    threshold_rate: Amount = 0.1
    """Rate at which the inference threshold follows the smallest kept activation of each batch. That is an order
    statistic of over 100,000 values and hardly varies, so a fast rate costs nothing; at 0.01 a run of 60 steps ended at
    L0 4 instead of 32."""


class BatchTopK(EncoderDictionary):
    """BatchTopK sparse autoencoder (Bussmann et al. 2024, arXiv:2412.06410).

    In training the `n k` largest contributions `pre_act * |decoder row|` of a batch of n tokens are kept; afterwards a
    latent is active where its contribution exceeds one threshold, the running mean of the smallest one kept, so a
    token's code does not depend on its batch.
    """

    config: BatchTopKConfig
    threshold: Tensor

    def __init__(self, config: BatchTopKConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE):
        super().__init__(config, generator, ranks)
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float64))

    def code(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        pre = self.pre_acts(x)
        return torch.where(pre > self._cut(), pre, 0)

    def code_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        pre = self.pre_acts(x)
        rows, indices = (pre > self._cut()).nonzero(as_tuple=True)
        return Codes.from_pairs(rows, indices, pre[rows, indices], len(x), self.d_sae)

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        codes = batch_codes(self.scorer, x, self.config, self.threshold, gradients=gradients, ranks=self.ranks)
        return encode_at(x, self.W_enc, self.b_enc, self.centre, codes, gradients=gradients)

    def saelens(self) -> dict[str, Any]:
        return {"architecture": "jumprelu"}

    def _cut(self) -> Tensor:
        return (self.threshold / self.row_sizes().double()).to(self.W_dec.dtype)

    def _fold_extra(self, unit: float, sizes: Tensor) -> None:
        self.threshold /= unit
