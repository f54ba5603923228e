"""Frozen controls: dictionaries of which a part never learns. A measure that does not tell them from trained ones says
little.

Korznikov et al. 2026, arXiv:2602.14111.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.dictionaries.kinds import Frozen
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.training.decoder import normalise

_LEAST_NORM = 1e-6
"""Norm, relative to the first one, under which a row in its cone does not fall: a row of zeros has no direction."""


class Freeze:
    """Holds a part of a dictionary at what it was when this was made: as drawn, before starting values are taken from
    data and before a checkpoint is read.

    The first weights follow from the seed, so a run that is taken up again holds the same ones. Raises `UserError` for
    a type that does not learn the part by itself.
    """

    def __init__(self, dictionary: TrainableDictionary, frozen: Frozen, cosine: float):
        self.frozen, self.cosine, self._unit = frozen, cosine, dictionary.unit_decoder and frozen == "soft_decoder"
        if frozen == "nothing":
            return
        name = "W_enc" if frozen == "encoder" else "W_dec"
        found = dict(dictionary.named_parameters()).get(name)
        if found is None:
            raise UserError(
                f"{type(dictionary).__name__} dictionaries have no {name} that could be frozen ({frozen}).",
                "a type that learns it as a matrix of its own, such as batchtopk",
                "choose another type, or frozen=nothing.",
            )
        self._parameter, self._first = found, found.detach().clone()

    @torch.no_grad()
    def before_clipping(self) -> None:
        """Forget the gradient of what does not learn: it would count in the norm that is clipped, and Adam would
        remember it."""
        if self.frozen in ("decoder", "encoder") and self._parameter.grad is not None:
            self._parameter.grad.zero_()

    @torch.no_grad()
    def after_step(self) -> None:
        """Undo what left its bounds, in Adam's step or by normalising and resampling."""
        if self.frozen in ("decoder", "encoder"):
            self._parameter.copy_(self._first)
        elif self.frozen == "soft_decoder":
            self._parameter.copy_(into_cone(self._parameter, self._first, self.cosine))
            if self._unit:
                normalise(self._parameter)


@torch.no_grad()
def into_cone(
    rows: Float[Tensor, "d_sae d_out"], axes: Float[Tensor, "d_sae d_out"], cosine: float
) -> Float[Tensor, "d_sae d_out"]:
    """The point nearest to each row at which its cosine with its axis is at least `cosine` (from 0 to 1).

    A row inside its cone stays to the bit. One outside goes to the cone's surface, in the plane of row and axis, at the
    length of its shadow there. Where the nearest point is the tip (the row points away) it ends near the tip instead,
    on the surface, at a millionth of the axis's length.
    """
    lengths = axes.norm(dim=-1, keepdim=True)
    units = axes / lengths
    along = (rows * units).sum(-1, keepdim=True)
    across = rows - along * units
    distance = across.norm(dim=-1, keepdim=True)
    sine = (1 - cosine**2) ** 0.5
    aside = across / distance.clamp_min(torch.finfo(rows.dtype).tiny)
    edge = cosine * units + sine * aside
    shadow = (cosine * along + sine * distance).maximum(_LEAST_NORM * lengths)
    inside = sine * along >= cosine * distance
    return torch.where(inside & (along > 0), rows, shadow * edge)
