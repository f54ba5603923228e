"""Control dictionaries: the conformance suite, slow references, planted truths, and errors for what cannot be."""

import subprocess
import sys

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.dictionaries import baselines
from sparselex.dictionaries.baselines import (
    Basis,
    BasisConfig,
    Centroids,
    CentroidsConfig,
    centroids,
    covariance_matched_rows,
    independent_components,
    neurons,
    principal_components,
    random_rows,
)
from sparselex.testing import check_dictionary


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def mixed_sources(n=4000, d=8, dtype=torch.float32):
    """Laplace sources of different sizes through a mixing matrix that is far from orthogonal; its rows are the directions."""
    uniform = torch.rand(n, d, generator=seeded(1), dtype=torch.float64) - 0.5
    sources = -uniform.sign() * (1 - 2 * uniform.abs()).log() * torch.linspace(1, 3, d, dtype=torch.float64)
    mixing = randn(d, d, seed=2, dtype=torch.float64) + 0.7
    return (sources @ mixing + 5).to(dtype), mixing / mixing.norm(dim=-1, keepdim=True)


def clusters(n_each=60, d=6, n_clusters=9, spread=0.1):
    """Tokens around planted centres of unequal lengths."""
    centres = 3 * randn(n_clusters, d, seed=3) + 2
    return (centres.repeat_interleave(n_each, 0) + spread * randn(n_each * n_clusters, d, seed=4)), centres


def ica(x, k, **options):
    pytest.importorskip("sklearn")
    return independent_components(x, k, seeded(), **options)


def matched(d_sae, k, seed=0, **options):
    x = mixed_sources()[0].double()
    return covariance_matched_rows(x.mean(0).float(), x.T.cov(), d_sae, k, seeded(seed), **options)


MAKE = {
    "neurons": lambda k, code: neurons(randn(12), k),
    "ica": lambda k, code: ica(mixed_sources()[0], k, code=code),
    "random": lambda k, code: random_rows(randn(12), 40, k, seeded(), code=code),
    "covariance": lambda k, code: matched(40, k, code=code),
    "centroids": lambda k, code: centroids(clusters()[0] - 2, 9, seeded()),
}


@pytest.mark.parametrize("code", ["largest", "pursuit"])
@pytest.mark.parametrize("k", [1, 4, 8])
@pytest.mark.parametrize("kind", MAKE)
def test_conformance(kind, k, code):
    dictionary = MAKE[kind](k, code)
    check_dictionary(dictionary)
    torch.testing.assert_close(dictionary.W_dec.norm(dim=-1), torch.ones(dictionary.d_sae))
    l0 = (dictionary.encode(randn(50, dictionary.d_in, seed=9)) != 0).sum(-1)
    assert (l0 == (1 if kind == "centroids" else k)).all() or (code == "pursuit" and (l0 <= k).all())


@pytest.mark.parametrize("kind", ["random", "covariance", "centroids"])
def test_chunks_change_nothing(kind, monkeypatch):
    whole = MAKE[kind](3, "pursuit")
    x = randn(50, whole.d_in, seed=9)
    expected = whole.encode_sparse(x)
    monkeypatch.setattr(baselines, "_CHUNK_SCORES", 7 * whole.d_sae)
    parted = MAKE[kind](3, "pursuit")
    torch.testing.assert_close(parted.W_dec, whole.W_dec)
    found = parted.encode_sparse(x)
    assert torch.equal(found.indptr, expected.indptr) and torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.values, expected.values)


def test_the_same_generator_gives_the_same_dictionary_and_another_does_not():
    pytest.importorskip("sklearn")
    x, y = mixed_sources(500)[0], randn(500, 6)
    for make in (
        lambda seed: independent_components(x, 2, seeded(seed), n_iterations=1000).encode(x),
        lambda seed: centroids(y, 20, seeded(seed)).W_dec,
        lambda seed: matched(20, 2, seed).W_dec,
    ):
        assert torch.equal(make(1), make(1)) and not torch.equal(make(1), make(2))


# Independent components


def test_ica_recovers_planted_sources_where_pca_does_not():
    x, planted = mixed_sources()
    found = ica(x, 8)
    cosines = (planted.float() @ found.W_dec.T).abs()
    assert cosines.amax(1).mean() >= 0.95 and cosines.amax(1).min() >= 0.9
    assert len(cosines.argmax(1).unique()) == 8  # one component each
    pca = principal_components(x.mean(0), x.double().T.cov(), 8)
    assert (planted.float() @ pca.W_dec.T).abs().amax(1).mean() < 0.9


