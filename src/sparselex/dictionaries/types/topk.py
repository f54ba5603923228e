"""TopK dictionaries: the k largest latents of each token."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import KConfig
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse.products import encode_at
from sparselex.dictionaries.sparse.selection import largest_of_tokens

_N_SPARE = 8
"""Latents a token that the bfloat16 product chooses beyond k, to be ranked exactly."""


class TopKConfig(KConfig):
    """Configuration of `TopK`."""

    kind: Literal["topk"] = "topk"
    """Type of dictionary."""

    rank_by: Literal["contribution", "activation"] = "contribution"
    """What is compared: `pre_act * |decoder row|`, or pre-activations as they were before folding, as some projects do
    without a constraint on their decoders (sparsify's transcoders)."""


class TopK(EncoderDictionary):
    """TopK sparse autoencoder (Gao et al. 2024, arXiv:2406.04093, section 2.3).

    Latents are ranked by the length of their contribution, `pre_act * |decoder row|`, so the decoder needs no norm
    constraint (equal to the paper at unit norm); with `rank_by="activation"` by `pre_act`, whatever is folded into it
    later. Of the k chosen only positive ones are kept.
    """

    config: TopKConfig
    rank_sizes: Tensor
    latent_dims: ClassVar[Mapping[str, int]] = {**EncoderDictionary.latent_dims, "rank_sizes": 0}

    def __init__(self, config: KConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE):
        super().__init__(config, generator, ranks)
        self.by_activation = getattr(config, "rank_by", "contribution") == "activation"
        if self.by_activation:
            self.register_buffer("rank_sizes", torch.ones(self.d_sae))

    def saelens(self) -> dict[str, Any] | None:
        if self.by_activation:  # folded, SAELens would rank by contribution
            return None
        name = "abstopk" if self.signed else "topk"
        return {"architecture": name, "k": self.config.k, "rescale_acts_by_decoder_norm": True}

    def code(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        return self.code_sparse(x).dense()

    def code_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        codes = self._exact_codes(x)
        if torch.is_grad_enabled():  # the same places, with values that know where they came from
            return codes.with_values(self.pre_acts(x)[codes.rows, codes.indices])
        return codes

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        with torch.no_grad():
            codes = self._coarse_codes(x, gradients) if self.config.selection == "bfloat16" else self._exact_codes(x)
        return encode_at(x, self.W_enc, self.b_enc, self.centre, codes, gradients=gradients)

    def rank_lengths(self) -> Float[Tensor, " d_sae"]:
        return self.rank_sizes if self.by_activation else super().rank_lengths()

    @torch.no_grad()
    def _exact_codes(self, x: Tensor) -> Codes:
        return self._active(*largest_of_tokens(self.scorer(), x, min(self.config.k, self.d_sae), signed=self.signed))

    def _coarse_codes(self, x: Tensor, gradients: Gradients) -> Codes:
        scorer = self.scorer(torch.bfloat16)
        n_chosen = min(self.config.k + _N_SPARE, self.d_sae)
        _, chosen = largest_of_tokens(scorer, x, n_chosen, signed=self.signed)
        rows = torch.arange(len(x), device=x.device).repeat_interleave(n_chosen)
        exact = scorer.at(x, rows, chosen.view(-1), gradients).view(-1, n_chosen)
        best = (exact.abs() if self.signed else exact).topk(min(self.config.k, self.d_sae), dim=-1, sorted=False)
        return self._active(exact.gather(-1, best.indices), chosen.gather(-1, best.indices))

    def _active(self, scores: Tensor, indices: Tensor) -> Codes:
        """Codes of the chosen latents, ranked by `scores [n, k]`; without a sign only positive ones are kept."""
        keep = scores != 0 if self.signed else scores > 0
        if self.ranks.n_latents > 1:  # of the k best here, those among the k best of all
            lengths = scores.abs() if self.signed else scores
            keep &= lengths >= self.ranks.gather_latents(lengths).topk(self.config.k, dim=-1).values[:, -1:]
        sizes = self.rank_lengths()
        rows, chosen = keep.nonzero()[:, 0], indices[keep]
        return Codes.from_pairs(rows, chosen, scores[keep] / sizes[chosen], len(scores), self.d_sae)

    def _fold_extra(self, unit: float, sizes: Tensor) -> None:
        if self.by_activation:  # activations grow by sizes / unit, and are compared as they were
            self.rank_sizes.mul_(unit / sizes)
