"""Control dictionaries: the conformance suite, slow references, planted truths, and errors for what cannot be."""

import math
import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.dictionaries.controls import bases, centroids
from sparselex.dictionaries.controls import basis as baselines
from sparselex.dictionaries.controls.bases import independent_components, principal_components
from sparselex.dictionaries.controls.basis import Basis, BasisConfig
from sparselex.dictionaries.controls.centroids import centroid_rows
from sparselex.dictionaries.controls.neurons import neurons
from sparselex.dictionaries.controls.rows import covariance_matched_rows, random_rows
from sparselex.testing import check_dictionary


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def mixed_sources(n=4000, d=8, dtype=torch.float32):
    """Laplace sources of different sizes through a mixing matrix that is far from orthogonal; its rows are the
    directions."""
    uniform = torch.rand(n, d, generator=seeded(1), dtype=torch.float64) - 0.5
    sources = -uniform.sign() * (1 - 2 * uniform.abs()).log() * torch.linspace(1, 3, d, dtype=torch.float64)
    mixing = randn(d, d, seed=2, dtype=torch.float64) + 0.7
    return (sources @ mixing + 5).to(dtype), mixing / mixing.norm(dim=-1, keepdim=True)


def clusters(n_each=60, d=6, n_clusters=9, spread=0.1):
    """Tokens around planted centres of unequal lengths."""
    centres = 3 * randn(n_clusters, d, seed=3) + 2
    return (centres.repeat_interleave(n_each, 0) + spread * randn(n_each * n_clusters, d, seed=4)), centres


def components(x, k, **options):
    pytest.importorskip("sklearn")
    return independent_components(x, k, seeded(), **options)


def matched(d_sae, k, seed=0, **options):
    x = mixed_sources()[0].double()
    return covariance_matched_rows(x.mean(0).float(), x.T.cov(), d_sae, k, seeded(seed), **options)


def pca(x, k):
    return principal_components(x.mean(0), x.double().T.cov(), k)


MAKE = {
    "neurons": lambda k: neurons(randn(12), k),
    "pca": lambda k: pca(mixed_sources()[0], k),
    "ica": lambda k: components(mixed_sources()[0], k),
    "random": lambda k: random_rows(randn(12), 40, k, seeded()),
    "covariance": lambda k: matched(40, k),
    "kmeans": lambda k: centroid_rows(clusters()[0] - 2, 30, k, seeded()),
}


@pytest.mark.parametrize("k", [1, 4, 6])
@pytest.mark.parametrize("kind", MAKE)
def test_conformance(kind, k):
    dictionary = MAKE[kind](k)
    check_dictionary(dictionary)
    assert dictionary.config.kind == kind and dictionary.config.d_sae == dictionary.d_sae
    torch.testing.assert_close(dictionary.W_dec.norm(dim=-1), torch.ones(dictionary.d_sae))
    assert ((dictionary.encode(randn(50, dictionary.d_in, seed=9)) != 0).sum(-1) == k).all()


@pytest.mark.parametrize("kind", MAKE)
def test_chunks_change_nothing(kind, monkeypatch):
    dictionary = MAKE[kind](3)
    x = randn(50, dictionary.d_in, seed=9)
    expected = dictionary.encode(x)
    monkeypatch.setattr(baselines, "_CHUNK_NUMBERS", 7 * dictionary.d_sae)
    torch.testing.assert_close(dictionary.encode(x), expected)
    torch.testing.assert_close(dictionary.encode_sparse(x).dense(), expected)


def test_the_same_generator_gives_the_same_dictionary_and_another_does_not():
    pytest.importorskip("sklearn")
    x, y = mixed_sources(500)[0], randn(500, 6)
    for make in (
        lambda seed: independent_components(x, 2, seeded(seed), n_iterations=1000).encode(x),
        lambda seed: centroid_rows(y, 20, 2, seeded(seed)).W_dec,
        lambda seed: matched(20, 2, seed).W_dec,
        lambda seed: random_rows(y.mean(0), 20, 2, seeded(seed)).W_dec,
    ):
        assert torch.equal(make(1), make(1)) and not torch.equal(make(1), make(2))


# Codes