def test_all_independent_components_give_the_activations_back():
    x = mixed_sources(dtype=torch.float64)[0]
    found = ica(x, 8)
    acts = found.encode(x)
    torch.testing.assert_close(found.decode(acts), x)
    torch.testing.assert_close(found.W_dec @ found.W_enc, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-9)
    lengths = (acts[:, :, None] * found.W_dec).norm(dim=-1)
    torch.testing.assert_close(acts.abs(), lengths)
    variances = acts.var(0)
    assert (variances[:-1] >= variances[1:]).all()
    torch.testing.assert_close(acts.T.corrcoef(), torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-9)


def test_ica_leaves_out_directions_in_which_the_sample_does_not_vary():
    inner = mixed_sources()[0]
    x = torch.cat([inner, torch.full((len(inner), 1), 3.0), inner[:, :1] - inner[:, 1:2]], 1)
    found = ica(x, 8)
    assert found.d_sae == 8 and found.W_dec.shape == (8, 10)
    torch.testing.assert_close(found(x), x, rtol=1e-4, atol=1e-3)
    check_dictionary(found)


def test_ica_that_was_stopped_early_says_so():
    exceptions = pytest.importorskip("sklearn.exceptions")
    x = mixed_sources()[0]
    with pytest.warns(exceptions.ConvergenceWarning):
        found = ica(x, 8, n_iterations=1)
    torch.testing.assert_close(found(x), x, rtol=1e-4, atol=1e-3)


def test_ica_without_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"sparselex\[ica\]"):
        independent_components(randn(50, 4), 2, seeded())


def test_importing_the_baselines_does_not_import_scikit_learn():
    code = "import sys, sparselex.dictionaries.baselines; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Centroids


def test_a_token_is_decoded_to_its_nearest_centroid_by_brute_force():
    x = randn(700, 6, dtype=torch.float64) + 1
    found = centroids(x, 25, seeded())
    points = found.b_dec + found.lengths[:, None] * found.W_dec
    torch.testing.assert_close(found.b_dec, x.mean(0))
    for tokens in (x, randn(300, 6, seed=7, dtype=torch.float64) * 2):
        nearest = (tokens[:, None] - points).square().sum(-1).argmin(-1)
        acts = found.encode(tokens)
        assert torch.equal(acts.argmax(-1), nearest) and ((acts != 0).sum(-1) == 1).all()
        torch.testing.assert_close(found.decode(acts), points[nearest])
        torch.testing.assert_close(found(tokens), points[nearest])


def test_lloyd_ends_where_every_centroid_is_the_mean_of_its_tokens():
    x = randn(700, 6, dtype=torch.float64)
    found = centroids(x, 25, seeded(), n_iterations=500)
    owners = found.encode(x).argmax(-1)
    means = torch.stack([x[owners == j].mean(0) for j in range(25)])
    torch.testing.assert_close(found(x), means[owners])
    one_pass = centroids(x, 25, seeded(), n_iterations=1)
    assert (found(x) - x).square().sum() < (one_pass(x) - x).square().sum()


@pytest.mark.parametrize("seed", range(5))
def test_planted_clusters_are_found(seed):
    x, centres = clusters()
    found = centroids(x, 9, seeded(seed))
    points = found.b_dec + found.lengths[:, None] * found.W_dec
    assert torch.cdist(centres, points).amin(1).max() < 0.1
    assert torch.equal(found.encode(x).argmax(-1).view(9, 60).amin(1), found.encode(x).argmax(-1).view(9, 60).amax(1))


def test_a_centroid_without_tokens_moves_to_the_farthest_one():
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [9.0, 0.0]])
    points = baselines._lloyd(x, torch.tensor([[0.0, 0.5], [99.0, 99.0]]), 10)
    torch.testing.assert_close(points, torch.tensor([[0.0, 0.5], [9.0, 0.0]]))


def test_as_many_centroids_as_tokens_give_every_token_back():
    x = randn(30, 5)
    found = centroids(x, 30, seeded())
    torch.testing.assert_close(found(x), x)


def test_a_centroid_at_the_mean_has_no_active_latent_and_a_unit_row():
    found = centroids(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, seeded())
    assert len(found.encode_sparse(randn(4, 2)).values) == 0
    assert torch.equal(found(randn(4, 2)), torch.tensor([[2.0, 3.0]] * 4))
    torch.testing.assert_close(found.W_dec.norm(dim=-1), torch.ones(1))


