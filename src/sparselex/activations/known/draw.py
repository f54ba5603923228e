"""Which known features are active in a batch of tokens, drawn one active feature at a time: no `[n, n_features]` table
of random numbers is ever made."""

from typing import NamedTuple

import numpy as np

from sparselex.activations.known.config import KnownConfig
from sparselex.activations.known.plan import Floats, Ints, Plan


class Active(NamedTuple):
    """The true codes of a batch: entries ordered by token, then by feature."""

    rows: Ints
    """`[nnz]`, token of each entry."""

    features: Ints
    """`[nnz]`, its feature."""

    values: Floats
    """`[nnz]`, its coefficient: the length of what it adds, as directions have unit norm."""


def draw_active(
    config: KnownConfig, plan: Plan, sizes: Floats, n_tokens: int, generator: np.random.Generator
) -> Active:
    """The active features of `n_tokens` tokens and their coefficients.

    A feature that fires alone is active where at least one of Poisson many points falls on the token: with a mean of
    -log(1 - p) for each token that is Bernoulli(p), exactly and independently, and takes as many numbers as there are
    active features.
    """
    n_features = config.n_features
    keys = [_points(plan.alone, n_tokens, generator)]
    if plan.events.any():
        keys.append(_in_events(plan, n_tokens, generator))
    active = np.unique(np.concatenate(keys))
    level = active
    for _ in range(config.depth if config.n_trees else 0):
        level = _children(config, plan, level, generator)
        active = np.concatenate([active, level])
    active.sort()
    rows, features = np.divmod(active, n_features)
    values = 1 + config.spread * generator.uniform(-1, 1, len(active))
    return Active(rows, features, values * sizes[features])


def _points(rates: Floats, n_tokens: int, generator: np.random.Generator) -> Ints:
    """Keys `token * n + number` of what fires at these rates, each once."""
    counts = generator.poisson(-np.log1p(-rates) * n_tokens)
    numbers = np.repeat(np.arange(len(rates)), counts)
    return np.unique(generator.integers(0, n_tokens, len(numbers)) * len(rates) + numbers)


def _in_events(plan: Plan, n_tokens: int, generator: np.random.Generator) -> Ints:
    """Keys of the members that fire in events of their groups."""
    tokens, groups = np.divmod(_points(plan.events, n_tokens, generator), len(plan.events))
    members = np.flatnonzero(plan.groups >= 0)
    size = len(members) // len(plan.events)
    members = members[np.argsort(plan.groups[members], kind="stable")].reshape(-1, size)[groups]
    fires = generator.random(members.shape) < plan.in_event[members]
    return (tokens[:, None] * len(plan.rates) + members)[fires]


def _children(config: KnownConfig, plan: Plan, active: Ints, generator: np.random.Generator) -> Ints:
    """Keys of the children of active nodes: one number decides which of them fires, if any."""
    rows, features = np.divmod(active, config.n_features)
    first = plan.first_child[features]
    rows, first = rows[first >= 0], first[first >= 0]
    if not config.child_given_parent:
        return rows[:0]
    which = np.floor(generator.random(len(first)) / config.child_given_parent).astype(np.int64)
    fires = which < config.n_children
    return (rows * config.n_features + first + which)[fires]
