"""Matching pursuit dictionaries: latents are taken one by one, each from what the ones before left over."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import DictionaryConfig
from sparselex.dictionaries.dictionary import by_token
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse.products import bag_sums
from sparselex.dictionaries.trainable import TrainableDictionary

_CHUNK_SCORES = 2**20
"""Scores computed at a time, 4 MiB in float32: they are read and written k times, so they should stay in the
processor's cache."""

_CHUNK_NUMBERS = 2**17
"""Numbers of a residual walked back at a time, 512 KiB in float32, for the same reason."""

_GRAM_ROWS = 16_384
"""Most latents for which all products of two rows are written out (1 GiB in float32)."""

_ROUNDING = 64
"""A contribution below this many units of rounding of the token's norm is none: the token is reconstructed exactly."""


_STEPS = 4
"""Most steps for each dimension that is read; a few are allowed whatever the width. What every step takes of every
token is kept until the last one."""

_FEW_STEPS = 32


class MatchingPursuitConfig(DictionaryConfig):
    """Configuration of `MatchingPursuit`."""

    kind: Literal["matching_pursuit"] = "matching_pursuit"
    """Type of dictionary."""

    k: PositiveInt = _FEW_STEPS
    """Steps per token. Fewer latents are active where one is taken twice, or where nothing positive is left."""

    stop_below: float = Field(default=0.0, ge=0, lt=1)
    """A token is done where its next contribution would be at most this share of its own length `|x - b_dec|`."""

    stop_left: float = Field(default=0.0, ge=0)
    """A token is done once what is left of it is shorter than this, in the units of training (inputs scaled to E|x|² =
    d_in)."""

    stop_at_repeat: bool = False
    """Whether a token is done when a latent is taken a second time."""

    step: Literal["projection", "product"] = "projection"
    """What a step takes. `projection`: all that lies along the row. `product`: the product with the row as long as it
    was before folding, as projects do that do not keep their rows at unit norm: latents with longer rows come first,
    and a step falls short or goes too far. Such dictionaries are read, and not trained here."""

    @property
    def only_read(self) -> str:
        return "step=product" if self.step == "product" else ""

    @property
    def n_weights(self) -> int:
        """There is no encoder."""
        return self.d_sae * self.d_in

    resample_shares: tuple[float, ...] = ()
    """Shares of training after which dead latents are pointed at badly reconstructed tokens; AuxK, which needs an
    encoder, cannot revive them."""

    @model_validator(mode="after")
    def _k_ends(self) -> "MatchingPursuitConfig":
        most = max(_FEW_STEPS, _STEPS * self.d_in)
        if self.k > most:
            raise ValueError(f"k={self.k} steps are too many for a pursuit in d_in={self.d_in}: at most {most}")
        return self


