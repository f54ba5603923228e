"""Baselines as dictionaries: what a trained dictionary must beat, at the same number of active latents."""

import math
from importlib.util import find_spec
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import Dictionary, DictionaryConfig

_CHUNK_SCORES = 2**26
"""Scores of tokens by latents computed at a time, 256 MiB in float32."""

_SEED_ROWS = 4
"""Tokens per centroid among which k-means looks for its start; the passes over all tokens do the rest."""

_LEAST_SEED_ROWS = 4096

_LEAST_VARIANCE = 1e-10
"""Share of the largest variance below which a direction of the sample is rounding, far above what float32 leaves (1e-14)."""

Code = Literal["largest", "pursuit"]
"""How a `Basis` finds a token's k coefficients.

`largest`: one product with the encoder, then the k largest in size. Right where directions are orthogonal; directions that overlap
each count what they share, so that the sum overshoots.

`pursuit`: k steps of matching pursuit (Mallat and Zhang 1993, IEEE TSP 41(12)), which reads the decoder alone: take the direction with
the largest |row · residual|, add that coefficient to its latent, subtract it from the residual. Earlier coefficients are not fitted
again (no orthogonalisation), a latent may be taken twice (so at most k are active), and every step shrinks the error. It costs k
products instead of one.
"""


class BasisConfig(DictionaryConfig):
    """Configuration of a `Basis`."""

    kind: Literal["neurons", "pca", "ica", "random", "covariance"]
    """Which directions."""

    k: PositiveInt
    """Coefficients kept per token: the largest in size, sign kept."""

    code: Code = "largest"
    """How coefficients are found: `largest` keeps the k largest of one product, `pursuit` takes them one by one from what is left."""


class Basis(Dictionary):
    """Directions given from outside; codes are k signed coefficients of the centred activation, found as `config.code` says.

    Directions `[d_sae, d_in]` have unit norm, so that a coefficient is the length of its contribution. `W_enc [d_in, d_sae]` is
    their transpose unless given, as directions that are not orthogonal need. Raises `UserError` for rows without unit norm.
    """

    config: BasisConfig
    W_enc: Tensor

    def __init__(
        self,
        config: BasisConfig,
        directions: Float[Tensor, "d_sae d_in"],
        mean: Float[Tensor, " d_in"],
        W_enc: Float[Tensor, "d_in d_sae"] | None = None,
    ):
        super().__init__()
        self.config, self.d_in, self.d_out, self.d_sae = config, config.d_in, config.d_in, config.d_sae
        norms = directions.norm(dim=-1)
        if not torch.allclose(norms, torch.ones_like(norms), atol=1e-3):
            raise UserError(
                f"Directions have norms from {float(norms.min()):.4g} to {float(norms.max()):.4g}.",
                "rows with unit norm",
                "divide each row by its norm, and leave out rows of zeros.",
            )
        self.register_buffer("W_dec", directions.contiguous())
        self.register_buffer("W_enc", self.W_dec.T if W_enc is None else W_enc)
        self.register_buffer("b_dec", mean)

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        centred = x - self.b_dec
        if self.config.code == "pursuit":
            return self._pursue(centred)
        coefficients = centred @ self.W_enc
        kept = coefficients.abs().topk(min(self.config.k, self.d_sae), dim=-1).indices
        return torch.zeros_like(coefficients).scatter(-1, kept, coefficients.gather(-1, kept))

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        parts = [self.encode(part) for part in x.split(_n_rows(self.d_sae))]
        if len(parts) == 1:
            return Codes.from_dense(parts[0])
        codes = [Codes.from_dense(part) for part in parts]
        starts = range(0, len(x), len(parts[0]))
        rows = torch.cat([part.rows + start for part, start in zip(codes, starts)])
        indices, values = (torch.cat([getattr(part, name) for part in codes]) for name in ("indices", "values"))
        return Codes.from_pairs(rows, indices, values, len(x), self.d_sae)

    def _pursue(self, residual: Tensor) -> Tensor:
        acts = residual.new_zeros(len(residual), self.d_sae)
        for _ in range(self.config.k):
            with torch.no_grad():  # which latents are taken has no gradient, so no step's scores outlive it
                chosen = (residual @ self.W_dec.T).abs_().argmax(-1)
            rows = self.W_dec[chosen]
            values = (residual * rows).sum(-1, keepdim=True)
            acts.scatter_add_(-1, chosen[:, None], values)
            residual = residual - values * rows
        return acts


