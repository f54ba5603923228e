"""JumpReLU dictionaries: a latent is active where its contribution exceeds a learned threshold of its own."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sparselex.base.bounds import Amount
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import EncoderConfig
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse.products import encode_at
from sparselex.dictionaries.sparse.selection import above
from sparselex.dictionaries.types.relu import warmed


class JumpReLUConfig(EncoderConfig):
    """Configuration of `JumpReLU`."""

    kind: Literal["jumprelu"] = "jumprelu"
    """Type of dictionary."""

    sparsity: Literal["target_l0", "l0", "tanh"] = "target_l0"
    """The penalty. `target_l0`: `weight * d_in * (L0 / target_l0 - 1)²`. `l0`: `weight * L0` (arXiv:2407.14435).
    `tanh`: `weight * sum_i tanh(4 act_i |W_dec_i|)` (Anthropic, January 2025)."""

    target_l0: Amount = 32.0
    """Active latents per token aimed at by `target_l0`; thresholds also start where the data has that many."""

    weight: Amount = 1.0
    """Weight of the penalty, for a squared error summed over `d_in` and inputs scaled to E|x|² = d_in."""

    gradient: Literal["threshold", "everything"] = "threshold"
    """Where the pseudo-gradient of the jump goes: to thresholds only (arXiv:2407.14435), or to encoder weights too
    (Anthropic, January 2025)."""

    bandwidth: Amount = 0.5
    """Width of the window around a threshold in which the pseudo-gradient acts, in units of contributions (inputs
    scaled to E|x|² = d_in). Published: 0.001 * sqrt(d_in) for billions of tokens (arXiv:2408.05147), 2 (Anthropic)."""

    warmup_share: float = Field(default=0.05, ge=0, le=1)
    """Share of training over which the penalty's weight rises from zero."""

    @classmethod
    def field_of(cls, choice: str) -> str | None:
        """`k` is aimed at."""
        return super().field_of("target_l0" if choice == "k" else choice)

    @property
    def asked_l0(self) -> float | None:
        return self.target_l0 if self.sparsity == "target_l0" else None


class JumpReLU(EncoderDictionary):
    """JumpReLU sparse autoencoder: `act = pre * (pre |W_dec_i| > threshold_i)`.

    The threshold is compared with the length of the contribution, so that the decoder needs no norm constraint (equal
    to the papers at unit norm). Thresholds are raw numbers in float32 kept at zero or above, with a learning rate of
    their own: as `exp(t)` under Adam they move by a fixed share a step and hardly leave a small start.
    """

    config: JumpReLUConfig
    lr_factors: ClassVar[Mapping[str, float]] = {"threshold": 3.0}
    latent_dims: ClassVar[Mapping[str, int]] = {**EncoderDictionary.latent_dims, "threshold": 0}

    def __init__(self, config: JumpReLUConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE):
        super().__init__(config, generator, ranks)
        self.threshold = nn.Parameter(torch.zeros(self.d_sae))

    def code(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        pre = self.pre_acts(x)
        return torch.where(pre * self.row_sizes() > self.threshold.clamp_min(0), pre, 0)

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"]) -> None:
        super().prepare(x, target)
        scores = self.scorer()(x[:4096])
        n_active = min(len(scores) * self.config.d_sae, max(1, round(self.config.target_l0 * len(scores))))
        best = scores.flatten().topk(min(n_active, scores.numel())).values.clamp_min(0)
        # Those that are to share a batch have one and the same sample, and count each score again.
        self.threshold.fill_(float(self.ranks.nth_largest(best, n_active * self.ranks.n_data)))

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        d_sae = self.d_sae
        with torch.no_grad():
            norms = self.row_sizes()
            lowest = (self.threshold - self.config.bandwidth / 2).clamp_min(0)
            places, beyond = above(self.scorer(less=lowest), x, 0.0)
            rows, indices = places // d_sae, places % d_sae
            values = (beyond + lowest[indices]) / norms[indices]
            near = Codes.from_pairs(rows, indices, values, len(x), d_sae)
        pre = encode_at(x, self.W_enc, self.b_enc, self.centre, near, gradients=gradients)
        window = self.config.bandwidth, self.config.gradient == "everything"
        opened = _Jump.apply(pre.values, self.threshold[indices], norms[indices], *window)
        codes = near.with_values(pre.values * opened)
        codes.gate = near.with_values(opened)
        return codes

    def penalty(self, codes: Codes, target: Float[Tensor, "n d_out"], progress: float) -> Float[Tensor, ""]:
        """The penalty that `sparsity` names."""
        assert codes.gate is not None
        config, n = self.config, len(target)
        weight = config.weight * warmed(progress, config.warmup_share)
        if config.sparsity == "tanh":
            sizes = codes.values * self.row_sizes()[codes.indices]
            return weight * self.pressure * (4 * sizes).tanh().sum() / n
        if config.sparsity == "l0":
            return weight * self.pressure * codes.gate.values.sum() / n
        l0 = self.ranks.mean_over_all(codes.gate.values.sum() / n)
        return self.ranks.share_of(weight * self.d_in * (l0 / config.target_l0 - 1).square())

    def saelens(self) -> dict[str, Any]:
        return {"architecture": "jumprelu"}

    def _fold_extra(self, unit: float, sizes: Tensor) -> None:
        self.threshold.clamp_min_(0).div_(unit)


class _Jump(torch.autograd.Function):
    """1 where `pre * norm > threshold`, else 0, with a rectangle of width `bandwidth` for the derivative of the
    jump."""

    @staticmethod
    def forward(ctx, pre: Tensor, threshold: Tensor, norms: Tensor, bandwidth: float, everything: bool) -> Tensor:
        distance = pre * norms - threshold.clamp_min(0)
        ctx.save_for_backward(distance, norms)
        ctx.bandwidth, ctx.everything = bandwidth, everything
        return (distance > 0).to(pre.dtype)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (distance, norms) = grads, ctx.saved_tensors
        slope = torch.where(distance.abs() < ctx.bandwidth / 2, grad / ctx.bandwidth, 0)
        return (slope * norms if ctx.everything else None), -slope, None, None, None