class MatchingPursuit(TrainableDictionary):
    """Matching pursuit autoencoder (Costa et al. 2025, arXiv:2506.03093; Mallat and Zhang 1993): the decoder is also
    the encoder.

    From the residual `r = x - b_dec`, k times: take the latent whose unit row has the largest product with `r`, add
    that product to its activation, subtract its contribution from `r`. As in the paper the largest product counts, not
    the largest in size: activations are positive, and a token ends early where no product is. A latent taken again adds
    to its activation.

    Gradients are those of the whole pursuit with the choices held fixed: an activation depends on its own row and,
    through the residual, on all rows taken before it. Products are with the unit row, so any row norm codes alike;
    training keeps rows at unit norm. Where it did not (`step="product"`), `gains [d_sae]` hold what the rows' norms
    were.
    """

    config: MatchingPursuitConfig
    gains: Tensor | None
    left: Tensor | None
    unit_decoder = True

    def __init__(self, config: MatchingPursuitConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE):
        super().__init__()
        self.ranks = ranks
        self.config, self.d_in, self.d_out, self.d_sae = config, config.d_in, config.d_in, config.d_sae
        self.resample_shares = config.resample_shares
        rows = torch.randn(self.d_sae, self.d_in, generator=generator)
        self.W_dec = nn.Parameter(rows / rows.norm(dim=-1, keepdim=True))
        self.b_dec = nn.Parameter(torch.zeros(self.d_in))
        self.register_buffer("gains", torch.ones(self.d_sae) if config.step == "product" else None)
        self.register_buffer("left", torch.tensor(config.stop_left) if config.stop_left else None)

    @by_token
    def encode(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n d_sae"]:
        return self.encode_sparse(x).dense()

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        return self.training_codes(x)

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        picks, values = self._choose(x)
        start = x - self.b_dec
        if gradients == "dense" or (self.gains is not None and torch.is_grad_enabled()):
            values = walk(start, self.W_dec, picks, self.gains)
        elif self.gains is None:
            values = _Walk.apply(start, self.W_dec, picks, values)
        rows, steps = (picks >= 0).nonzero(as_tuple=True)
        places, entries = (rows * self.d_sae + picks[rows, steps]).unique(return_inverse=True)
        sums = values.new_zeros(len(places)).index_add(0, entries, values[rows, steps])
        return Codes.from_pairs(places // self.d_sae, places % self.d_sae, sums, len(x), self.d_sae)

    @torch.no_grad()
    def _choose(self, x: Float[Tensor, "n d_in"]) -> tuple[Int[Tensor, "n k"], Float[Tensor, "n k"]]:
        """The latent taken in each step and its activation; -1 and 0 where a token was done before."""
        # An activation, times the row as it is, is what a step takes: a product with these rows times these gains.
        gains = 1 / _norms(self.W_dec) if self.gains is None else self.gains
        rows = self.W_dec * gains[:, None]
        # Each step needs all products with the residual. They change by the products of the row taken with all others,
        # which is no work of the processor but k reads of a row of the Gram matrix; that costs as much as one more
        # product with d_sae tokens.
        few = self.d_sae <= _GRAM_ROWS and self.d_sae < (self.config.k - 1) * len(x)
        with_gram = few and self.left is None  # which needs the residual itself
        gram = rows @ rows.T if with_gram else None
        n_rows = max(1, _CHUNK_SCORES // self.d_sae)
        picks = torch.full((len(x), self.config.k), -1, dtype=torch.int64, device=x.device)
        sizes = x.new_zeros(len(x), self.config.k)
        for start in range(0, len(x), n_rows):
            at = slice(start, start + n_rows)
            for step, (chosen, size) in enumerate(self._steps(x[at] - self.b_dec, rows, gram)):
                picks[at, step], sizes[at, step] = chosen, size
        return picks, sizes * gains[picks]  # where there is no pick, 0 of any gain

    def _steps(self, residual: Tensor, rows: Tensor, gram: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Latent and contribution of each token, step by step, until all are done."""
        least = max(self.config.stop_below, _ROUNDING * torch.finfo(rows.dtype).eps) * residual.norm(dim=-1)
        scores = residual @ rows.T
        seen = torch.zeros_like(scores, dtype=torch.bool) if self.config.stop_at_repeat else None
        for step in range(self.config.k):
            best, chosen = scores.max(-1)
            # A token that is done stays so: its scores no longer change.
            taken = best > least
            if not taken.any():
                return
            sizes = torch.where(taken, best, 0)
            yield torch.where(taken, chosen, -1), sizes
            if step + 1 == self.config.k:
                return
            if seen is not None:
                least = least.masked_fill(seen.gather(1, chosen[:, None])[:, 0], torch.inf)
                seen.scatter_(1, chosen[:, None], True)
            if gram is None:
                residual.addcmul_(rows[chosen], sizes[:, None], value=-1)
                if self.left is not None:
                    least = least.masked_fill(residual.norm(dim=-1) < self.left, torch.inf)
                torch.mm(residual, rows.T, out=scores)
            else:
                scores.addcmul_(gram[chosen], sizes[:, None], value=-1)

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"]) -> None:
        """Start the decoder bias at the mean of the data."""
        self.b_dec.copy_(x.mean(0, dtype=torch.float64))

    @torch.no_grad()
    def fold(self, x_scales: Sequence[float], target_scales: Sequence[float]) -> None:
        # Choices and contributions do not depend on the rows' norms, and scale with the input.
        norms = _norms(self.W_dec)
        self.W_dec.div_(norms[:, None])
        self.b_dec.div_(x_scales[0])
        if self.gains is not None:
            self.gains.mul_(norms)
        if self.left is not None:
            self.left.div_(x_scales[0])


def walk(
    residual: Float[Tensor, "n d"],
    W_dec: Float[Tensor, "d_sae d"],
    picks: Int[Tensor, "n k"],
    gains: Float[Tensor, " d_sae"] | None = None,
) -> Float[Tensor, "n k"]:
    """Activations along given choices, differentiated by autograd: in each step `row · residual / |row|²`, or with
    `gains` their square times that product, and 0 where there is no choice (-1)."""
    squares, values = W_dec.square().sum(-1) if gains is None else gains.square().reciprocal(), []
    for step in range(picks.shape[1]):
        chosen = picks[:, step].clamp_min(0)
        rows = W_dec[chosen]
        value = torch.where(picks[:, step] >= 0, (residual * rows).sum(-1) / squares[chosen], 0)
        residual = residual - value[:, None] * rows
        values.append(value)
    return torch.stack(values, dim=-1)


class _Walk(torch.autograd.Function):
    """`walk` with values already known from the choosing; backwards in the memory of one residual, which grows by what
    each step took."""

    @staticmethod
    def forward(ctx, start: Tensor, W_dec: Tensor, picks: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(start, W_dec, picks, values)
        return values.clone()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (start, W_dec, picks, values) = grads, ctx.saved_tensors
        to_start, to_rows, squares = torch.zeros_like(start), torch.zeros_like(W_dec), W_dec.square().sum(-1)
        chosen = picks.clamp_min(0)
        # dv/drow = (r - 2 v row) / |row|²; the second part is one factor for each latent, applied at the end.
        along = torch.zeros_like(squares)
        n_rows = max(1, _CHUNK_NUMBERS // start.shape[1])
        for first in range(0, len(start), n_rows):
            at = slice(first, min(first + n_rows, len(start)))
            n = at.stop - at.start
            offsets = torch.arange(0, n * picks.shape[1] + 1, picks.shape[1], device=start.device)
            residual = start[at] - bag_sums(W_dec, chosen[at].reshape(-1), offsets, values[at].reshape(-1))
            to_residual = to_start[at]
            for step in reversed(range(picks.shape[1])):
                latents, value = chosen[at, step], values[at, step, None]
                rows = W_dec[latents]
                # The value acts by itself and by shortening the residual of the steps after it; dv/dr = row / |row|².
                of_value = (grad[at, step] - torch.linalg.vecdot(to_residual, rows)) / squares[latents]
                of_value = torch.where(picks[at, step] >= 0, of_value, 0)[:, None]
                residual.addcmul_(rows, value)
                to_rows.index_add_(0, latents, (of_value * residual).addcmul_(to_residual, value, value=-1))
                along.index_add_(0, latents, (of_value * value)[:, 0])
                to_residual.addcmul_(rows, of_value)
        return to_start, to_rows.addcmul_(W_dec, along[:, None], value=-2), None, None


def _norms(rows: Tensor) -> Tensor:
    return rows.norm(dim=-1).clamp_min(torch.finfo(rows.dtype).tiny)
