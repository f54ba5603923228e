"""The fast paths against their references: sparse gradients against dense, bfloat16 selection against float32."""

import copy

import pytest
import torch

from sparselex.dictionaries.controls.rows import random_rows
from sparselex.dictionaries.sparse.products import Scorer, decode_at, nth_largest, places_above
from sparselex.dictionaries.sparse.selection import above, largest_of_tokens
from sparselex.dictionaries.table import AnyDictionaryConfig
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.testing import check_dictionary
from sparselex.training.config import TrainConfig

KINDS = ["relu", "topk", "batchtopk"]


def config(kind: str, **options) -> AnyDictionaryConfig:
    values = {"kind": kind, "d_in": 48, "d_sae": 200, **({} if kind in ("relu", "jumprelu") else {"k": 6}), **options}
    return TrainConfig.parse({"dictionary": values, "n_tokens": 1}).dictionary


def make(kind: str, **options):
    generator = torch.Generator().manual_seed(1)
    dictionary = new_dictionary(config(kind, **options), generator)
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return dictionary


def inputs(n=64):
    return torch.randn(n, 48, generator=torch.Generator().manual_seed(2))


def gradients_of(dictionary, x, gradients):
    dictionary.zero_grad()
    codes = dictionary.training_codes(x, gradients=gradients)
    x_hat = decode_at(codes, dictionary.W_dec, dictionary.b_dec, gradients=gradients)
    ((x_hat - x).square().sum() + codes.values.square().sum()).backward()
    return {name: parameter.grad.clone() for name, parameter in dictionary.named_parameters()}, x_hat.detach()


