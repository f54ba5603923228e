"""Supervised dictionaries: what labels give."""

import itertools

import numpy as np
import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.evaluate.supervised.labels import mean_dictionary, mse_dictionary, shuffled

N = {"a": 5, "b": 4}


def planted(pairs, noise=0.0, seed=0):
    """Values that are a sum of one vector for each label, and the labels."""
    generator = torch.Generator().manual_seed(seed)
    rows = {name: torch.randn(n, 12, generator=generator, dtype=torch.float64) for name, n in N.items()}
    labels = {name: torch.tensor([pair[place] for pair in pairs]) for place, name in enumerate(N)}
    values = sum(rows[name][labels[name]] for name in N) + 3.0
    return values + noise * torch.randn(values.shape, generator=generator, dtype=torch.float64), labels


EVERY = list(itertools.product(range(5), range(4))) * 3


def test_both_agree_and_are_exact_where_attributes_are_independent():
    values, labels = planted(EVERY)
    mean, mse = mean_dictionary(values, labels, N), mse_dictionary(values, labels, N)
    for name in N:
        torch.testing.assert_close(mean.vectors[name], mse.vectors[name], rtol=1e-6, atol=1e-9)
    for one in (mean, mse):
        torch.testing.assert_close(one.reconstruct(labels), values, rtol=1e-6, atol=1e-9)


def test_of_dependent_attributes_least_squares_alone_is_right():
    """b is a's parity on most prompts: means mix the two up by a share that is known."""
    rng = np.random.default_rng(0)
    pairs = [(a, a % 2 if rng.random() < 0.8 else int(rng.integers(4))) for a in rng.integers(5, size=4000).tolist()]
    values, labels = planted(pairs)
    mean, mse = mean_dictionary(values, labels, N), mse_dictionary(values, labels, N)
    torch.testing.assert_close(mse.reconstruct(labels), values, rtol=1e-6, atol=1e-8)
    left = (mean.reconstruct(labels) - values).square().sum() / (values - values.mean(0)).square().sum()
    assert left > 0.05
    # The fixed point: a value's vector is the mean of what the other attribute leaves.
    rest = values - mse.mean - mse.vectors["b"][labels["b"]]
    for value in range(5):
        own = rest[labels["a"] == value].mean(0)
        torch.testing.assert_close(mse.vectors["a"][value], own, rtol=1e-6, atol=1e-8)


def test_what_equations_leave_open_is_fixed():
    values, labels = planted(EVERY[:37])
    made = mse_dictionary(values, labels, N)
    for name, n in N.items():
        counts = torch.bincount(labels[name], minlength=n).double()
        torch.testing.assert_close(
            (counts[:, None] * made.vectors[name]).sum(0), torch.zeros(12).double(), atol=1e-8, rtol=0
        )


def test_an_edit_with_the_true_vectors_is_the_counterfactual():
    values, labels = planted(EVERY)
    made = mse_dictionary(values, labels, N)
    becomes = {**labels, "a": (labels["a"] + 1) % 5}
    wanted = made.reconstruct(becomes)
    torch.testing.assert_close(made.edited(values, labels, becomes), wanted, rtol=1e-6, atol=1e-8)
    others = [becomes, {**labels, "b": (labels["b"] + 1) % 4}]
    shares = sum(made.removed(labels, other) for other in others)
    torch.testing.assert_close(shares, torch.ones(len(values)).double())


def test_shuffled_labels_say_nothing_and_are_as_many():
    values, labels = planted(EVERY * 20)
    other = shuffled(labels, torch.Generator().manual_seed(0))
    assert all(torch.equal(torch.bincount(other[name]), torch.bincount(labels[name])) for name in N)
    made = mse_dictionary(values, other, N)
    left = (made.reconstruct(labels) - values).square().sum() / (values - values.mean(0)).square().sum()
    assert left > 0.95


def test_a_value_that_does_not_occur_has_no_vector_and_one_value_is_refused():
    values, labels = planted([pair for pair in EVERY if pair[0] != 2])
    for make in (mean_dictionary, mse_dictionary):
        assert make(values, labels, N).vectors["a"][2].abs().max() < 1e-12
        with pytest.raises(UserError, match="'a' has one value on all of 12 prompts"):
            make(values[:12], {"a": torch.zeros(12, dtype=torch.long), "b": labels["b"][:12]}, N)
