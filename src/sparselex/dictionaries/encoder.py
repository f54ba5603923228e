"""Dictionaries with one encoder matrix: autoencoders, transcoders and crosscoders of most types."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import EncoderConfig
from sparselex.dictionaries.dictionary import by_token
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse.products import Scorer
from sparselex.dictionaries.token_norm import normalised
from sparselex.dictionaries.trainable import Select, TrainableDictionary
from sparselex.dictionaries.vectors import largest_positive, spread, unit_rows


class EncoderDictionary(TrainableDictionary):
    """A dictionary with one encoder matrix: pre-activations are `(x - centre) @ W_enc + b_enc`.

    An autoencoder is centred by its `b_dec`. A transcoder (`d_out`) reads one site and writes another, is not centred,
    and with `skip` adds `x @ W_skip.T`. A crosscoder (`parts`) reads and writes several sites side by side with one
    code.

    `W_enc [d_in, d_sae]` lies in memory latent by latent, so that a latent's weights are neighbours and sparse
    gradients need no transpose. Decoder rows start random with unit norm and `W_enc` as their transpose, which prevents
    most dead latents (Gao et al. 2024, arXiv:2406.04093, section 2.4); a transcoder's rows start where its encoder's
    pre-activations point in the target (`prepare`).

    With `token_norm`, training runs on normalised tokens throughout. Once folded, the dictionary normalises raw tokens
    itself: an activation is multiplied by the token's size, so that it is the length of a contribution as ever, while
    thresholds and ranks are those of the normalised token; what of the token's mean and size no activation carries goes
    by `bypass`. The tensors are the same before and after: the state of a folded dictionary is to be read into a folded
    one.
    """

    config: EncoderConfig
    part_scales: Tensor
    latent_dims: ClassVar[Mapping[str, int]] = {"W_dec": 0, "W_enc": 1, "b_enc": 0}

    def __init__(
        self,
        config: EncoderConfig,
        generator: torch.Generator | None = None,
        ranks: Ranks = ALONE,
        *,
        decoder_norm: float = 1.0,
    ):
        super().__init__()
        self.config, self.ranks, self.d_in, self.d_sae = config, ranks, config.d_in, config.d_sae // ranks.n_latents
        self.d_out = config.d_out or config.d_in
        self._normalises = False  # before folding, tokens come normalised
        read = self._drawn_rows(self.d_in, generator, decoder_norm)
        written = read.clone() if self.is_autoencoder else self._drawn_rows(self.d_out, generator, decoder_norm)
        self.W_dec = nn.Parameter(written)
        self.W_enc = nn.Parameter(read.T)
        self.b_enc = nn.Parameter(torch.zeros(self.d_sae))
        self.b_dec = nn.Parameter(torch.zeros(self.d_out))
        if config.skip:
            self.W_skip = nn.Parameter(torch.zeros(self.d_out, self.d_in))
        if config.parts:
            self.register_buffer("part_scales", torch.ones(len(config.parts)))

    def _drawn_rows(self, width: int, generator: torch.Generator | None, norm: float) -> Tensor:
        rows = self.ranks.randn(self.config.d_sae, width, generator)
        rows *= norm / rows.norm(dim=-1, keepdim=True)
        return rows

    @property
    def is_autoencoder(self) -> bool:
        return self.config.d_out is None

    @property
    def parts_in(self) -> tuple[int, ...]:
        return self.config.parts or (self.d_in,)

    @property
    def centre(self) -> Float[Tensor, " d_in"]:
        """What is subtracted from the input before encoding."""
        return self.ranks.shared(self.b_dec) if self.is_autoencoder else self.b_enc.new_zeros(self.d_in)

    def encoder_rows(self) -> Float[Tensor, "d_sae d_in"]:
        rows = self.W_enc.detach().T
        # Weights are for raw activations: those of a site of small ones are the largest, and would count alone.
        return rows / spread(self.part_scales.tolist(), self.parts_in, rows) if self.config.parts else rows

    def encoder_bias(self) -> Float[Tensor, " d_sae"]:
        return self.b_enc.detach()

    def site_scales(self) -> Float[Tensor, " n_parts"]:
        return self.part_scales.detach() if self.config.parts else super().site_scales()

    @abstractmethod
    def code(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """Activations of all latents, of tokens as the weights read them: what a type defines, and `encode` calls."""

    def code_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        """The active latents of `code`, in less memory where the type allows."""
        return Codes.from_dense(self.code(x))

    @final
    @by_token
    def encode(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n d_sae"]:
        if not self._normalises:
            return self.code(x)
        token = normalised(x, self.config.token_norm)
        return self.code(token.x) * token.size

    @final
    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        if not self._normalises:
            return self.code_sparse(x)
        token = normalised(x, self.config.token_norm)
        codes = self.code_sparse(token.x)
        return codes.with_values(codes.values * token.size[codes.rows, 0])

    def training_tokens(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        return normalised(x, self.config.token_norm).x

    def raw_reconstruction(
        self, x_hat: Float[Tensor, "n d_out"], x: Float[Tensor, "n d_in"]
    ) -> Float[Tensor, "n d_out"]:
        if self.config.token_norm == "none":
            return x_hat
        token = normalised(x, self.config.token_norm)
        return x_hat * token.size + token.shift

    def pre_acts(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """`(x - centre) @ W_enc + b_enc`; of a token that is normalised already."""
        bias = self.b_enc - self.centre @ self.W_enc if self.is_autoencoder else self.b_enc
        return torch.addmm(bias, x, self.W_enc)

    def bypass(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"] | None:
        """`x @ W_skip.T` of a skip transcoder; with `token_norm` the token's mean, and `b_dec` in its size less the one
        that `decode` adds."""
        if self._normalises:
            token = normalised(x, self.config.token_norm)
            return token.shift + (token.size - 1) * self.b_dec
        return x @ self.W_skip.T if self.config.skip else None

    def part_norms(self) -> Float[Tensor, "n_parts d_sae"]:
        if not self.config.parts:
            return super().part_norms()
        rows = self.W_dec.split(self.parts_out, dim=-1)
        return torch.stack([part.norm(dim=-1) for part in rows]) * self.part_scales[:, None]

    def directions(self) -> Float[Tensor, "d_sae d_out"]:
        if not self.config.parts:
            return super().directions()
        return self.W_dec.detach() * spread(self.part_scales.tolist(), self.parts_out, self.b_dec)

    def rank_lengths(self) -> Float[Tensor, " d_sae"]:
        """What pre-activations are multiplied by before latents are compared: here contributions are."""
        return self.row_sizes()

    def scorer(self, dtype: torch.dtype | None = None, *, less: Float[Tensor, " d_sae"] | None = None) -> Scorer:
        """What gives each latent's `pre_act * rank_length` (minus `less`) by one product."""
        sizes = self.rank_lengths()
        bias = (self.b_enc - self.centre @ self.W_enc) * sizes
        return Scorer(self.W_enc.T, sizes, bias if less is None else bias - less, dtype or self.W_enc.dtype)

    def reconstruct_from_dead(
        self, x: Float[Tensor, "n d_in"], dead: Int[Tensor, " n_dead"], k_aux: int, select: Select = torch.index_select
    ) -> Float[Tensor, "n d_out"] | None:
        pre = torch.addmm(select(self.b_enc, 0, dead), x - self.centre.detach(), select(self.W_enc, 1, dead))
        return largest_positive(pre, k_aux, self.ranks) @ select(self.W_dec, 0, dead)

    @torch.no_grad()
    def revive(
        self,
        dead: Int[Tensor, " n_dead"],
        x: Float[Tensor, "n_dead d_in"],
        target: Float[Tensor, "n_dead d_out"],
        mean: Float[Tensor, " d_in"],
    ) -> list[tuple[Tensor, int]]:
        """Besides, encoder rows become the directions of the tokens at 0.2 times the mean norm of living latents'
        rows, biases 0, or of a transcoder what centres the data."""
        replaced = super().revive(dead, x, target, mean)
        # A transcoder does not subtract its centre: its bias does.
        centre = self.centre if self.is_autoencoder else mean
        self.W_enc[:, dead] = 0.2 * self._mean_norm_without(dead) * unit_rows(x - centre).T
        self.b_enc[dead] = 0 if self.is_autoencoder else -(centre @ self.W_enc[:, dead])
        return [*replaced, (self.W_enc, 1), (self.b_enc, 0)]

    def _mean_norm_without(self, dead: Tensor) -> float:
        """Mean norm of the encoder rows of all other latents; of all, where none is alive."""
        alive = torch.ones(self.d_sae, dtype=torch.bool, device=dead.device)
        alive[dead] = False
        if not int(self.ranks.over_latents(alive.sum())):
            alive[:] = True
        norms = self.W_enc.norm(dim=0)
        return float(self.ranks.over_latents(norms[alive].sum()) / self.ranks.over_latents(alive.sum()))

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"]) -> None:
        """Start the decoder bias at the mean of the target. A transcoder's encoder is centred on the data by `b_enc`,
        and each of its decoder rows points where the target goes on average when that latent's pre-activation rises."""
        self.b_dec.copy_(target.mean(0, dtype=torch.float64))
        if self.is_autoencoder:
            return
        mean = x.mean(0, dtype=torch.float64).to(x.dtype)
        self.b_enc.copy_(-(mean @ self.W_enc))
        norms = self.W_dec.norm(dim=-1, keepdim=True)
        slopes = self.W_enc.T @ ((x - mean).T @ (target - self.b_dec))
        self.W_dec.copy_(norms * slopes / slopes.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny))

    @torch.no_grad()
    def fold(self, x_scales: Sequence[float], target_scales: Sequence[float]) -> None:
        sizes = self.row_sizes().clamp_min(torch.finfo(self.W_dec.dtype).tiny)
        several = bool(self.config.parts)
        # With one site, activations get the units of its raw values; with several there is no common unit but their
        # scales.
        unit = 1.0 if several else target_scales[0]
        x_scale = spread(x_scales, self.parts_in, self.b_dec)
        target_scale = spread(target_scales, self.parts_out, self.b_dec)
        self.W_dec.div_(sizes[:, None])
        if several:  # of one site both units are the same
            self.W_dec.div_(target_scale)
            self.part_scales.mul_(spread(target_scales, [1] * len(target_scales), self.b_dec))
        self.b_dec.div_(target_scale)
        # pre = W_enc·(s x - centre) + b_enc; an activation a contributes a·size in the scaled target.
        self.W_enc.mul_(sizes / unit).mul_(x_scale[:, None])
        self.b_enc.mul_(sizes / unit)
        if self.config.skip:
            self.W_skip.mul_(x_scale).div_(target_scale[:, None])
        self._normalises = self.config.token_norm != "none"
        self._fold_extra(unit, sizes)

    def _fold_extra(self, unit: float, sizes: Tensor) -> None:
        """Bring what else a type keeps to new units: contributions shrink by `unit`, activations grow by `sizes /
        unit`."""