@pytest.mark.parametrize("selection", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_gradients_equal_dense_ones(kind, selection):
    options = {} if kind == "relu" else {"selection": selection}
    dictionary, x = make(kind, **options).double(), inputs().double()
    dictionary.training_codes(x)  # gives BatchTopK its threshold, so that the coarse product is used next
    if kind == "batchtopk":  # both calls must choose alike, whatever the threshold has moved to
        assert float(dictionary.threshold) > 0
    sparse, x_hat = gradients_of(dictionary, x, "sparse")
    dense, expected = gradients_of(dictionary, x, "dense")
    torch.testing.assert_close(x_hat, expected, rtol=1e-10, atol=1e-10)
    for name in dense:
        assert dense[name].abs().max() > 0
        torch.testing.assert_close(sparse[name], dense[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("values", [{}, {"selection": "bfloat16"}], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [*KINDS, "jumprelu"])
def test_rounded_gradients_are_near_and_really_rounded(kind, values):
    options = {} if kind in ("relu", "jumprelu") else values
    exact, rounded, x = make(kind, **options), make(kind, **options), inputs()
    for dictionary in (exact, rounded):
        dictionary.training_codes(x)
    (expected, _), (found, _) = gradients_of(exact, x, "sparse"), gradients_of(rounded, x, "bfloat16")
    bound = (
        0.08 if values and options else 0.01
    )  # rounded scores may choose another of two latents that are nearly equal
    for name in expected:
        assert (found[name] - expected[name]).norm() < bound * expected[name].norm()
    assert not torch.equal(found["W_enc"], expected["W_enc"]) and not torch.equal(found["W_dec"], expected["W_dec"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [*KINDS, "abstopk"])
def test_gradients_of_weights_in_half_precision(kind, dtype):
    """As a model that is spliced with a dictionary in its own precision needs them."""
    exact, x = make(kind), inputs()
    if kind == "batchtopk":
        exact.threshold.fill_(1.0)
    half = copy.deepcopy(exact).to(dtype)
    found = {}
    for dictionary, tokens in ((exact, x), (half, x.to(dtype))):
        codes = dictionary.encode_sparse(tokens)
        dictionary.decode_sparse(codes).square().sum().backward()
        found[dictionary] = dictionary.W_dec.grad.float()
        assert dictionary.W_dec.grad.dtype == tokens.dtype
    assert (found[half] - found[exact]).norm() < 0.2 * found[exact].norm()


@pytest.mark.parametrize("selection", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [*KINDS, "jumprelu", "matryoshka"])
def test_a_batch_without_tokens_has_no_codes(kind, selection):
    options = {} if kind in ("relu", "jumprelu") else {"selection": selection}
    codes = make(kind, **options).training_codes(inputs()[:0])
    assert len(codes) == 0 and not len(codes.indices)


def places(codes):
    return set(zip(codes.rows.tolist(), codes.indices.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_bfloat16_selection_chooses_nearly_alike_and_computes_exactly(kind):
    exact, coarse, x = make(kind), make(kind, selection="bfloat16"), inputs(512)
    for dictionary in (exact, coarse):
        dictionary.training_codes(x)
    expected, found = exact.training_codes(x), coarse.training_codes(x)
    assert len(found.indices) == len(expected.indices) == 6 * 512
    assert len(places(found) & places(expected)) >= 0.99 * len(places(expected))
    pre = coarse.pre_acts(x)
    torch.testing.assert_close(found.values, pre[found.rows, found.indices], rtol=1e-4, atol=1e-5)
    if kind == "batchtopk":
        torch.testing.assert_close(coarse.threshold, exact.threshold, rtol=1e-3, atol=0)


@pytest.mark.parametrize("bar", [0.0, 1e-3, 1.0, 1e6])
def test_bfloat16_selection_keeps_the_number_right_wherever_the_threshold_stands(bar):
    dictionary = make("batchtopk", selection="bfloat16")
    dictionary.threshold.fill_(bar)
    assert len(dictionary.training_codes(inputs()).values) == 6 * 64


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_bfloat16_selection_really_uses_the_coarse_product(kind, monkeypatch):
    """A coarse product that says the opposite must show, or the fast path is not the one that runs."""
    dictionary, x = make(kind, selection="bfloat16"), inputs()
    dictionary.training_codes(x)
    honest = dictionary.training_codes(x)
    plain, plain_blocks = Scorer.__call__, Scorer.blocks

    def turned_blocks(self, x, *, into=None):
        for block in plain_blocks(self, x, into=into):
            block.scores.copy_(block.scores.roll(1, dims=-1))
            yield block

    monkeypatch.setattr(Scorer, "__call__", lambda self, x: plain(self, x).roll(1, dims=-1))
    monkeypatch.setattr(Scorer, "blocks", turned_blocks)
    assert places(dictionary.training_codes(x)) != places(honest)


def scorer_of(width: int, dtype=torch.float32) -> tuple[Scorer, torch.Tensor, torch.Tensor]:
    """A scorer, inputs, and their scores by a plain product; small whole numbers, so that many scores are equal and all
    are exact."""
    generator = torch.Generator().manual_seed(4)
    numbers = lambda *shape: torch.randint(-3, 4, shape, generator=generator).float()
    rows, norms, bias, x = numbers(width, 5), numbers(width).abs() + 1, numbers(width), numbers(50, 5)
    return Scorer(rows, norms, bias, dtype), x, x @ (rows * norms[:, None]).T + bias


BLOCKS = {"one": (2**21, 512), "narrow": (64 * 50, 64), "a few tokens": (64 * 7, 64), "one token": (1, 64)}


@pytest.mark.slow
@pytest.mark.parametrize("sizes", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("width", [31, 64, 800, 801, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_of_scores_are_the_product(width, sizes, dtype, monkeypatch):
    for name, size in zip(("_BLOCK_SCORES", "_FEWEST_LATENTS"), sizes, strict=True):
        monkeypatch.setattr(f"sparselex.dictionaries.sparse.products.{name}", size)
    scorer, x, expected = scorer_of(width, dtype)
    assert torch.equal(scorer(x).float(), expected)
    found, n_blocks = torch.full_like(expected, torch.nan), 0
    for token, latent, scores in scorer.blocks(x):
        found[token : token + len(scores), latent : latent + scores.shape[1]] = scores.float()
        n_blocks += 1
    assert torch.equal(found, expected) and (n_blocks > 1) == (sizes[0] < 50 * width)
    for bar in (0.0, 12.0, 1e6):
        places, values = above(scorer, x, bar)
        assert places.tolist() == (expected.view(-1) > bar).nonzero().view(-1).tolist()
        assert torch.equal(values, expected.view(-1)[places])
    for n_keep in (1, 7, 120):
        places, values = above(scorer, x, 0.0, n_keep=n_keep)
        assert torch.equal(values.topk(n_keep).values, expected.view(-1).topk(n_keep).values)
        assert torch.equal(values, expected.view(-1)[places])


@pytest.mark.parametrize("sizes", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", [31, 64, 800, 801, 1000])
def test_the_largest_of_tokens_are_those_of_a_plain_ranking(width, signed, sizes, monkeypatch):
    for name, size in zip(("_BLOCK_SCORES", "_FEWEST_LATENTS"), sizes, strict=True):
        monkeypatch.setattr(f"sparselex.dictionaries.sparse.products.{name}", size)
    scorer, x, expected = scorer_of(width)
    values, latents = largest_of_tokens(scorer, x, 3, signed=signed)
    assert torch.equal(values, expected.gather(1, latents)) and all(len(set(row)) == 3 for row in latents.tolist())
    size = lambda scores: (scores.abs() if signed else scores).sort(1, descending=True).values[:, :3]
    assert torch.equal(size(values), size(expected))
    assert largest_of_tokens(scorer, x[:0], 3, signed=signed)[0].shape == (0, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_places_and_order_statistics_equal_slow_ones(dtype):
    values = torch.randn(1000, generator=torch.Generator().manual_seed(3)).to(dtype)
    values[::7], values[::11] = 0.5, -0.0
    for bar in (0.0, 0.5, 1.25, 100.0):
        assert places_above(values, bar).tolist() == [i for i, value in enumerate(values.tolist()) if value > bar]
    exact = values.to(torch.float32)
    for n in (1, 2, 300, 1000):
        assert float(nth_largest(exact, n)) == sorted(exact.tolist(), reverse=True)[n - 1]


@pytest.mark.parametrize("selection", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [*KINDS, "abstopk", "jumprelu"])
def test_blocks_of_a_batch_choose_what_the_whole_chooses(kind, selection, monkeypatch):
    options = {} if kind in ("relu", "jumprelu") else {"selection": selection}
    found = []
    monkeypatch.setattr("sparselex.dictionaries.sparse.products._FEWEST_LATENTS", 64)
    for size in (2**21, 64 * 7, 1):
        monkeypatch.setattr("sparselex.dictionaries.sparse.products._BLOCK_SCORES", size)
        dictionary = make(kind, **options).double()
        for round in range(3):  # without a threshold, with one, and with one far too low
            if round == 2 and kind == "batchtopk":
                dictionary.threshold.fill_(1e-9)
            found.append(places(dictionary.training_codes(inputs().double())))
    assert found[:3] == found[3:6] == found[6:] and all(found)


def test_selection_leaves_inference_alone():
    for kind in ("topk", "batchtopk"):
        assert torch.equal(make(kind).encode(inputs()), make(kind, selection="bfloat16").encode(inputs()))


def test_fewer_positive_latents_than_k():
    dictionary = new_dictionary(
        TopKConfig(d_in=4, d_sae=8, k=8, selection="bfloat16"), torch.Generator().manual_seed(0)
    )
    codes = dictionary.training_codes(torch.eye(4))
    assert 0 < len(codes.values) < 32 and (codes.values > 0).all()


@pytest.mark.parametrize("d_sae", [10, 100])
def test_conformance_of_random_rows(d_sae):
    basis = random_rows(torch.ones(20), d_sae, 5, torch.Generator().manual_seed(0))
    check_dictionary(basis)
    assert (basis.encode(torch.randn(7, 20)) != 0).sum(-1).tolist() == [5] * 7
    torch.testing.assert_close(basis.W_dec.norm(dim=-1), torch.ones(d_sae))
