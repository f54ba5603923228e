"""Weights in our orientation, and the types of ours that are made of them."""

from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from sparselex.base.errors import UserError, a
from sparselex.convert.tensors import Tensors
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.kinds import TokenNorm
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.dictionaries.types.abstopk import AbsTopK, AbsTopKConfig
from sparselex.dictionaries.types.gated import Gated, GatedConfig
from sparselex.dictionaries.types.jumprelu import JumpReLU, JumpReLUConfig
from sparselex.dictionaries.types.relu import ReLU, ReLUConfig
from sparselex.dictionaries.types.topk import TopK, TopKConfig

_EVEN = 1e-3
"""Rows whose norms differ by less than this share are of one norm: what 16-bit numbers leave of it."""

_FLOOR = 1e-6


class Weights(NamedTuple):
    """Weights in our orientation, before they become a type of ours."""

    W_enc: Tensor
    """`[d_in, d_sae]`."""

    b_enc: Tensor
    """`[d_sae]`."""

    W_dec: Tensor
    """`[d_sae, d_out]`."""

    b_dec: Tensor
    """`[d_out]`."""

    transcoder: bool = False
    """Whether the target is another site: nothing is subtracted from the input then."""

    W_skip: Tensor | None = None
    """`[d_out, d_in]`, of a skip transcoder."""

    token_norm: TokenNorm = "none"
    """What is done to each token before and undone after."""

    part_scales: Tensor | None = None
    """`[n_sites]`, of a crosscoder between sites of one width: what each was multiplied by when it was trained."""

    def uncentred(self) -> "Weights":
        """The same dictionary for `pre = x @ W_enc + b_enc`: an autoencoder of ours subtracts `b_dec` first, so the
        bias makes up for it; a transcoder reads its input as it is."""
        return self if self.transcoder else self._replace(b_enc=self.b_enc + self.b_dec @ self.W_enc)

    def scaled(self, x_scale: float, target_scale: float) -> "Weights":
        """The same dictionary for raw sites, when it was made for sites multiplied by these; activations keep their
        units."""
        return self._replace(
            W_enc=self.W_enc * x_scale,
            W_dec=self.W_dec / target_scale,
            b_dec=self.b_dec / target_scale,
            W_skip=None if self.W_skip is None else self.W_skip * (x_scale / target_scale),
        )

    def fill(self, dictionary: EncoderDictionary) -> None:
        """Copy into a dictionary of this `size`."""
        with torch.no_grad():
            for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
                getattr(dictionary, name).copy_(getattr(self, name))
            if self.W_skip is not None:
                dictionary.W_skip.copy_(self.W_skip)
            if self.part_scales is not None:
                dictionary.part_scales.copy_(self.part_scales)

    @property
    def size(self) -> dict[str, Any]:
        """The fields of a configuration that these weights fix."""
        size: dict[str, Any] = {
            "d_in": self.W_enc.shape[0],
            "d_sae": self.W_enc.shape[1],
            "token_norm": self.token_norm,
        }
        if self.transcoder:
            size |= {"d_out": self.W_dec.shape[1], "skip": self.W_skip is not None}
        if self.part_scales is not None:
            n = len(self.part_scales)
            size |= {"parts": (self.W_enc.shape[0] // n,) * n}
        return size


def to_relu(weights: Weights) -> ReLU:
    """`act = relu(pre)`."""
    dictionary = ReLU(ReLUConfig(**weights.size))
    weights.fill(dictionary)
    return dictionary


def to_jumprelu(weights: Weights, threshold: Tensor) -> JumpReLU:
    """`threshold [d_sae]` or a scalar, compared with pre-activations. No activation is negative here, so one below 0 is
    0; `checked` says so of those of a file."""
    dictionary = JumpReLU(JumpReLUConfig(**weights.size))
    weights.fill(dictionary)
    with torch.no_grad():
        # A latent whose rows are zero never opens, whatever its threshold was: one divided by their norm is infinite.
        dictionary.threshold.copy_((threshold.clamp_min(0) * dictionary.row_sizes()).nan_to_num(0.0))
    return dictionary


def checked(threshold: Tensor, tensors: Tensors, name: str) -> Tensor:
    """The same thresholds, a scalar or one for each latent; where some are below 0 that is noted, for they count as 0
    here and in a project that takes a ReLU besides, and one that was never learned is often so."""
    below = int((threshold < 0).sum())
    if below:
        which = "" if not threshold.ndim else f" of {below} of {len(threshold)} latents"
        tensors.notes.append(
            f"{name}{which} is below 0 (lowest {float(threshold.min()):.4g}) and taken as 0, so that every positive "
            "pre-activation is active there: it may never have been learned"
        )
    return threshold


def to_topk(weights: Weights, k: int | None, tensors: Tensors, *, by_contribution: bool, signed: bool = False) -> TopK:
    """The k largest of `pre * |decoder row|`, or of `pre` alone; with `signed` the largest in size."""
    norms = weights.W_dec.norm(dim=-1)
    # One norm for all rows: both ranks are the same, and the first needs nothing more to be kept.
    by_contribution = by_contribution or float((norms / norms.mean() - 1).abs().max()) <= _EVEN
    if not by_contribution:
        weights = weights._replace(W_dec=_lifted(weights.W_dec, norms))
    count = k or 0
    kind = AbsTopKConfig if signed else TopKConfig
    try:
        config = kind(**weights.size, k=count, rank_by="contribution" if by_contribution else "activation")
    except ValidationError as error:
        raise tensors.fault(f"k is {count}: {error.errors()[0]['msg']}") from None
    dictionary = AbsTopK(config) if isinstance(config, AbsTopKConfig) else TopK(config)
    weights.fill(dictionary)
    return dictionary


def _lifted(W_dec: Tensor, norms: Tensor) -> Tensor:
    """Rows of zeros (latents that were never chosen in training) given a length that no reconstruction shows, so that
    what is folded into the encoder still ranks them: they may take the place of others."""
    floor = _FLOOR * float(norms.mean())
    empty = (norms < floor).nonzero()[:, 0]
    lifted = W_dec.clone()
    lifted[empty] = torch.nn.functional.one_hot(empty % W_dec.shape[1], W_dec.shape[1]).float() * floor
    return lifted


def plain_topk(dictionary: TopK) -> Weights:
    """Weights whose pre-activations are what a TopK dictionary ranks by, for projects that compare those."""
    sizes = dictionary.rank_lengths()
    return Weights(
        dictionary.W_enc * sizes,
        dictionary.b_enc * sizes,
        dictionary.W_dec / sizes.clamp_min(torch.finfo(sizes.dtype).tiny)[:, None],  # rows of zeros stay
        dictionary.b_dec,
        transcoder=not dictionary.is_autoencoder,
        W_skip=dictionary.W_skip if dictionary.config.skip else None,
    )


def to_gated(weights: Weights, r_mag: Tensor, b_mag: Tensor) -> Gated:
    """`weights.b_enc` is the gate's bias; `b_mag` is added to `exp(r_mag) * (x - b_dec) @ W_enc`."""
    dictionary = Gated(GatedConfig(**weights.size))
    weights.fill(dictionary)
    with torch.no_grad():
        dictionary.r_mag.copy_(r_mag)
        dictionary.b_mag.copy_(b_mag)
    return dictionary


def unfit(dictionary: TrainableDictionary, layout: str) -> UserError:
    """The error for a dictionary that a layout cannot hold."""
    kind = type(dictionary).__name__
    if len(dictionary.parts_in) == 1:
        kind += " dictionary" if dictionary.is_autoencoder else " transcoder"
    elif dictionary.is_autoencoder:
        kind += " crosscoder"
    said = a(kind)
    return UserError(
        f"{said[0].upper()}{said[1:]} has no place in the layout of {layout}.",
        "a type that it holds",
        "choose another layout.",
    )