def neurons(mean: Float[Tensor, " d_in"], k: int) -> Basis:
    """The coordinates themselves, as deviations from their mean."""
    d_in = len(mean)
    return Basis(BasisConfig(kind="neurons", d_in=d_in, d_sae=d_in, k=k), torch.eye(d_in), mean)


def random_rows(
    mean: Float[Tensor, " d_in"], d_sae: int, k: int, generator: torch.Generator, *, code: Code = "largest"
) -> Basis:
    """`d_sae` random directions with unit norm, every direction of space as likely as any other.

    Overcomplete rows overlap: with `code="largest"` their sum is no least-squares reconstruction and may be worse than the mean.
    `code="pursuit"` is the fair baseline of reconstruction.
    """
    rows = torch.randn(d_sae, len(mean), generator=generator)
    config = BasisConfig(kind="random", d_in=len(mean), d_sae=d_sae, k=k, code=code)
    return Basis(config, rows / rows.norm(dim=-1, keepdim=True), mean)


def covariance_matched_rows(
    mean: Float[Tensor, " d_in"],
    covariance: Float[Tensor, "d_in d_in"],
    d_sae: int,
    k: int,
    generator: torch.Generator,
    *,
    code: Code = "largest",
) -> Basis:
    """`d_sae` draws from N(0, `covariance`), each divided by its norm: directions where the activations vary, and no features.

    A stronger control than `random_rows`, most of whose length lies where activations hardly vary. Rows overlap even more, see there
    for `code`. Raises `UserError` for a covariance that is not finite, has a negative variance beyond rounding, or is zero.
    """
    if not torch.isfinite(covariance).all():
        raise _no_covariance("holds NaN or infinity")
    variances, vectors = torch.linalg.eigh(covariance.double())
    if variances[-1] <= 0:
        raise _no_covariance("has no positive variance")
    if variances[0] < -1e-4 * variances[-1]:
        raise _no_covariance(f"has the variance {float(variances[0]):.3g} along one direction")
    draws = torch.randn(d_sae, len(mean), generator=generator, dtype=torch.float64)
    rows = (draws * variances.clamp_min(0).sqrt()) @ vectors.T
    config = BasisConfig(kind="covariance", d_in=len(mean), d_sae=d_sae, k=k, code=code)
    return Basis(config, (rows / rows.norm(dim=-1, keepdim=True)).to(mean.dtype), mean)


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
    code: Code = "largest",
    n_iterations: int = 200,
    tolerance: float = 1e-4,
) -> Basis:
    """Independent components of a sample: FastICA with the contrast log cosh (Hyvärinen 1999, IEEE TNN 10(3)), by scikit-learn.

    `d_sae` is the number of directions in which the sample varies, `d_in` unless some are constant. Mixing columns, divided by their
    norms, are the decoder; unmixing rows, times those norms, are the encoder: all coefficients together give `x` back, and a
    coefficient is the length of its contribution. Largest variance comes first; a component's sign is arbitrary.

    `x` has more tokens than dimensions, in any unit; the rotation starts at random from `generator` and is turned at most
    `n_iterations` times, until no component turns by more than `tolerance` (1 - |cosine|). Where that is not reached scikit-learn's
    `ConvergenceWarning` is passed on, and the components are still uncorrelated, only less independent than they could be. Raises
    `UserError` if scikit-learn is missing, and for a sample that is too small, not finite or constant.
    """
    if find_spec("sklearn") is None:
        raise UserError(
            "Independent components were asked for, and the package `scikit-learn` is not installed.",
            "scikit-learn, which sparselex needs for this baseline only",
            "run `pip install sparselex[ica]`, or leave this baseline out.",
        )
    n, d_in = x.shape
    if n <= d_in:
        raise _bad_sample(f"has {n} tokens of width {d_in}", "more tokens than dimensions", "read more tokens.")
    _check_finite(x)
    mean = x.mean(0, dtype=torch.float64)
    centred = x.double() - mean
    variances, vectors = torch.linalg.eigh(centred.T @ centred / n)
    varies = variances > _LEAST_VARIANCE * variances[-1].clamp_min(0)
    if not varies.any():
        raise _bad_sample("is the same for all tokens", "tokens that differ", "check what was harvested.")
    scales, vectors = variances[varies].sqrt(), vectors[:, varies]
    rotation = _rotation(centred @ (vectors / scales), generator, n_iterations, tolerance)
    mixing, unmixing = rotation @ (vectors * scales).T, rotation @ (vectors / scales).T
    order = mixing.norm(dim=-1).argsort(descending=True)
    mixing, unmixing = mixing[order], unmixing[order]
    norms = mixing.norm(dim=-1, keepdim=True)
    config = BasisConfig(kind="ica", d_in=d_in, d_sae=len(mixing), k=k, code=code)
    return Basis(config, (mixing / norms).to(x.dtype), mean.to(x.dtype), (unmixing * norms).T.to(x.dtype))


