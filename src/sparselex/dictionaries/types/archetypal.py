"""Archetypal dictionaries: decoder rows are convex combinations of data, give or take a little."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, FiniteFloat, model_validator
from torch import Tensor, nn

from sparselex.base.bounds import Count
from sparselex.base.errors import UserError
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import KConfig, one_site
from sparselex.dictionaries.controls.centroids import kmeans
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.types.topk import TopK

_START_SHARE = 0.9
"""Weight that a row's own point has at the start. The rest is spread over all points at random: each can gain weight
from there, and rows that start at the same point differ."""


class _BatchRows(NamedTuple):
    """The decoder's rows as a training batch uses them, several times in one graph."""

    rows: Tensor
    changes: list[int]
    """Of what they were made of, when they were made."""


class ArchetypalConfig(KConfig):
    """Configuration of `Archetypal`."""

    kind: Literal["archetypal"] = "archetypal"
    """Type of dictionary."""

    n_points: Count = 1024
    """Centroids of the data that the rows are combinations of; at most as many as there are calibration tokens."""

    delta: FiniteFloat = Field(default=0.5, ge=0)
    """How far a row may leave the convex hull of the centroids, as a share of their mean length; 0 keeps it inside."""

    @classmethod
    def fields_at(cls, read: Sequence[int], written: Sequence[int], expansion: float | int) -> dict[str, Any]:
        """Rows are combinations of the input's own data: of one site, which is reconstructed."""
        return one_site(cls, read, written, expansion)

    @classmethod
    def field_of(cls, choice: str) -> str | None:
        """There is no target to skip to."""
        return None if choice == "skip" else super().field_of(choice)

    @property
    def n_weights(self) -> int:
        """Each row is a mixture of the points, besides."""
        return super().n_weights + self.n_points * (self.d_in + self.d_sae)

    @model_validator(mode="after")
    def _one_site(self) -> "ArchetypalConfig":
        if self.d_out is not None or self.parts:
            raise ValueError("archetypal rows are combinations of the input's own data: leave out d_out and parts")
        return self


class Archetypal(TopK):
    """Relaxed archetypal autoencoder (Fel et al. 2025, arXiv:2502.12892) with the encoder of TopK.

    `W_dec = scale * (softmax(mix) @ points + offset)`, each row of `offset` cut to length `delta`: rows stay near the
    convex hull of the data, which the paper finds to make runs of different seeds end nearer each other. `points
    [n_points, d_in]` are k-means centroids of the calibration sample less its mean (where `b_dec` starts), divided by
    their mean length.

    The constraints hold by construction, with exact gradients, and nothing needs to be projected after a step. A step
    costs two products of `d_sae` by `n_points` rows more than one of TopK. `fold` writes the rows out: what is saved is
    a plain TopK dictionary.
    """

    config: ArchetypalConfig  # type: ignore[assignment]
    points: Tensor
    latent_dims: ClassVar[Mapping[str, int]] = {**TopK.latent_dims, "mix": 0, "offset": 0}
    # Logits of a softmax move by units where other weights move by hundredths.
    lr_factors: ClassVar[Mapping[str, float]] = {"mix": 10.0}

    def __init__(self, config: ArchetypalConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE):
        super().__init__(config, generator, ranks)
        del self.W_dec  # until folded it is computed, see __getattr__
        self._batch_rows: _BatchRows | None = None
        self._seed = int(torch.randint(2**62, (), generator=generator))
        points = torch.randn(config.n_points, self.d_in, generator=generator)
        self.register_buffer("points", points / points.norm(dim=-1, keepdim=True))
        self.mix = nn.Parameter(torch.zeros(self.d_sae, config.n_points))
        self.offset = nn.Parameter(torch.zeros(self.d_sae, self.d_in))
        self.scale = nn.Parameter(torch.ones(()))
        self._start(generator)

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        # Asked only for what is no attribute, parameter or buffer: once folded, W_dec is one.
        if name == "W_dec" and "mix" in self._parameters:
            return self._current_rows()
        return super().__getattr__(name)

    def _current_rows(self) -> Tensor:
        """`W_dec`: the training batch's own until it is differentiated or what it is made of changes, else computed
        anew."""
        kept = self._batch_rows
        if kept is None or kept.changes != self._changes():
            return self._new_rows()
        return kept.rows if torch.is_grad_enabled() else kept.rows.detach()

    def _changes(self) -> list[int]:
        """How often each tensor that rows are made of was changed in place, as torch counts it. Adam's fused step is
        not counted, but it only ever follows a backward pass."""
        return [tensor._version for tensor in (self.mix, self.offset, self.scale, self.points)]

    def _new_rows(self) -> Tensor:
        lengths = self.offset.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(self.offset.dtype).eps)
        near = self.offset * (self.config.delta / lengths).clamp_max(1)
        return self.ranks.shared(self.scale) * torch.addmm(near, self.mix.softmax(-1), self.points)

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        rows, self._batch_rows = self._new_rows(), None
        if rows.requires_grad:
            self._batch_rows = _BatchRows(rows, self._changes())
            rows.register_hook(self._forget)
        return super().training_codes(x, gradients=gradients)

    def _forget(self, grad: Tensor) -> None:
        self._batch_rows = None

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"]) -> None:
        """Take `b_dec` and the points from the data and start `W_enc` at the rows' directions. Raises `UserError` for
        fewer tokens than points."""
        super().prepare(x, target)
        if len(x) < self.config.n_points:
            raise UserError(
                f"{self.config.n_points} points were to be made of {len(x)} calibration tokens.",
                "at least as many tokens as points",
                "lower n_points, or raise batch_size or calibration_batches.",
            )
        points = kmeans(x - self.b_dec, self.config.n_points, torch.Generator(device="cpu").manual_seed(self._seed))
        points = self.ranks.same(points)  # sums that are rounded otherwise can end in other centroids
        self.points.copy_(points / points.norm(dim=-1).mean())
        self._start_encoder()

    @torch.no_grad()
    def _start(self, generator: torch.Generator | None) -> None:
        n, d_sae = self.config.n_points, self.config.d_sae
        weights = self.ranks.part(torch.empty(d_sae, n).exponential_(generator=generator), 0).clone()
        weights *= (1 - _START_SHARE) / weights.sum(-1, keepdim=True)
        own = torch.cat([torch.randperm(n, generator=generator) for _ in range(-(-d_sae // n))])[:d_sae]
        weights[torch.arange(self.d_sae), self.ranks.part(own, 0)] += _START_SHARE
        self.mix.copy_(weights.log())
        self._start_encoder()

    def _start_encoder(self) -> None:
        """Rows of norm 1 on average, the encoder their transpose at unit norm."""
        rows = self._new_rows()
        norms = rows.norm(dim=-1, keepdim=True)
        self.scale.div_(self.ranks.over_latents(norms.mean()) / self.ranks.n_latents)
        self.W_enc.copy_((rows / norms).T)

    @torch.no_grad()
    def fold(self, x_scales: Sequence[float], target_scales: Sequence[float]) -> None:
        rows = self._new_rows()
        for name in ("mix", "offset", "scale", "points"):
            delattr(self, name)
        self._batch_rows = None
        self.W_dec = nn.Parameter(rows)
        super().fold(x_scales, target_scales)