def slow_pursuit(x, rows, mean, ks, n_steps):
    """Pursuit of one token after another, coefficients by a library's least squares; in each step as many are taken as
    keep its number in step with the steps."""
    acts, n_steps = torch.zeros(len(x), len(rows), dtype=x.dtype), min(n_steps, max(ks))
    for i, (token, k) in enumerate(zip(x - mean, ks, strict=True)):
        taken, residual = [], token
        for step in range(n_steps):
            order = (rows @ residual).abs().argsort(descending=True).tolist()
            free = [j for j in order if j not in taken]
            taken += free[: math.ceil(k * (step + 1) / n_steps) - len(taken)]
            found = torch.linalg.lstsq(rows[taken].T, token).solution if taken else rows.new_zeros(0)
            residual = token - found @ rows[taken] if taken else token
        acts[i, taken] = found
    return acts


@pytest.mark.parametrize(("k", "n_steps"), [(1, 8), (3, 8), (6, 6), (6, 4), (6, 1), (7, 2)])
def test_pursuit_equals_the_slow_loop(k, n_steps):
    dictionary = random_rows(randn(12), 40, k, seeded(), n_steps=n_steps).double()
    x = randn(30, 12, seed=6, dtype=torch.float64)
    expected = slow_pursuit(x, dictionary.W_dec, dictionary.b_dec, [k] * len(x), n_steps)
    torch.testing.assert_close(dictionary.encode(x), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("n_steps", [1, 3, 20])
def test_each_token_has_as_many_as_it_is_told(n_steps, monkeypatch):
    ks = torch.randint(0, 12, (60,), generator=seeded())
    x = randn(60, 12, seed=6, dtype=torch.float64)
    basis = random_rows(randn(12), 40, 5, seeded(), n_steps=n_steps).double()
    codes = basis.encode_as_sparse(x, ks)
    assert codes.indptr.diff().tolist() == ks.tolist()
    expected = slow_pursuit(x, basis.W_dec, basis.b_dec, ks.tolist(), n_steps)
    torch.testing.assert_close(codes.dense(), expected, rtol=1e-5, atol=1e-7)
    monkeypatch.setattr(baselines, "_CHUNK_NUMBERS", 50 * 40)  # parts whose tokens take fewer, and so fewer steps
    assert basis.encode_as_sparse(x, ks).indptr.diff().tolist() == ks.tolist()
    largest = neurons(x.float().mean(0), 3)
    kept = largest.encode_as_sparse(x.float(), ks)
    assert kept.indptr.diff().tolist() == ks.tolist()
    sizes = (x.float() - largest.b_dec).abs().sort(dim=-1, descending=True).values
    for token, k in enumerate(ks.tolist()):
        of_token = kept.values[kept.indptr[token] : kept.indptr[token + 1]].abs().sort(descending=True).values
        torch.testing.assert_close(of_token, sizes[token, :k])


def test_more_coefficients_and_more_steps_leave_less():
    x = randn(200, 12, seed=6)

    def error(k, n_steps):
        return float((random_rows(torch.zeros(12), 60, k, seeded(), n_steps=n_steps)(x) - x).square().sum())

    by_k = [error(k, k) for k in range(1, 13)]
    assert all(after < before for before, after in pairwise(by_k)) and by_k[0] < x.square().sum()
    assert error(6, 1) > error(6, 2) > error(6, 6)


@pytest.mark.parametrize("k", [1, 5, 12])
def test_for_orthogonal_directions_both_codes_are_one(k):
    x = randn(100, 12, dtype=torch.float64)
    largest = pca(x, k)
    pursuit = Basis(BasisConfig(**(largest.config.model_dump() | {"code": "pursuit"})), largest.W_dec, largest.b_dec)
    torch.testing.assert_close(pursuit.encode(x), largest.encode(x))


def test_of_all_directions_every_activation_comes_back():
    x = randn(20, 5)
    for dictionary in (neurons(x.mean(0), 5), pca(x, 5), random_rows(x.mean(0), 30, 5, seeded())):
        torch.testing.assert_close(dictionary(x), x, rtol=1e-3, atol=1e-3)


def test_pursuit_survives_equal_directions_and_more_coefficients_than_dimensions():
    rows = randn(3, 6).repeat(4, 1)
    dictionary = baselines.pursued("random", rows, torch.zeros(6), 8, n_steps=8)
    x = randn(40, 6, seed=5)
    acts = dictionary.encode(x)
    assert acts.isfinite().all() and (acts != 0).sum(-1).max() <= 6
    expected = rows[:3].T @ torch.linalg.lstsq(rows[:3].T, x.T).solution
    torch.testing.assert_close(dictionary(x), expected.T, rtol=1e-3, atol=2e-3)


def test_a_token_at_the_mean_has_no_active_latent():
    dictionary = random_rows(randn(6), 30, 3, seeded())
    assert len(dictionary.encode_sparse(dictionary.b_dec[None]).values) == 0


def test_gradients_of_pursuit_equal_finite_differences():
    dictionary = random_rows(torch.zeros(6), 15, 4, seeded()).double()
    x = randn(5, 6, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(dictionary.encode, (x,))


# Random rows


def test_covariance_matched_rows_lean_towards_the_planted_direction():
    planted = torch.nn.functional.normalize(randn(16, seed=5), dim=0)
    covariance = (torch.eye(16) + 30 * torch.outer(planted, planted)).double()
    rows = covariance_matched_rows(torch.zeros(16), covariance, 3000, 4, seeded()).W_dec
    principal = torch.linalg.eigh(rows.T @ rows).eigenvectors[:, -1]
    assert abs(float(principal @ planted)) > 0.99
    plain = random_rows(torch.zeros(16), 3000, 4, seeded()).W_dec
    assert (rows @ planted).square().mean() > 5 * (plain @ planted).square().mean()


def test_covariance_matched_rows_stay_in_the_span_of_a_singular_covariance():
    covariance = torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0]))
    dictionary = covariance_matched_rows(torch.zeros(4), covariance, 50, 3, seeded())
    assert dictionary.W_dec[:, 2:].abs().max() < 1e-6
    assert dictionary.encode(randn(20, 4)).isfinite().all()


