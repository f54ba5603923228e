"""Latents that are chosen not only by what they give, but also by how much that matters to the model."""

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.sparse.products import encode_at, pair_dots
from sparselex.dictionaries.types.batchtopk import BatchTopK
from sparselex.dictionaries.types.topk import TopK
from sparselex.dictionaries.vectors import unit_rows

_AT_ONCE = 1 << 24
"""Scores that lie in memory at a time, 64 MiB in float32."""


def by_influence(
    dictionary: TopK | BatchTopK,
    x: Float[Tensor, "n d_in"],
    plain: Codes,
    gradient: Float[Tensor, "n d_out"],
    *,
    gradients: Gradients = "auto",
) -> Codes:
    """Codes of a training batch with as many latents as `plain` has, of each token (`TopK`) or of the whole batch
    (`BatchTopK`), but those with the largest `s_j + s_j |d_j · g| / c`: `s_j` is the length of a contribution, by which
    both types choose otherwise, `d_j` the decoder row at unit norm, and g the `gradient` of the loss where the
    reconstruction stands.

    The second term is the latent's attribution, brought to the size of the first: c is the mean of `|d_j · g|` over
    what `plain` has (Gradient SAEs, Olmo et al. 2024, arXiv:2411.10397, leave the units of both, and with them the
    balance, to a coefficient). Only positive contributions are chosen. Nothing here has a gradient but the values.
    """
    with torch.no_grad():
        rows = unit_rows(dictionary.W_dec)
        relative = gradient / _typical(dictionary, rows, plain, gradient)
        if isinstance(dictionary, TopK):
            codes = _of_tokens(dictionary, x, relative, rows)
        else:
            codes = _of_batch(dictionary, x, plain, relative, rows)
    return encode_at(x, dictionary.W_enc, dictionary.b_enc, dictionary.centre, codes, gradients=gradients)


def _typical(dictionary: EncoderDictionary, rows: Tensor, plain: Codes, gradient: Tensor) -> float:
    """The mean of `|d_j · g|` over active latents, of all processes; infinite where no gradient arrives."""
    sizes = pair_dots(gradient, rows, plain.rows, plain.indices).abs()
    total, n = dictionary.ranks.total(sizes.sum().double()), dictionary.ranks.count(sizes)
    return float(total) / n if n and float(total) else float("inf")


def _leaning(dictionary: EncoderDictionary, x: Tensor, gradient: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Contributions `[n, d_sae]`, and what is compared."""
    scores = dictionary.scorer()(x)
    return scores, scores * (1 + (gradient @ rows.T).abs())


def _of_tokens(dictionary: TopK, x: Tensor, gradient: Tensor, rows: Tensor) -> Codes:
    k, ranks, d_sae = dictionary.config.k, dictionary.ranks, dictionary.d_sae
    size, parts = max(1, _AT_ONCE // d_sae), []
    for first in range(0, len(x), size):
        scores, leaning = _leaning(dictionary, x[first : first + size], gradient[first : first + size], rows)
        best = leaning.topk(min(k, d_sae), dim=-1)
        keep = best.values > 0
        if ranks.n_latents > 1:  # of the k best here, those among the k best of all
            keep &= best.values >= ranks.gather_latents(best.values).topk(k, dim=-1).values[:, -1:]
        at = keep.nonzero()[:, 0]
        indices = best.indices[keep]
        parts.append((at + first, indices, scores[at, indices]))
    token, latent, value = (torch.cat(column) for column in zip(*parts, strict=True))
    return Codes.from_pairs(token, latent, value / dictionary.rank_lengths()[latent], len(x), d_sae)


def _of_batch(dictionary: BatchTopK, x: Tensor, plain: Codes, gradient: Tensor, rows: Tensor) -> Codes:
    ranks, d_sae = dictionary.ranks, dictionary.d_sae
    n_keep, size = ranks.count(plain.indices), max(1, _AT_ONCE // d_sae)
    places, sizes, compared = [], [], []
    for first in range(0, len(x), size):
        scores, leaning = _leaning(dictionary, x[first : first + size], gradient[first : first + size], rows)
        found = (leaning > 0).view(-1).nonzero().view(-1)
        if len(found) > n_keep:  # whatever else comes, no more than these of this part can be kept
            found = found[leaning.view(-1)[found].topk(n_keep, sorted=False).indices].sort().values
        places.append(found + first * d_sae)
        sizes.append(scores.view(-1)[found])
        compared.append(leaning.view(-1)[found])
    keep = ranks.largest(torch.cat(compared), n_keep)
    place, value = torch.cat(places)[keep], torch.cat(sizes)[keep]
    latent = place % d_sae
    return Codes.from_pairs(place // d_sae, latent, value / dictionary.rank_lengths()[latent], len(x), d_sae)
