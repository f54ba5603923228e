"""Two dictionaries side by side do what each does alone."""

import torch

from sparselex.dictionaries.side_by_side import SideBySide
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.batchtopk import BatchTopKConfig
from sparselex.dictionaries.types.topk import TopKConfig


def drawn():
    generator = torch.Generator().manual_seed(0)
    one = new_dictionary(TopKConfig(d_in=6, d_sae=10, k=3), generator)
    other = new_dictionary(BatchTopKConfig(d_in=4, d_sae=7, k=2), generator)
    x = torch.randn(50, 10, generator=generator)
    return SideBySide([one, other]), x


def test_each_reads_and_writes_its_own():
    pair, x = drawn()
    pair.prepare(x, x)
    pair.fold([0.5, 2.0], [0.5, 2.0])
    one, other = pair.each
    xs = pair.columns(x)
    assert [tuple(part.shape) for part in xs] == [(50, 6), (50, 4)]
    codes = pair.encode_sparse(x)
    torch.testing.assert_close(codes.dense(), pair.encode(x))
    torch.testing.assert_close(codes.dense(), torch.cat([one.encode(xs[0]), other.encode(xs[1])], dim=-1))
    whole = torch.cat([one(xs[0]), other(xs[1])], dim=-1)
    torch.testing.assert_close(pair(x), whole)
    torch.testing.assert_close(pair.decode(codes.dense()), whole)
    torch.testing.assert_close(codes.dense() @ pair.W_dec + pair.b_dec, whole)
    for mine, own in zip(pair.codes_of(codes), (one.encode_sparse(xs[0]), other.encode_sparse(xs[1])), strict=True):
        torch.testing.assert_close(mine.dense(), own.dense())


def test_gradients_are_those_of_each_alone():
    pair, x = drawn()
    loss = (pair.training_decode(pair.training_codes(x)) - x).square().sum()
    apart = sum(
        (part.training_decode(part.training_codes(own)) - own).square().sum()
        for part, own in zip(pair.each, pair.columns(x), strict=True)
    )
    torch.testing.assert_close(loss, apart)
    found, alone = (torch.autograd.grad(one, list(pair.parameters())) for one in (loss, apart))
    for one, other in zip(found, alone, strict=True):
        torch.testing.assert_close(one, other)


def test_the_dead_of_either_speak_for_its_own_site():
    pair, x = drawn()
    dead = torch.tensor([2, 11, 15])
    found = pair.reconstruct_from_dead(x, dead, 1)
    (one, other), xs = pair.each, pair.columns(x)
    torch.testing.assert_close(found[:, :6], one.reconstruct_from_dead(xs[0], torch.tensor([2]), 1))
    torch.testing.assert_close(found[:, 6:], other.reconstruct_from_dead(xs[1], torch.tensor([1, 5]), 1))
    assert not pair.reconstruct_from_dead(x, torch.tensor([2]), 1)[:, 6:].any()
