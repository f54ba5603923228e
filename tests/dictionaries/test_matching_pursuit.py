"""Matching pursuit: every way of choosing against a loop over tokens, latents taken twice, tokens that end early."""

import pytest
import torch

from sparselex.dictionaries.sparse.products import decode_at
from sparselex.dictionaries.types import matching_pursuit
from sparselex.dictionaries.types.matching_pursuit import MatchingPursuit, MatchingPursuitConfig
from tests.dictionaries.test_dictionaries import pursuit_reference


def make(k=9, d_sae=30, **options):
    """A coherent dictionary of few dimensions, so that latents are taken more than once."""
    generator = torch.Generator().manual_seed(1)
    dictionary = MatchingPursuit(MatchingPursuitConfig(d_in=6, d_sae=d_sae, k=k, **options), generator).double()
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return dictionary


def inputs():
    return torch.randn(50, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


WAYS = {"gram": {}, "product": {"_GRAM_ROWS": 0}, "small parts": {"_CHUNK_SCORES": 70, "_CHUNK_NUMBERS": 20}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "options",
    [{}, {"k": 1}, {"stop_below": 0.2}, {"d_sae": 3, "k": 4}, {"stop_left": 1.0}, {"stop_at_repeat": True}],
    ids=str,
)
def test_every_way_equals_a_loop_over_tokens(way, options, monkeypatch):
    for name, value in WAYS[way].items():
        monkeypatch.setattr(matching_pursuit, name, value)
    dictionary, x = make(**options), inputs().requires_grad_()
    weights = torch.randn(50, dictionary.d_sae, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected, n_steps = pursuit_reference(dictionary, x)
    found = {"encode": dictionary.encode(x), "training": dictionary.training_codes(x).dense()}
    tensors = [x, *dictionary.parameters()]
    for name, acts in found.items():
        torch.testing.assert_close(acts, expected, msg=lambda m, n=name: f"{n}: {m}")
        slopes = torch.autograd.grad((acts * weights + acts**3).sum(), tensors)
        for slope, right in zip(
            slopes,
            torch.autograd.grad((expected * weights + expected**3).sum(), tensors, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(slope, right, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
    if options == {}:  # the case that a code of places without repetition would get wrong
        assert int((expected != 0).sum()) < n_steps == 9 * 50


def test_the_ways_of_choosing_are_taken(monkeypatch):
    """A Gram matrix that says something else must show where it is meant to be used, and only there."""
    plain = MatchingPursuit._steps
    monkeypatch.setattr(
        MatchingPursuit,
        "_steps",
        lambda self, residual, rows, gram: plain(self, residual, rows, None if gram is None else 2 * gram),
    )
    expected, _ = pursuit_reference(make(), inputs())
    assert not torch.allclose(make().encode(inputs()), expected)
    torch.testing.assert_close(
        make().encode(inputs()[:3]), expected[:3]
    )  # one more product of d_sae tokens would not pay


def test_gradients_twice_through_the_same_codes():
    """What is walked back is not what was saved."""
    dictionary, x = make(), inputs()
    codes = dictionary.training_codes(x)
    loss = (decode_at(codes, dictionary.W_dec, dictionary.b_dec) - x).square().sum()
    first, second = (torch.autograd.grad(loss, dictionary.W_dec, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_each_step_takes_what_is_left_and_no_noise():
    dictionary = MatchingPursuit(MatchingPursuitConfig(d_in=3, d_sae=3, k=3))
    dictionary.W_dec.data = torch.eye(3)
    x = torch.tensor([[3.0, -1.0, 2.0], [0.0, 0.0, 0.0], [-1.0, -1.0, -1.0], [0.0, 0.7, 0.0]])
    codes = dictionary.encode_sparse(x)
    assert torch.equal(codes.dense(), x.clamp_min(0)) and len(codes.indices) == 3  # no negative ones, no rounding
    stopped = MatchingPursuit(MatchingPursuitConfig(d_in=3, d_sae=3, k=3, stop_below=0.6))
    stopped.load_state_dict(dictionary.state_dict())
    assert stopped.encode(x).tolist() == [[3, 0, 0], [0, 0, 0], [0, 0, 0], [0, pytest.approx(0.7), 0]]
