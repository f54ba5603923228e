"""Supervised dictionaries: of every value of every attribute the vector that it puts into a site (Makelov, Lange and
Nanda 2024, arXiv:2405.08366, section 3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.errors import UserError

Labels = Mapping[str, Int[Tensor, " n"]]
"""Of each attribute the number of its value on each prompt."""


@dataclass(frozen=True)
class Supervised:
    """What a site holds as a sum: its mean, and one vector for the value of each attribute."""

    mean: Float[Tensor, " d"]
    """Mean over the prompts that it was made of."""

    vectors: Mapping[str, Float[Tensor, "n_values d"]]
    """Of each attribute the vector of each value; zeros for a value that did not occur."""

    def reconstruct(self, labels: Labels) -> Float[Tensor, "n d"]:
        """What it says is there, from labels alone."""
        found = self.mean.expand(len(next(iter(labels.values()))), -1).clone()
        for name, rows in self.vectors.items():
            found += rows[labels[name]]
        return found

    def edited(self, values: Float[Tensor, "n d"], was: Labels, becomes: Labels) -> Float[Tensor, "n d"]:
        """Values of which some variables are changed: the vectors of what they were out, those of what they become in.
        What is the same in both stays."""
        return values - self.reconstruct(was) + self.reconstruct(becomes)

    def removed(self, was: Labels, becomes: Labels) -> Float[Tensor, " n"]:
        """How much of each reconstruction an edit takes out, as a share: the part of the vectors of what changes along
        what the reconstruction has beyond the mean. The shares of all variables sum to 1."""
        whole = self.reconstruct(was) - self.mean
        out = torch.zeros_like(whole)
        for name, rows in self.vectors.items():
            out += torch.where((was[name] != becomes[name])[:, None], rows[was[name]], 0.0)
        return (out * whole).sum(-1) / whole.square().sum(-1).clamp_min(1e-30)


def mean_dictionary(values: Float[Tensor, "n d"], labels: Labels, n_values: Mapping[str, int]) -> Supervised:
    """The vector of a value is the mean over the prompts that have it, less the mean of all. What an attribute's
    vectors are does not hang on which others there are; right where attributes are independent."""
    _check(values, labels, n_values)
    mean = values.mean(0)
    return Supervised(mean, {name: _means(values - mean, labels[name], n) for name, n in n_values.items()})


def mse_dictionary(values: Float[Tensor, "n d"], labels: Labels, n_values: Mapping[str, int]) -> Supervised:
    """The vectors whose sum comes nearest to the values, by least squares with a pseudo-inverse; right where attributes
    depend on each other too. What the equations leave open (a constant moved from one attribute to another) is fixed so
    that each attribute's vectors average to zero over the prompts."""
    _check(values, labels, n_values)
    mean = values.mean(0)
    design = torch.cat([torch.eye(n, dtype=torch.float64)[labels[name]] for name, n in n_values.items()], dim=1)
    # By the normal equations: a few hundred values, where prompts are thousands.
    products, onto = design.T @ design, design.T @ (values - mean).double()
    solved = torch.linalg.pinv(products, hermitian=True) @ onto
    vectors, start = dict[str, Tensor](), 0
    for name, n in n_values.items():
        rows = solved[start : start + n]
        counts = torch.bincount(labels[name], minlength=n).double()
        rows = rows - (counts[:, None] * rows).sum(0) / counts.sum()
        vectors[name] = torch.where(counts[:, None] > 0, rows, 0.0).to(values.dtype)
        start += n
    return Supervised(mean, vectors)


MADE = {"mean": mean_dictionary, "mse": mse_dictionary}
"""The ways to make one, by the names that a configuration has for them."""


def shuffled(labels: Labels, generator: torch.Generator) -> dict[str, Tensor]:
    """The labels of each attribute on other prompts: as often, and of nothing."""
    return {name: column[torch.randperm(len(column), generator=generator)] for name, column in labels.items()}


def _means(values: Tensor, labels: Tensor, n: int) -> Tensor:
    counts = torch.bincount(labels, minlength=n)
    sums = values.new_zeros(n, values.shape[1]).index_add(0, labels, values)
    return sums / counts.clamp_min(1)[:, None]


def _check(values: Tensor, labels: Labels, n_values: Mapping[str, int]) -> None:
    for name, n in n_values.items():
        if len(torch.unique(labels[name])) < 2:
            raise UserError(
                f"The attribute {name!r} has one value on all of {len(values)} prompts.",
                "at least two values, so that one can be told from another",
                "draw more prompts, or leave the attribute out.",
            )
        if int(labels[name].max()) >= n:
            raise UserError(f"The attribute {name!r} has more than {n} values.", "a number below that", "count anew.")
