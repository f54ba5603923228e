"""Archetypal dictionaries: rows against a slow formula, their hull, the points, and the cache of rows."""

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.dictionaries.controls.centroids import kmeans
from sparselex.dictionaries.sparse.products import decode_at
from sparselex.dictionaries.types.archetypal import Archetypal, ArchetypalConfig
from sparselex.dictionaries.types.topk import TopK, TopKConfig


def make(delta=1.0, d_sae=40, n_points=15, noise=0.5):
    generator = torch.Generator().manual_seed(1)
    config = ArchetypalConfig(d_in=6, d_sae=d_sae, k=3, n_points=n_points, delta=delta)
    dictionary = Archetypal(config, generator).double()
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter += noise * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return dictionary


def inputs(n=50):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def slow_rows(dictionary):
    rows = []
    for logits, offset in zip(dictionary.mix, dictionary.offset, strict=True):
        weights = logits.exp() / logits.exp().sum()
        row = sum(weight * point for weight, point in zip(weights, dictionary.points, strict=True))
        length, delta = offset.square().sum().sqrt(), dictionary.config.delta
        rows.append(dictionary.scale * (row + (offset if length <= delta else offset * delta / length)))
    return torch.stack(rows)


def test_rows_and_their_gradients_equal_a_slow_formula():
    dictionary = make()
    lengths = dictionary.offset.norm(dim=-1)
    assert (lengths < 1).any() and (lengths > 1).any()  # both sides of the cut
    weights = torch.randn(40, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    tensors = [dictionary.mix, dictionary.offset, dictionary.scale]
    expected = slow_rows(dictionary)
    torch.testing.assert_close(dictionary.W_dec, expected)
    slopes = [torch.autograd.grad((rows**3 * weights).sum(), tensors) for rows in (dictionary.W_dec, expected)]
    for found, right in zip(*slopes, strict=True):
        assert right.abs().max() > 0
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-9)


def test_a_training_step_equals_one_of_topk_with_the_same_rows():
    """The chain through the loss, the encoder's gradients and what of AuxK reads the rows, with nothing cached that is
    not the rows."""
    dictionary, x = make(), inputs()
    plain = TopK(TopKConfig(d_in=6, d_sae=40, k=3)).double()
    plain.load_state_dict(
        {name: getattr(dictionary, name).detach().clone() for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    )
    for one in (dictionary, plain):
        codes = one.training_codes(x)
        residual = decode_at(codes, one.W_dec, one.b_dec) - x
        (residual.square().sum() + (x @ one.W_dec[3:9].T).square().sum()).backward()
    expected = torch.autograd.grad(
        slow_rows(dictionary), [dictionary.mix, dictionary.offset, dictionary.scale], plain.W_dec.grad
    )
    for name, right in zip(("mix", "offset", "scale"), expected, strict=True):
        torch.testing.assert_close(getattr(dictionary, name).grad, right, rtol=1e-9, atol=1e-9)
    for name in ("W_enc", "b_enc", "b_dec"):
        torch.testing.assert_close(getattr(dictionary, name).grad, getattr(plain, name).grad, rtol=1e-9, atol=1e-9)


def test_rows_are_computed_once_a_step_and_never_stale():
    dictionary, x = make(), inputs()
    dictionary.training_codes(x)
    assert dictionary.W_dec is dictionary.W_dec
    with torch.no_grad():
        assert torch.equal(dictionary.W_dec, slow_rows(dictionary)) or torch.allclose(
            dictionary.W_dec, slow_rows(dictionary)
        )
        assert not dictionary.W_dec.requires_grad
        dictionary.scale *= 2
        torch.testing.assert_close(dictionary.W_dec, slow_rows(dictionary))
    optimiser = torch.optim.Adam(dictionary.parameters(), lr=0.1, fused=True)
    for _ in range(2):
        codes = dictionary.training_codes(x)
        decode_at(codes, dictionary.W_dec, dictionary.b_dec).square().sum().backward()
        optimiser.step()
        torch.testing.assert_close(dictionary.W_dec, slow_rows(dictionary))
    first, second = dictionary.training_codes(x), dictionary.training_codes(x)  # two batches, then both backwards
    for codes in (second, first):
        decode_at(codes, dictionary.W_dec, dictionary.b_dec).square().sum().backward()


def distance_from_hull(row, points):
    """By Frank-Wolfe: an upper bound that falls to the true distance."""
    at = points[0].clone()
    for _ in range(2000):
        to = points[(points @ (at - row)).argmin()] - at
        at += to * ((row - at) @ to / (to @ to).clamp_min(1e-30)).clamp(0, 1)
    return float((row - at).norm())


@pytest.mark.parametrize("delta", [0.0, 0.3])
def test_rows_stay_within_delta_of_the_hull(delta):
    dictionary = make(delta, d_sae=8, n_points=10, noise=3.0)
    with torch.no_grad():
        far = max(distance_from_hull(row, dictionary.points) for row in dictionary.W_dec / dictionary.scale)
    assert far < delta + 0.01 and (delta == 0 or far > 0.1)


def test_starting_values_come_from_the_data():
    dictionary, x = make(noise=0.0), inputs(200) * 3 + 5
    dictionary.prepare(x, x)
    torch.testing.assert_close(dictionary.b_dec, x.mean(0))
    centroids = kmeans(x - x.mean(0), 15, torch.Generator().manual_seed(dictionary._seed))
    torch.testing.assert_close(dictionary.points, centroids / centroids.norm(dim=-1).mean())
    torch.testing.assert_close(dictionary.W_dec.norm(dim=-1).mean(), torch.tensor(1.0).double())
    torch.testing.assert_close(dictionary.W_enc.T, dictionary.W_dec / dictionary.W_dec.norm(dim=-1, keepdim=True))
    assert len(dictionary.W_dec.unique(dim=0)) == 40  # more rows than points, and yet no two alike
    with pytest.raises(UserError, match="15 points were to be made of 10 calibration tokens"):
        dictionary.prepare(x[:10], x[:10])


def test_folding_leaves_a_plain_topk_dictionary():
    dictionary = make()
    dictionary.fold([1.7], [1.7])
    plain = TopK(TopKConfig(d_in=6, d_sae=40, k=3)).double()
    plain.load_state_dict(dictionary.state_dict())
    assert torch.equal(plain(inputs()), dictionary(inputs()))
