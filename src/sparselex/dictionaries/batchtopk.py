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
    Scorer,
    encode_at,
    nth_largest,
    places_above,
)

_COARSE_MARGIN = 0.97
"""What the bfloat16 product puts above this share of its own cut is ranked exactly; its largest error among 17 million scores of
width 512 was 1 % of the cut."""

_SAMPLE_TOKENS = 64


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
            n_tokens = int(self.ranks.over_data(torch.tensor(len(x), device=x.device)))
            places, kept, norms = self._select(x, n_tokens * self.config.k, gradients)
            if n_kept := self.ranks.count(kept):
                self._follow(float(self.ranks.nth_largest(kept, n_kept)))
            rows, indices = places // self.d_sae, places % self.d_sae
            codes = Codes.from_pairs(rows, indices, kept / norms[indices], len(x), self.d_sae)
        return encode_at(x, self.W_enc, self.b_enc, self.centre, codes, gradients=gradients)

    def _cut(self) -> Tensor:
        return (self.threshold / self.row_sizes().double()).to(self.W_dec.dtype)

    def _select(self, x: Tensor, n_keep: int, gradients: Gradients) -> tuple[Tensor, Tensor, Tensor]:
        """Places in the flattened `[n, d_sae]`, ascending, and sizes of the `n_keep` largest contributions; and decoder norms.

        A library top-k over the whole batch takes longer than the encoder's product. The running threshold tells nearly where
        the cut will be, so only what lies above a lower bar is ranked; where too little does, everything positive is.
        """
        if self.config.selection == "bfloat16":
            scorer = self.scorer(torch.bfloat16)
            bar = self._bar(scorer, x)
            places, values = self._above(scorer, x, bar, n_keep, _COARSE_MARGIN)
            if self.ranks.count(places) >= n_keep:
                places = places[values >= _COARSE_MARGIN * self.ranks.nth_largest(values, n_keep)]
                exact = scorer.at(x, places // self.d_sae, places % self.d_sae, gradients)
                keep = self.ranks.largest(exact, n_keep)
                return places[keep], exact[keep], scorer.norms
        scorer = self.scorer()
        bar = self._bar(scorer, x)
        places, values = self._above(scorer, x, bar, n_keep)
        if self.ranks.count(places) < n_keep and float(self.ranks.total(torch.tensor(bar, device=x.device))) > 0:
            places, values = self._above(scorer, x, 0.0, n_keep)
        keep = self.ranks.largest(values, n_keep)
        return places[keep], values[keep], scorer.norms

    def _bar(self, scorer: Scorer, x: Tensor) -> float:
        """A little less than where the cut will be: by the running threshold, or before there is one by a few tokens."""
        if float(self.threshold) > 0:
            return 0.8 * float(self.threshold)
        sample = scorer(x[:_SAMPLE_TOKENS]).float().view(-1)
        n_above = min(len(sample), 2 * self.config.k * _SAMPLE_TOKENS)
        return max(0.0, float(nth_largest(sample, n_above))) if n_above else 0.0

    def _above(self, scorer: Scorer, x: Tensor, bar: float, n_keep: int, margin: float = 1.0) -> tuple[Tensor, Tensor]:
        """Places in the flattened `[n, d_sae]` and scores of what exceeds `bar`, at least all of the `n_keep` largest.

        Where there are many more, what lies under `margin` times the `n_keep`-th largest so far is dropped between chunks: it cannot
        be among the largest of the whole batch.
        """
        places, values = x.new_empty(0, dtype=torch.int64), x.new_empty(0)
        for start, scores in scorer.chunks(x):
            flat = scores.view(-1)
            found = places_above(flat, bar)
            places = torch.cat([places, found + start * self.d_sae])
            values = torch.cat([values, flat[found].to(values.dtype)])
            del flat, scores  # or two chunks lie in memory while the next is computed
            if len(places) > 4 * n_keep:
                bar = max(bar, margin * float(nth_largest(values, n_keep)))
                keep = values >= bar
                places, values = places[keep], values[keep]
        return places, values

    def _follow(self, smallest: float) -> None:
        rate = self.config.threshold_rate if float(self.threshold) > 0 else 1.0
        self.threshold += rate * (smallest - self.threshold)

    def _fold_extra(self, unit: float, sizes: Tensor) -> None:
        self.threshold /= unit