# Independent components


def test_ica_recovers_planted_sources_where_pca_does_not():
    x, planted = mixed_sources()
    found = components(x, 8)
    cosines = (planted.float() @ found.W_dec.T).abs()
    assert cosines.amax(1).mean() >= 0.95 and cosines.amax(1).min() >= 0.9
    assert len(cosines.argmax(1).unique()) == 8  # one component each
    assert (planted.float() @ pca(x, 8).W_dec.T).abs().amax(1).mean() < 0.9


def test_independent_components_are_uncorrelated_and_largest_first():
    x = mixed_sources(dtype=torch.float64)[0]
    found = components(x, 8)
    acts = (x - found.b_dec) @ torch.linalg.inv(found.W_dec)
    torch.testing.assert_close(acts.T.corrcoef(), torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-9)
    variances = acts.var(0)
    assert (variances[:-1] >= variances[1:]).all()
    torch.testing.assert_close(found(x), x)


def test_ica_leaves_out_directions_in_which_the_sample_does_not_vary():
    inner = mixed_sources()[0]
    x = torch.cat([inner, torch.full((len(inner), 1), 3.0), inner[:, :1] - inner[:, 1:2]], 1)
    found = components(x, 8)
    assert found.W_dec.shape == (8, 10)
    assert (found(x) - x).square().sum() < 1e-5 * (x - x.mean(0)).square().sum()  # float32, far from orthogonal
    check_dictionary(found)


def test_ica_that_was_stopped_early_says_so():
    exceptions = pytest.importorskip("sklearn.exceptions")
    with pytest.warns(exceptions.ConvergenceWarning):
        found = components(mixed_sources()[0], 8, n_iterations=1)
    assert found.d_sae == 8


def test_ica_without_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setattr(bases, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"sparselex\[ica\]"):
        independent_components(randn(50, 4), 2, seeded())


@pytest.mark.slow
def test_importing_the_controls_does_not_import_scikit_learn():
    code = "import sys, sparselex.dictionaries.controls.bases; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# k-means


def slow_nearest(x, points):
    return (x[:, None] - points).square().sum(-1).argmin(-1)


def test_lloyd_ends_where_every_centroid_is_the_mean_of_the_tokens_nearest_to_it():
    x = randn(700, 6, dtype=torch.float64) + 1
    points = centroids.kmeans(x, 25, seeded(), n_iterations=500)
    owners = slow_nearest(x, points)
    means = torch.stack([x[owners == j].mean(0) for j in range(25)])
    torch.testing.assert_close(points, means)
    after_one = centroids.kmeans(x, 25, seeded(), n_iterations=1)
    assert (x - points[owners]).square().sum() < (x - after_one[slow_nearest(x, after_one)]).square().sum()


