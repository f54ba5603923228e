"""What every dictionary offers, and the parts that most of them share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.kinds import SelectionDtype
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse.products import Gradients, Scorer, decode_at
from sparselex.dictionaries.token_norm import TokenNorm, normalised

Select = Callable[[Tensor, int, Tensor], Tensor]
"""`torch.index_select`, or what stands for it."""


class DictionaryConfig(Config):
    """Fields that every dictionary type has."""

    d_in: PositiveInt
    """Width of the activations read."""

    d_sae: PositiveInt
    """Number of latents."""

    @property
    def only_read(self) -> str:
        """What is set for other projects' files alone, so that a dictionary with it is read and not trained; empty for
        all others."""
        return ""

    @property
    def n_blocks(self) -> int:
        """Equal ranges of latents, one after another, of which each is divided by itself when processes share the
        latents."""
        return 1


class EncoderConfig(DictionaryConfig):
    """Fields of the types with one encoder matrix: each of them can be an autoencoder, a transcoder or a crosscoder."""

    d_out: PositiveInt | None = None
    """Width of the target of a transcoder; None for a dictionary that reconstructs its input."""

    skip: bool = False
    """Whether a transcoder also passes a linear function of its input to the target (arXiv:2501.18823)."""

    parts: tuple[PositiveInt, ...] = ()
    """Widths of the sites that lie side by side in the input of a crosscoder: layers, or models; empty for a single
    site."""

    token_norm: TokenNorm = "none"
    """Normalisation of each token by itself before it is coded, undone in its reconstruction; of an autoencoder of one
    site."""

    @model_validator(mode="after")
    def _sites_fit(self) -> "EncoderConfig":
        if self.skip and self.d_out is None:
            raise ValueError(
                "skip=True needs a target of its own (d_out): an autoencoder that may copy its input learns nothing"
            )
        if self.parts and (self.d_out is not None or sum(self.parts) != self.d_in or len(self.parts) < 2):
            raise ValueError(
                f"parts={self.parts} must be two or more widths that sum to d_in={self.d_in}, without d_out"
            )
        if self.token_norm != "none" and (self.parts or self.d_out is not None):
            raise ValueError(
                f"token_norm={self.token_norm!r} is put back into what it was taken from: leave out d_out and parts"
            )
        return self


class Dictionary(nn.Module, ABC):
    """An encoder into sparse latents and a linear decoder. Rows of `W_dec` are the directions.

    A target other than the input is allowed for (`d_out`); codes may be signed. Everything takes and gives raw
    activations: the scale used in training is folded into the weights when training ends.
    """

    config: DictionaryConfig
    d_in: int
    d_out: int
    d_sae: int
    W_dec: Tensor
    b_dec: Tensor

    @abstractmethod
    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """Activations of all latents; most are 0."""

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        """The active latents only. Equal to `encode`, in less memory where the type allows."""
        return Codes.from_dense(self.encode(x))

    def decode(self, acts: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_out"]:
        """Reconstruction from all latents."""
        return acts @ self.W_dec + self.b_dec

    def decode_sparse(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        """Reconstruction from active latents."""
        return decode_at(codes, self.W_dec, self.b_dec)

    def directions(self) -> Float[Tensor, "d_sae d_out"]:
        """Decoder rows as they are compared with each other: of several sites, each in units of its own scale."""
        return self.W_dec.detach()

    def bypass(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"] | None:
        """What reaches the target past the latents, or None where nothing does."""
        return None

    def forward(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """Reconstruction of the target of `x`, which is `x` itself for an autoencoder."""
        return self.reconstruct(x, self.encode_sparse(x))

    def reconstruct(self, x: Float[Tensor, "n d_in"], codes: Codes) -> Float[Tensor, "n d_out"]:
        """Reconstruction from the codes of `x`, what bypasses them included."""
        decoded, past = self.decode_sparse(codes), self.bypass(x)
        return decoded if past is None else decoded + past

    def check_width(self, width: int, where: str) -> None:
        """Raise `UserError` if activations of `width` cannot be read by this dictionary."""
        if width != self.d_in:
            raise UserError(
                f"{where} has width {width}, and the dictionary reads width {self.d_in}.",
                f"activations of width {self.d_in}",
                "use the dictionary with the hook and the model it was trained on.",
            )


class TrainableDictionary(Dictionary):
    """A dictionary whose parameters are found by gradient. Trained on scaled sites (E|x|² = width), then folded
    once."""

    unit_decoder = False
    """Whether training keeps decoder rows at unit norm, their gradients orthogonal to them."""

    resample_shares: tuple[float, ...] = ()
    """Shares of training after which dead latents are resampled."""

    lr_factors: ClassVar[Mapping[str, float]] = {}
    """Learning rate of single parameters, relative to the others'."""

    latent_dims: ClassVar[Mapping[str, int]] = {}
    """The dimension along which each tensor is divided when processes share the latents, a list of tensors under its
    own name; empty where they cannot."""

    ranks: Ranks = ALONE
    """The processes that train this dictionary together. Those that share the latents each make their own: `d_sae` is
    their number here, and `config.d_sae` that of all."""

    def latent_dim(self, name: str) -> int | None:
        """The dimension along which the tensor `name` of the state is divided; None where each process has all of
        it."""
        return self.latent_dims.get(name.split(".")[0])

    @property
    def is_autoencoder(self) -> bool:
        """Whether the target is the input."""
        return True

    def training_tokens(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """Raw tokens as training reads and, in an autoencoder, reconstructs them, before they are scaled."""
        return x

    @property
    def parts_in(self) -> tuple[int, ...]:
        """Widths of the sites in the input, each scaled by itself."""
        return (self.d_in,)

    @property
    def parts_out(self) -> tuple[int, ...]:
        """Widths of the sites in the target."""
        return self.parts_in if self.is_autoencoder else (self.d_out,)

    @property
    def aux_width(self) -> int:
        """Width of which AuxK takes half as its number of latents."""
        return self.d_in

    def part_norms(self) -> Float[Tensor, "n_parts d_sae"]:
        """Norm of each latent's decoder row at each site, in units of the site's own scale where there are several."""
        return self.W_dec.norm(dim=-1)[None]

    def row_sizes(self) -> Float[Tensor, " d_sae"]:
        """Length of what a unit activation of each latent writes: the decoder row's norm; for several sites the sum of
        its norms there (Anthropic's crosscoders, October 2024; arXiv:2504.02922 for BatchTopK)."""
        norms = self.part_norms()
        return norms[0] if len(norms) == 1 else norms.sum(0)

    @abstractmethod
    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        """Codes of a training batch, with gradients; may select over the whole batch, and may list places of value 0
        that pass a pseudo-gradient."""

    def training_decode(self, codes: Codes, *, gradients: Gradients = "auto") -> Float[Tensor, "n d_out"]:
        """`decode_sparse` of a training batch, by the way that `gradients` names; of all latents, wherever they lie."""
        if self.ranks.n_latents == 1:
            return decode_at(codes, self.W_dec, self.b_dec, gradients=gradients)
        here = decode_at(codes, self.W_dec, torch.zeros_like(self.b_dec), gradients=gradients)
        return self.ranks.over_latents(here) + self.b_dec

    def reconstruct_from_dead(
        self, x: Float[Tensor, "n d_in"], dead: Int[Tensor, " n_dead"], k_aux: int, select: Select = torch.index_select
    ) -> Float[Tensor, "n d_out"] | None:
        """What the `k_aux` of these latents with the largest positive pre-activations of each token give together,
        without bias, with gradients for their rows of encoder and decoder alone; None for a type that revives its dead
        in another way. Weights are taken with `select`."""
        return None

    @abstractmethod
    def prepare(self, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"]) -> None:
        """Take starting values from a sample of the scaled data, before the first step; one and the same sample for all
        processes."""

    def penalty(self, codes: Codes, target: Float[Tensor, "n d_out"], progress: float) -> Float[Tensor, ""]:
        """The type's own terms of the loss, mean over tokens; `target` is what the latents are to give, without the
        bypass, and `progress` the share of training done."""
        return target.new_zeros(())

    @abstractmethod
    def fold(self, x_scales: Sequence[float], target_scales: Sequence[float]) -> None:
        """Take over the scales of the sites and the decoder's norms into the weights: same reconstructions of raw
        activations.

        Trained on sites multiplied by these factors, one for each of `parts_in` and `parts_out`; afterwards the
        dictionary reads and gives raw activations, and an activation is the length of its contribution (`row_sizes`).
        """


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
        own = type(self).encode, type(self).encode_sparse
        if config.token_norm != "none" and own != (EncoderDictionary.encode, EncoderDictionary.encode_sparse):
            raise UserError(
                f"{type(self).__name__} dictionaries encode in a way of their own, and token_norm is "
                f"{config.token_norm}.",
                "token_norm=none, or a type that defines `code`",
                "leave token_norm out.",
            )
        rows = ranks.randn(config.d_sae, self.d_in, generator)
        rows *= decoder_norm / rows.norm(dim=-1, keepdim=True)
        read = rows.clone()
        if not self.is_autoencoder:
            rows = ranks.randn(config.d_sae, self.d_out, generator)
            rows *= decoder_norm / rows.norm(dim=-1, keepdim=True)
        self.W_dec = nn.Parameter(rows)
        self.W_enc = nn.Parameter(read.T)
        self.b_enc = nn.Parameter(torch.zeros(self.d_sae))
        self.b_dec = nn.Parameter(torch.zeros(self.d_out))
        if config.skip:
            self.W_skip = nn.Parameter(torch.zeros(self.d_out, self.d_in))
        if config.parts:
            self.register_buffer("part_scales", torch.ones(len(config.parts)))

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

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        if not self._normalises:
            return self.code(x)
        token = normalised(x, self.config.token_norm)
        return self.code(token.x) * token.size

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        if not self._normalises:
            return self.code_sparse(x)
        token = normalised(x, self.config.token_norm)
        codes = self.code_sparse(token.x)
        return codes.with_values(codes.values * token.size[codes.rows, 0])

    def code(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """`encode` of tokens as the weights read them, normalised where `token_norm` says so: what a type defines. One
        that defines `encode` in place of it can have no `token_norm`."""
        if type(self).encode is EncoderDictionary.encode:
            raise NotImplementedError(f"{type(self).__name__} defines neither `code` nor `encode`.")
        return self.encode(x)

    def code_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        """The active latents of `code`, in less memory where the type allows."""
        return Codes.from_dense(self.code(x))

    def training_tokens(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        return normalised(x, self.config.token_norm).x

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

    def scorer(self, dtype: torch.dtype | None = None, *, less: Float[Tensor, " d_sae"] | None = None) -> Scorer:
        """What gives each latent's contribution length `pre_act * row_size` (minus `less`) by one product."""
        sizes = self.row_sizes()
        bias = (self.b_enc - self.centre @ self.W_enc) * sizes
        return Scorer(self.W_enc.T, sizes, bias if less is None else bias - less, dtype or self.W_enc.dtype)

    def reconstruct_from_dead(
        self, x: Float[Tensor, "n d_in"], dead: Int[Tensor, " n_dead"], k_aux: int, select: Select = torch.index_select
    ) -> Float[Tensor, "n d_out"] | None:
        pre = torch.addmm(select(self.b_enc, 0, dead), x - self.centre.detach(), select(self.W_enc, 1, dead))
        return largest_positive(pre, k_aux, self.ranks) @ select(self.W_dec, 0, dead)

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
        # With one site, activations get the units of its raw values; with several there is no common unit but their
        # scales.
        unit = 1.0 if self.config.parts else target_scales[0]
        x_scale, target_scale = (
            spread(x_scales, self.parts_in, self.b_dec),
            spread(target_scales, self.parts_out, self.b_dec),
        )
        self.W_dec.div_(sizes[:, None])
        if self.config.parts:  # of one site both units are the same
            self.W_dec.div_(target_scale)
        self.b_dec.div_(target_scale)
        # pre = W_enc·(s x - centre) + b_enc; an activation a contributes a·size in the scaled target.
        self.W_enc.mul_(sizes / unit).mul_(x_scale[:, None])
        self.b_enc.mul_(sizes / unit)
        if self.config.skip:
            self.W_skip.mul_(x_scale).div_(target_scale[:, None])
        if self.config.parts:
            self.part_scales.mul_(spread(target_scales, [1] * len(target_scales), self.b_dec))
        self._normalises = self.config.token_norm != "none"
        self._fold_extra(unit, sizes)

    def _fold_extra(self, unit: float, sizes: Tensor) -> None:
        """Bring what else a type keeps to new units: contributions shrink by `unit`, activations grow by `sizes /
        unit`."""


def largest_positive(pre: Float[Tensor, "n m"], k: int, ranks: Ranks = ALONE) -> Float[Tensor, "n m"]:
    """`pre` with all but the k largest of each row, and all that are negative, at 0; of processes that share the
    latents, each gets its own of the k largest of all."""
    if ranks.n_latents > 1:
        best = F.pad(pre, (0, max(0, k - pre.shape[1]))).topk(k, dim=-1).values
        least = ranks.gather_latents(best).topk(k, dim=-1).values[:, -1:]
        return torch.where(pre >= least, pre, 0).relu()
    kept = pre.topk(min(k, pre.shape[1]), dim=-1)
    return torch.zeros_like(pre).scatter(-1, kept.indices, kept.values.relu())


def unit(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows at norm 1; those of zeros stay."""
    return rows / rows.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)


def spread(scales: Sequence[float], parts: Sequence[int], like: Tensor) -> Float[Tensor, " d"]:
    """Each site's factor at each of its coordinates, in the precision and on the device of `like`."""
    values = [scale for scale, width in zip(scales, parts, strict=True) for _ in range(width)]
    return torch.tensor(values, dtype=like.dtype, device=like.device)


class KConfig(EncoderConfig):
    """Fields of the types that keep a fixed number of latents."""

    k: PositiveInt = 32
    """Latents kept per token, exactly or on average over a training batch; this is the L0 unless fewer are positive."""

    selection: SelectionDtype = "float32"
    """Precision in which training chooses latents."""

    @model_validator(mode="after")
    def _k_fits(self) -> "KConfig":
        if self.k > self.d_sae:
            raise ValueError(
                f"k={self.k} latents per token cannot be kept of d_sae={self.d_sae}; lower k or raise d_sae"
            )
        return self