def _rotation(white: Tensor, generator: torch.Generator, n_iterations: int, tolerance: float) -> Tensor:
    """The rotation, rows first, that makes the whitened tokens `white [n, m]` most independent."""
    from sklearn.decomposition import FastICA  # type: ignore

    start = torch.randn(white.shape[1], white.shape[1], generator=generator, dtype=torch.float64)
    # Whitened by us: scikit-learn's own whitening needs the rank told, and divides by zero where a direction is constant.
    ica = FastICA(whiten=False, w_init=start.numpy(), max_iter=n_iterations, tol=tolerance)
    return torch.from_numpy(ica.fit(white.numpy()).components_)


class CentroidsConfig(DictionaryConfig):
    """Configuration of `Centroids`."""

    kind: Literal["kmeans"] = "kmeans"
    """Type of dictionary."""


class Centroids(Dictionary):
    """A token's code is its nearest centroid: one active latent, which decodes to that centroid.

    With a linear decoder: rows are the directions from the mean to the centroids, the value is the centroid's distance from the mean.
    A centroid that is the mean itself has value 0 (its latent is never active, its row is arbitrary), and still decodes rightly.

    The value depends on `x` only through the choice, so its true derivative is 0 almost everywhere. Backwards, a value passes the
    gradient of the token's projection on the row instead (a straight-through estimate, as for the codebook of van den Oord et al.
    2017, arXiv:1711.00937, but along the chosen direction only, all that the code tells).
    """

    config: CentroidsConfig
    lengths: Tensor

    def __init__(self, config: CentroidsConfig, points: Float[Tensor, "d_sae d_in"], mean: Float[Tensor, " d_in"]):
        """Take the centroids themselves, `points`, in the units of the activations."""
        super().__init__()
        self.config, self.d_in, self.d_out, self.d_sae = config, config.d_in, config.d_in, config.d_sae
        from_mean = points - mean
        lengths = from_mean.norm(dim=-1)
        rows = from_mean / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)[:, None]
        rows[lengths == 0, 0] = 1  # a direction like any other, so that no cosine divides by zero
        self.register_buffer("W_dec", rows)
        self.register_buffer("b_dec", mean)
        self.register_buffer("lengths", lengths)

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        nearest, values = self._code(x)
        return x.new_zeros(len(x), self.d_sae).scatter(-1, nearest[:, None], values[:, None])

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        nearest, values = self._code(x)
        (rows,) = values.detach().nonzero(as_tuple=True)
        return Codes.from_pairs(rows, nearest[rows], values[rows], len(x), self.d_sae)

    def _code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest centroid and value of each token."""
        centred = x - self.b_dec
        nearest, _ = _nearest(centred, self.W_dec * self.lengths[:, None])
        along = (centred * self.W_dec[nearest]).sum(-1)
        return nearest, self.lengths[nearest] + (along - along.detach())


@torch.no_grad()
def centroids(
    x: Float[Tensor, "n d_in"], d_sae: int, generator: torch.Generator, *, n_iterations: int = 50
) -> Centroids:
    """k-means of a sample with `d_sae` centroids: what one active latent per token can reach.

    Starts are greedy k-means++ on a random part of the sample (Arthur and Vassilvitskii 2007), then Lloyd's passes over all of it, at
    most `n_iterations`, until no token changes its centroid. A centroid that lost its tokens moves to the token farthest from its own.
    The same `generator` state gives the same centroids. `x` may have any unit. Raises `UserError` unless `1 <= d_sae <= n`, and for
    a sample that is not finite or has fewer distinct tokens than centroids.
    """
    n, d_in = x.shape
    if not 1 <= d_sae <= n:
        raise UserError(
            f"{d_sae} centroids were asked for from a sample of {n} tokens.",
            f"a number of centroids from 1 to {n}",
            "lower d_sae or read more tokens.",
        )
    _check_finite(x)
    mean = x.mean(0, dtype=torch.float64).to(x.dtype)
    centred = x - mean
    points = _lloyd(centred, _starts(centred, d_sae, generator), n_iterations)
    return Centroids(CentroidsConfig(d_in=d_in, d_sae=d_sae), points + mean, mean)


def _starts(x: Tensor, d_sae: int, generator: torch.Generator) -> Tensor:
    """Greedy k-means++: each start is the best of a few tokens drawn with odds by squared distance from the starts so far."""
    n_sample = max(_SEED_ROWS * d_sae, _LEAST_SEED_ROWS)
    sample = x[torch.randperm(len(x), generator=generator)[:n_sample]].double()
    squares = sample.square().sum(-1)
    n_candidates = 2 + int(math.log(d_sae))  # Arthur and Vassilvitskii's own choice
    nearest = torch.full_like(squares, torch.inf)
    candidates = torch.randint(len(sample), (1,), generator=generator)
    chosen: list[Tensor] = []
    while True:
        both = squares[:, None] + squares[candidates]
        distances = both - 2 * (sample @ sample[candidates].T)
        # Of equal tokens rounding leaves a distance that must not be drawn: the start would be taken twice.
        distances = torch.where(distances > 1e-12 * both, distances, 0).minimum(nearest[:, None])
        best = distances.sum(0).argmin()
        chosen.append(candidates[best])
        nearest = distances[:, best]
        if len(chosen) == d_sae:
            return sample[torch.stack(chosen)].to(x.dtype)
        if not nearest.any():
            raise _bad_sample(
                f"has only {len(chosen)} distinct tokens among {len(sample)} drawn",
                f"at least as many as the {d_sae} centroids",
                "lower d_sae or read other text.",
            )
        candidates = torch.multinomial(nearest, n_candidates, replacement=True, generator=generator)


def _lloyd(x: Tensor, points: Tensor, n_iterations: int) -> Tensor:
    """Centroids after at most `n_iterations` passes of assignment and mean."""
    d_sae, before = len(points), None
    for _ in range(n_iterations):
        nearest, distances = _nearest(x, points)
        if before is not None and torch.equal(nearest, before):
            break
        sums = points.new_zeros(points.shape, dtype=torch.float64)
        for rows, owners in zip(x.split(_n_rows(x.shape[1])), nearest.split(_n_rows(x.shape[1]))):
            sums.index_add_(0, owners, rows.double())
        counts = torch.bincount(nearest, minlength=d_sae)
        points = (sums / counts.clamp_min(1)[:, None]).to(x.dtype)
        lost = counts == 0
        points[lost] = x[distances.topk(int(lost.sum())).indices]
        before = nearest
    return points


@torch.no_grad()
def _nearest(
    x: Float[Tensor, "n d_in"], points: Float[Tensor, "d_sae d_in"]
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The nearest of `points` for each token and its squared distance, by one product a chunk."""
    half_squares = points.square().sum(-1) / 2
    parts = [torch.addmm(-half_squares, part, points.T).max(-1) for part in x.split(_n_rows(len(points)))]
    scores, places = torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])
    return places, (x.square().sum(-1) - 2 * scores).clamp_min_(0)


def _n_rows(width: int) -> int:
    """Rows of `width` numbers in one chunk."""
    return max(1, _CHUNK_SCORES // width)


def _check_finite(x: Tensor) -> None:
    n_bad = int((~torch.isfinite(x)).any(-1).sum())
    if n_bad:
        raise _bad_sample(
            f"holds NaN or infinity in {n_bad} of {len(x)} tokens", "finite activations", "check the harvest's masks."
        )


def _bad_sample(fault: str, expected: str, todo: str) -> UserError:
    return UserError(f"The sample of activations {fault}.", expected, todo)


def _no_covariance(fault: str) -> UserError:
    return UserError(
        f"The covariance {fault}.",
        "a finite covariance matrix with some variance and none below zero",
        "compute it in float64 from activations that are finite and differ.",
    )
