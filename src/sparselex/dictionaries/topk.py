"""TopK dictionaries: the k largest latents of each token."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import EncoderDictionary, KConfig
from sparselex.dictionaries.sparse import Gradients, Scorer, encode_at

_N_SPARE = 8
"""Latents a token that the bfloat16 product chooses beyond k, to be ranked exactly."""

_N_IN_GROUP = 8


class TopKConfig(KConfig):
    """Configuration of `TopK`."""

    kind: Literal["topk"] = "topk"
    """Type of dictionary."""

    rank_by: Literal["contribution", "activation"] = "contribution"
    """What is compared: `pre_act * |decoder row|`, or pre-activations as they were before folding, as some projects do without a
    constraint on their decoders (sparsify's transcoders)."""


class TopK(EncoderDictionary):
    """TopK sparse autoencoder (Gao et al. 2024, arXiv:2406.04093, section 2.3).

    Latents are ranked by the length of their contribution, `pre_act * |decoder row|`, so the decoder needs no norm
    constraint (equal to the paper at unit norm); with `rank_by="activation"` by `pre_act`, whatever is folded into it later. Of the k
    chosen only positive ones are kept.
    """

    config: TopKConfig
    rank_sizes: Tensor
    signed = False
    """Whether latents are ranked by size and keep their sign."""

    def __init__(self, config: KConfig, generator: torch.Generator | None = None):
        super().__init__(config, generator)
        self.by_activation = getattr(config, "rank_by", "contribution") == "activation"
        if self.by_activation:
            self.register_buffer("rank_sizes", torch.ones(config.d_sae))
            self.latent_dims = {**self.latent_dims, "rank_sizes": 0}  # type: ignore[misc]

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

    def scorer(self, dtype: torch.dtype | None = None, *, less: Float[Tensor, " d_sae"] | None = None) -> Scorer:
        """What gives each latent's rank by one product."""
        if not self.by_activation:
            return super().scorer(dtype, less=less)
        bias = (self.b_enc - self.centre @ self.W_enc) * self.rank_sizes
        return Scorer(self.W_enc.T, self.rank_sizes, bias if less is None else bias - less, dtype or self.W_enc.dtype)

    @torch.no_grad()
    def _exact_codes(self, x: Tensor) -> Codes:
        scores, indices = self._largest_scores(self.scorer(), x, min(self.config.k, self.d_sae))
        return self._active(scores, indices)

    def _coarse_codes(self, x: Tensor, gradients: Gradients) -> Codes:
        scorer = self.scorer(torch.bfloat16)
        n_chosen = min(self.config.k + _N_SPARE, self.d_sae)
        _, chosen = self._largest_scores(scorer, x, n_chosen)
        rows = torch.arange(len(x), device=x.device).repeat_interleave(n_chosen)
        exact = scorer.at(x, rows, chosen.view(-1), gradients).view(-1, n_chosen)
        scores, places = self._largest(exact, min(self.config.k, self.d_sae))
        return self._active(scores, chosen.gather(-1, places))

    def _largest_scores(self, scorer: Scorer, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        parts = [self._largest(scores, k) for _, scores in scorer.chunks(x)] or [self._largest(scorer(x), k)]
        return torch.cat([scores for scores, _ in parts]), torch.cat([places for _, places in parts])

    def _largest(self, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Scores and places `[n, k]` of the k largest of each row."""
        places = _largest_places(scores.abs() if self.signed else scores, k)
        return scores.gather(-1, places), places

    def _active(self, scores: Tensor, indices: Tensor) -> Codes:
        """Codes of the chosen latents, ranked by `scores [n, k]`; without a sign only positive ones are kept."""
        keep = scores != 0 if self.signed else scores > 0
        if self.ranks.n_latents > 1:  # of the k best here, those among the k best of all
            lengths = scores.abs() if self.signed else scores
            keep &= lengths >= self.ranks.gather_latents(lengths).topk(self.config.k, dim=-1).values[:, -1:]
        sizes = self.rank_sizes if self.by_activation else self.row_sizes()
        rows, chosen = keep.nonzero()[:, 0], indices[keep]
        return Codes.from_pairs(rows, chosen, scores[keep] / sizes[chosen], len(scores), self.d_sae)

    def _fold_extra(self, unit: float, sizes: Tensor) -> None:
        if self.by_activation:  # activations grow by sizes / unit, and are compared as they were
            self.rank_sizes.mul_(unit / sizes)


def _largest_places(sizes: Tensor, k: int) -> Tensor:
    """Places `[n, k]` of the k largest of each row.

    In two steps where rows are long: the k largest lie in the k groups with the largest maxima, and these are far fewer to rank.
    """
    n, width = sizes.shape
    if width % _N_IN_GROUP or width < 8 * _N_IN_GROUP * k:
        return sizes.topk(k, dim=-1, sorted=False).indices
    n_groups = width // _N_IN_GROUP
    groups = sizes.view(n, _N_IN_GROUP, n_groups).amax(1).topk(k, dim=-1, sorted=False).indices
    members = (groups[:, None] + torch.arange(0, width, n_groups, device=sizes.device)[:, None]).view(n, -1)
    return members.gather(1, sizes.gather(1, members).topk(k, dim=-1, sorted=False).indices)