def test_gradients_of_a_centroid_code_are_those_of_the_projection():
    found = centroids(clusters()[0], 9, seeded())
    x = randn(5, 6).requires_grad_()
    codes = found.encode_sparse(x)
    codes.values.sum().backward()
    torch.testing.assert_close(x.grad, found.W_dec[codes.indices])
    assert torch.equal(codes.values.detach(), found.lengths[codes.indices])  # forward untouched


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
    rows = covariance_matched_rows(torch.zeros(4), covariance, 50, 2, seeded()).W_dec
    assert rows[:, 2:].abs().max() < 1e-6


# Pursuit


def slow_pursuit(x, rows, mean, k):
    """Matching pursuit of one token after another, as the paper writes it."""
    acts = torch.zeros(len(x), len(rows), dtype=x.dtype)
    for i, token in enumerate(x):
        residual = token - mean
        for _ in range(k):
            products = rows @ residual
            j = int(products.abs().argmax())
            acts[i, j] += products[j]
            residual = residual - products[j] * rows[j]
    return acts


@pytest.mark.parametrize("k", [1, 3, 20])
def test_pursuit_equals_the_slow_loop(k):
    dictionary = random_rows(randn(12), 40, k, seeded(), code="pursuit").double()
    x = randn(30, 12, seed=6, dtype=torch.float64)
    expected = slow_pursuit(x, dictionary.W_dec, dictionary.b_dec, k)
    torch.testing.assert_close(dictionary.encode(x), expected)
    torch.testing.assert_close(dictionary.encode_sparse(x).dense(), expected)


def test_the_error_of_pursuit_never_grows_with_k_and_that_of_the_largest_does():
    x = randn(200, 12, seed=6, dtype=torch.float64)

    def errors(code):
        found = [random_rows(torch.zeros(12), 60, k, seeded(), code=code).double() for k in range(1, 31)]
        return torch.stack([(d(x) - x).square().sum(-1) for d in found])

    pursued, largest = errors("pursuit"), errors("largest")
    assert (pursued[0] <= x.square().sum(-1)).all() and (pursued.diff(dim=0) <= 1e-12).all()
    assert pursued[-1].sum() < 0.01 * x.square().sum()
    assert largest[-1].sum() > x.square().sum()  # overlapping rows overshoot: worse than the mean alone


@pytest.mark.parametrize("k", [1, 5, 12])
def test_for_orthogonal_directions_both_codes_are_one(k):
    x = randn(100, 12, dtype=torch.float64)
    pca = principal_components(x.mean(0), x.T.cov(), k)
    pursuit = Basis(BasisConfig(**(pca.config.model_dump() | {"code": "pursuit"})), pca.W_dec, pca.b_dec)
    torch.testing.assert_close(pursuit.encode(x), pca.encode(x))


def test_gradients_of_pursuit_equal_finite_differences():
    dictionary = random_rows(torch.zeros(6), 15, 4, seeded(), code="pursuit").double()
    x = randn(5, 6, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(dictionary.encode, (x,))


# What cannot be


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_sample_that_is_not_finite_is_named(value):
    x = randn(50, 4)
    x[3, 1] = value
    with pytest.raises(UserError, match="NaN or infinity in 1 of 50 tokens"):
        centroids(x, 5, seeded())
    with pytest.raises(UserError, match="NaN or infinity in 1 of 50 tokens"):
        ica(x, 2)


@pytest.mark.parametrize("d_sae", [0, -1, 51])
def test_impossible_numbers_of_centroids(d_sae):
    with pytest.raises(UserError, match=f"{d_sae} centroids were asked for from a sample of 50 tokens"):
        centroids(randn(50, 4), d_sae, seeded())


def test_fewer_distinct_tokens_than_centroids():
    x = (randn(3, 4) * 1.1).repeat(20, 1)
    assert torch.equal(centroids(x, 3, seeded()).W_dec.isfinite(), torch.ones(3, 4, dtype=torch.bool))
    with pytest.raises(UserError, match="only 3 distinct tokens"):
        centroids(x, 4, seeded())


def test_samples_that_ica_cannot_use():
    with pytest.raises(UserError, match="8 tokens of width 8"):
        ica(randn(8, 8), 2)
    with pytest.raises(UserError, match="same for all tokens"):
        ica(torch.full((50, 4), 2.5), 2)


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
    with pytest.raises(UserError, match="d_sae"):
        CentroidsConfig.parse({"d_in": 3, "d_sae": 0})
    assert isinstance(Centroids(CentroidsConfig(d_in=3, d_sae=2), randn(2, 3), torch.zeros(3)), Centroids)
