"""Principal and independent components as control dictionaries."""

from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.dictionaries.controls.basis import Basis, BasisConfig, check_sample, pursued
from sparselex.dictionaries.controls.given import Given

_LEAST_VARIANCE = 1e-10
"""Share of the largest variance below which a direction of the sample is rounding, far above what float32 leaves
(1e-14)."""


def make_pca(given: Given) -> Basis:
    """Principal components."""
    return principal_components(given.mean, given.covariance, given.k)


def make_ica(given: Given) -> Basis:
    """Independent components."""
    return independent_components(given.sample(), given.k, given.generator, n_steps=given.n_steps)


def principal_components(mean: Float[Tensor, " d_in"], covariance: Float[Tensor, "d_in d_in"], k: int) -> Basis:
    """Eigenvectors of the covariance, largest variance first; the k largest coefficients of each token."""
    d_in = len(mean)
    vectors = torch.linalg.eigh(covariance.double()).eigenvectors.flip(-1).T.to(mean.dtype)
    return Basis(BasisConfig(kind="pca", d_in=d_in, d_sae=d_in, k=k), vectors, mean)


@torch.no_grad()
def independent_components(
    x: Float[Tensor, "n d_in"],
    k: int,
    generator: torch.Generator,
    *,
    n_steps: int = 8,
    n_iterations: int = 200,
    tolerance: float = 1e-4,
) -> Basis:
    """Independent components of a sample: FastICA with the contrast log cosh (Hyvärinen 1999, IEEE TNN 10(3)), by
    scikit-learn.

    Directions are the columns of the mixing matrix, largest variance first, signs arbitrary; their number is that of
    the directions in which the sample varies, `d_in` unless some are constant. Codes are found by pursuit: with few
    coefficients the k largest of the unmixed ones are far from the best (FVU 0.49 and not 0.28 on the embedded model),
    since components are not orthogonal.

    `x` has more tokens than dimensions, in any unit. The rotation starts at random from `generator` and is turned at
    most `n_iterations` times, until no component turns by more than `tolerance` (1 - |cosine|); where that is not
    reached scikit-learn's `ConvergenceWarning` is passed on, and components are only less independent than they could
    be. Raises `UserError` if scikit-learn is missing, and for a sample that is too small, not finite or constant.
    """
    if find_spec("sklearn") is None:
        raise UserError(
            "Independent components were asked for, and the package `scikit-learn` is not installed.",
            "scikit-learn, which sparselex needs for this control only",
            "run `pip install sparselex[ica]`, or leave `ica` out.",
        )
    n, d_in = x.shape
    if n <= d_in:
        raise _bad_sample(f"has {n} tokens of width {d_in}", "more tokens than dimensions", "read more tokens.")
    check_sample(x)
    mean = x.mean(0, dtype=torch.float64)
    centred = x.double() - mean
    variances, vectors = torch.linalg.eigh(centred.T @ centred / n)
    varies = variances > _LEAST_VARIANCE * variances[-1].clamp_min(0)
    if not varies.any():
        raise _bad_sample("is the same for all tokens", "tokens that differ", "check what was harvested.")
    scales, vectors = variances[varies].sqrt(), vectors[:, varies]
    mixing = _rotation(centred @ (vectors / scales), generator, n_iterations, tolerance) @ (vectors * scales).T
    order = mixing.norm(dim=-1).argsort(descending=True)
    return pursued("ica", mixing[order], mean.to(x.dtype), k, n_steps=n_steps)


def _rotation(white: Tensor, generator: torch.Generator, n_iterations: int, tolerance: float) -> Tensor:
    """The rotation, rows first, that makes the whitened tokens `white [n, m]` most independent."""
    from sklearn.decomposition import FastICA

    start = torch.randn(white.shape[1], white.shape[1], generator=generator, dtype=torch.float64)
    # Whitened by us: scikit-learn's own whitening needs the rank told, and divides by zero where a direction is
    # constant.
    ica = FastICA(whiten=False, w_init=start.numpy(), max_iter=n_iterations, tol=tolerance)
    return torch.from_numpy(ica.fit(white.numpy()).components_)


def _bad_sample(fault: str, expected: str, todo: str) -> UserError:
    return UserError(f"The sample of activations {fault}.", expected, todo)
