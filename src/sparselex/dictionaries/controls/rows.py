"""Random directions as control dictionaries."""

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.dictionaries.controls.basis import Basis, pursued
from sparselex.dictionaries.controls.given import Given


def make_random(given: Given) -> Basis:
    """Random directions."""
    return random_rows(given.mean, given.d_sae, given.k, given.generator, n_steps=given.n_steps)


def make_covariance(given: Given) -> Basis:
    """Directions drawn with the activations' covariance."""
    mean, covariance = given.mean, given.covariance
    return covariance_matched_rows(mean, covariance, given.d_sae, given.k, given.generator, n_steps=given.n_steps)


def random_rows(
    mean: Float[Tensor, " d_in"], d_sae: int, k: int, generator: torch.Generator, *, n_steps: int = 8
) -> Basis:
    """`d_sae` random directions, every direction of space as likely as any other; codes by pursuit."""
    draws = torch.randn(d_sae, len(mean), generator=generator, device=generator.device).to(mean.device)
    return pursued("random", draws, mean, k, n_steps=n_steps)


def covariance_matched_rows(
    mean: Float[Tensor, " d_in"],
    covariance: Float[Tensor, "d_in d_in"],
    d_sae: int,
    k: int,
    generator: torch.Generator,
    *,
    n_steps: int = 8,
) -> Basis:
    """`d_sae` directions drawn from N(0, `covariance`): they lie where the activations vary, and are no features.

    A stronger control than `random_rows`, most of whose length lies where activations hardly vary. Codes by pursuit.
    Raises `UserError` for a covariance that is not finite, has a negative variance beyond rounding, or is zero.
    """
    if not torch.isfinite(covariance).all():
        raise _no_covariance("holds NaN or infinity")
    variances, vectors = torch.linalg.eigh(covariance.double())
    if variances[-1] <= 0:
        raise _no_covariance("has no positive variance")
    if variances[0] < -1e-4 * variances[-1]:
        raise _no_covariance(f"has the variance {float(variances[0]):.3g} along one direction")
    draws = torch.randn(d_sae, len(mean), generator=generator, device=generator.device, dtype=torch.float64)
    return pursued("covariance", (draws * variances.clamp_min(0).sqrt()) @ vectors.T, mean, k, n_steps=n_steps)


def _no_covariance(fault: str) -> UserError:
    return UserError(
        f"The covariance {fault}.",
        "a finite covariance matrix with some variance and none below zero",
        "compute it in float64 from activations that are finite and differ.",
    )
