"""How often each known feature fires, and with which others: probabilities alone, nothing is drawn."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.activations.known.config import KnownConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_NONE = -1


class Plan(NamedTuple):
    """The probabilities of a set of known features, `[n_features]` each where nothing else is said."""

    rates: Floats
    """Probability that the feature is active in a token."""

    parents: Ints
    """The feature's parent; -1 for one without."""

    first_child: Ints
    """Its first child, the others following; -1 for one without."""

    groups: Ints
    """The group it is in; -1 for none."""

    alone: Floats
    """Probability that it fires by itself: neither after its parent nor by an event of its group."""

    events: Floats
    """`[n_groups]`, probability of each group's event."""

    in_event: Floats
    """Probability that it fires in an event of its group."""


def plan_of(config: KnownConfig) -> Plan:
    """The probabilities that `config` states. `rates` sum to `config.l0`; a pair of one group fires together with
    probability `alone * alone` where there is no event, and `in_event * in_event` besides where there is one."""
    roots = np.linspace(0, max(config.n_trees, config.n_free // 2) - 1, config.n_trees).astype(np.int64)
    parents, first_child = _trees(config, roots)
    free = _free_rates(config, roots)
    rates = np.concatenate([free, np.zeros(config.n_features - config.n_free)])
    for child in range(config.n_free, config.n_features):  # parents are numbered before their children
        rates[child] = rates[parents[child]] * config.child_given_parent
    groups = _groups(config, roots)
    events, in_event, alone = _events(config, rates, groups)
    alone[parents != _NONE] = 0.0
    return Plan(rates, parents, first_child, groups, alone, events, in_event)


def _trees(config: KnownConfig, roots: Ints) -> tuple[Ints, Ints]:
    """Parents and first children, level by level below the roots."""
    parents = np.full(config.n_features, _NONE)
    first_child = np.full(config.n_features, _NONE)
    level, start = roots, config.n_free
    for _ in range(config.depth if config.n_children else 0):
        children = np.arange(start, start + len(level) * config.n_children)
        first_child[level] = children[:: config.n_children]
        parents[children] = np.repeat(level, config.n_children)
        level, start = children, start + len(children)
    return parents, first_child


def _free_rates(config: KnownConfig, roots: Ints) -> Floats:
    """`[n_free]` Zipf's law, cut at `most_often` and scaled so that these and their descendants have `l0` together."""
    law = np.arange(1, config.n_free + 1, dtype=np.float64) ** -config.zipf
    weights = np.ones(config.n_free)
    weights[roots] += sum((config.n_children * config.child_given_parent) ** i for i in range(1, config.depth + 1))
    low, high = 0.0, config.most_often / law[-1]
    for _ in range(200):  # halved until nothing is left between
        middle = (low + high) / 2
        enough = float((weights * np.minimum(config.most_often, middle * law)).sum()) >= config.l0
        low, high = (low, middle) if enough else (middle, high)
    return np.minimum(config.most_often, high * law)


def _groups(config: KnownConfig, roots: Ints) -> Ints:
    """The group of each feature: blocks of neighbouring ranks among those that are no roots, spread over the ranks."""
    groups = np.full(config.n_features, _NONE)
    singles = np.setdiff1d(np.arange(config.n_free), roots)
    blocks = len(singles) // config.group_size
    chosen = np.linspace(0, blocks - 1, config.n_groups).astype(np.int64)
    for number, block in enumerate(chosen):
        groups[singles[block * config.group_size : (block + 1) * config.group_size]] = number
    return groups


def _events(config: KnownConfig, rates: Floats, groups: Ints) -> tuple[Floats, Floats, Floats]:
    """Probabilities of events, of firing in one, and of firing alone, so that every member keeps its own rate."""
    grouped = groups != _NONE
    events, in_event, alone = np.zeros(config.n_groups), np.zeros_like(rates), rates.copy()
    np.maximum.at(events, groups[grouped], rates[grouped])
    events *= config.group_share / config.together
    if config.n_groups and config.group_share:
        due = config.group_share * rates[grouped]
        in_event[grouped] = due / events[groups[grouped]]
        alone[grouped] = (rates[grouped] - due) / (1 - due)
    return events, in_event, alone
