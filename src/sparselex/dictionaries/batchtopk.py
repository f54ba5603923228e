"""BatchTopK dictionaries: the largest latents of a whole batch, k per token on average."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import EncoderDictionary, KConfig
from sparselex.dictionaries.sparse import (
    Gradients,
    coarse_product,
    encode_at,
    nth_largest,
    places_above,
    product_at,
)

_COARSE_MARGIN = 0.97
"""What the bfloat16 product puts above this share of its own cut is ranked exactly; its largest error among 17 million scores of
width 512 was 1 % of the cut."""


class BatchTopKConfig(KConfig):
    """Configuration of `BatchTopK`."""

    kind: Literal["batchtopk"] = "batchtopk"
    """Type of dictionary."""

    threshold_rate: PositiveFloat = 0.1
    """Rate at which the inference threshold follows the smallest kept activation of each batch. That is an order statistic of
    over 100,000 values and hardly varies, so a fast rate costs nothing; at 0.01 a run of 60 steps ended at L0 4 instead of 32."""


class BatchTopK(EncoderDictionary):
    """BatchTopK sparse autoencoder (Bussmann et al. 2024, arXiv:2412.06410).

    In training the `n k` largest contributions `pre_act * |decoder row|` of a batch of n tokens are kept; afterwards a latent is
    active where its contribution exceeds one threshold, the running mean of the smallest one kept, so a token's code
    does not depend on its batch.
    """

    config: BatchTopKConfig
    threshold: Tensor

    def __init__(self, config: BatchTopKConfig, generator: torch.Generator | None = None):
        super().__init__(config, generator)
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float64))

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        pre = self.pre_acts(x)
        return torch.where(pre > self._cut(), pre, 0)

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        pre = self.pre_acts(x)
        rows, indices = (pre > self._cut()).nonzero(as_tuple=True)
        return Codes.from_pairs(rows, indices, pre[rows, indices], len(x), self.d_sae)

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        with torch.no_grad():
            W, b, norms = self.contributions()
            rows, indices, kept = self._select(x, W, b, len(x) * self.config.k)
            if len(kept):
                self._follow(float(kept.min()))
            codes = Codes.from_pairs(rows, indices, kept / norms[indices], len(x), self.d_sae)
        return encode_at(x, self.W_enc, self.b_enc, self.b_dec, codes, gradients=gradients)

    def _cut(self) -> Tensor:
        return (self.threshold / self.W_dec.norm(dim=-1).double()).to(self.W_dec.dtype)

    def _select(self, x: Tensor, W: Tensor, b: Tensor, n_keep: int) -> tuple[Tensor, Tensor, Tensor]:
        """The `n_keep` largest positive scores `x @ W + b` of the batch, ordered by token.

        A library top-k over the whole batch takes longer than the encoder's product. The running threshold tells nearly where
        the cut will be, so only what lies above a lower bar is ranked; where too little does, everything positive is.
        """
        bar = 0.8 * float(self.threshold)
        if self.config.selection == "bfloat16" and bar > 0:
            coarse = coarse_product(x, W, b).view(-1)
            candidates = places_above(coarse, bar)
            if len(candidates) >= n_keep:
                rough = coarse[candidates].float()
                candidates = candidates[rough >= _COARSE_MARGIN * nth_largest(rough, n_keep)]
                return self._keep(candidates, product_at(x, W, b, *self._places(candidates)), n_keep)
        scores = torch.addmm(b, x, W).view(-1)
        candidates = places_above(scores, bar)
        if len(candidates) < n_keep:
            candidates = places_above(scores, 0.0)
        return self._keep(candidates, scores[candidates], n_keep)

    def _keep(self, candidates: Tensor, values: Tensor, n_keep: int) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, latents and values of the `n_keep` largest candidates, or of all where there are no more."""
        if len(candidates) > n_keep:
            smallest = nth_largest(values, n_keep)
            keep = values >= smallest
            # Equal scores at the cut: the first in batch order stay, so exactly n_keep are kept.
            if (surplus := int(keep.sum()) - n_keep) > 0:
                keep[(values == smallest).nonzero().view(-1)[-surplus:]] = False
            candidates, values = candidates[keep], values[keep]
        return *self._places(candidates), values

    def _places(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        return flat // self.d_sae, flat % self.d_sae

    def _follow(self, smallest: float) -> None:
        rate = self.config.threshold_rate if float(self.threshold) > 0 else 1.0
        self.threshold += rate * (smallest - self.threshold)

    def _fold_extra(self, input_scale: float, norms: Tensor) -> None:
        self.threshold /= input_scale