def test_passes_in_chunks_are_the_same(monkeypatch):
    x = randn(700, 6)
    expected = centroids.kmeans(x, 25, seeded())
    monkeypatch.setattr(centroids, "_CHUNK_SCORES", 7 * 25)
    monkeypatch.setattr(centroids, "_CHUNK_TOKENS", 11)
    torch.testing.assert_close(centroids.kmeans(x, 25, seeded()), expected)


@pytest.mark.parametrize("seed", range(5))
def test_planted_clusters_are_found(seed):
    x, centres = clusters()
    assert torch.cdist(centres, centroids.kmeans(x, 9, seeded(seed))).amin(1).max() < 0.1


def test_centroid_rows_point_from_the_mean_to_the_centroids():
    x, centres = clusters()
    found = centroid_rows(x, 9, 1, seeded())
    planted = torch.nn.functional.normalize(centres - x.mean(0), dim=-1)
    assert (planted @ found.W_dec.T).amax(1).min() > 0.999
    assert (found(x) - x).square().sum() < 0.3 * (neurons(x.mean(0), 1)(x) - x).square().sum()


def test_a_centroid_without_tokens_moves_to_the_farthest_one():
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [9.0, 0.0]])
    points = centroids._lloyd(x, torch.tensor([[0.0, 0.5], [99.0, 99.0]]), 10)
    torch.testing.assert_close(points, torch.tensor([[0.0, 0.5], [9.0, 0.0]]))


def test_as_many_centroids_as_tokens_are_the_tokens():
    x = randn(30, 5)
    assert (x[:, None] - centroids.kmeans(x, 30, seeded())).norm(dim=-1).amin(1).max() < 1e-5


def test_a_centroid_at_the_mean_has_no_direction():
    with pytest.raises(UserError, match="only centroid is the mean"):
        centroid_rows(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, 1, seeded())
    found = centroid_rows(torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]), 3, 1, seeded())
    assert found.d_sae == 2 and check_dictionary(found) is None


# What cannot be


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_sample_that_is_not_finite_is_named(value):
    x = randn(50, 4)
    x[3, 1] = value
    for make in (lambda: centroid_rows(x, 5, 1, seeded()), lambda: components(x, 2)):
        with pytest.raises(UserError, match="NaN or infinity in 1 of 50 tokens"):
            make()


@pytest.mark.parametrize("n_centroids", [0, -1, 51])
def test_impossible_numbers_of_centroids(n_centroids):
    with pytest.raises(UserError, match=f"{n_centroids} centroids were asked for from a sample of 50 tokens"):
        centroids.kmeans(randn(50, 4), n_centroids, seeded())


def test_fewer_distinct_tokens_than_centroids():
    x = (randn(3, 4) * 1.1).repeat(20, 1)
    assert centroids.kmeans(x, 3, seeded()).isfinite().all()
    with pytest.raises(UserError, match="only 3 distinct tokens"):
        centroids.kmeans(x, 4, seeded())


def test_samples_that_ica_cannot_use():
    with pytest.raises(UserError, match="8 tokens of width 8"):
        components(randn(8, 8), 2)
    with pytest.raises(UserError, match="same for all tokens"):
        components(torch.full((50, 4), 2.5), 2)


@pytest.mark.parametrize(
    ("covariance", "fault"),
    [
        (torch.full((3, 3), float("nan")), "NaN or infinity"),
        (torch.zeros(3, 3), "no positive variance"),
        (torch.diag(torch.tensor([1.0, 1.0, -1.0])), "the variance -1 along one direction"),
    ],
)
def test_impossible_covariances(covariance, fault):
    with pytest.raises(UserError, match=fault):
        covariance_matched_rows(torch.zeros(3), covariance, 5, 2, seeded())


def test_directions_without_unit_norm():
    with pytest.raises(UserError, match="norms from 2 to 2"):
        Basis(BasisConfig(kind="random", d_in=3, d_sae=3, k=1), 2 * torch.eye(3), torch.zeros(3))


def test_configurations_refuse_what_they_do_not_know():
    with pytest.raises(UserError, match="code"):
        BasisConfig.parse({"kind": "random", "d_in": 3, "d_sae": 3, "k": 1, "code": "orthogonal"})
