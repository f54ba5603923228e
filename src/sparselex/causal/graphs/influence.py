"""How much each node of a graph of direct effects matters to its outputs, and which nodes and edges are enough to show:
arrays in, arrays out (Ameisen et al. 2025, Circuit Tracing, sections on pruning and on graph scores).

An adjacency `A [n, n]` holds at `A[t, s]` what source `s` adds to target `t`. No node reaches itself.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Scores(NamedTuple):
    """What a graph says of itself."""

    replacement: float
    """Of the influence that the outputs owe to where paths begin, the share of inputs, the rest being of errors."""

    completeness: float
    """Of the direct effects on each target, the share that is no error's, targets weighed by their influence."""

    completeness_of_all: float
    """The same with inputs and errors among the targets, as if all that is added to them were known: circuit-tracer's
    figure."""


class Kept(NamedTuple):
    """What pruning leaves."""

    nodes: Bool[Tensor, " n"]
    edges: Bool[Tensor, "n n"]
    cumulative: Float[Tensor, " n"]
    """Of each node the share of all influence that it and all more influential ones have together."""


def normalised(adjacency: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Sizes of direct effects as shares of all on the same target; the row of a node without any is zero."""
    sizes = adjacency.abs()
    total = sizes.sum(-1, keepdim=True)
    return sizes / torch.where(total > 0, total, 1.0)


def influence(shares: Float[Tensor, "n n"], weights: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """What of the outputs' `weights` reaches each node along all paths: `weights @ ((I - shares)^-1 - I)`, summed path
    length by path length, which ends as no node reaches itself."""
    found, front = torch.zeros_like(weights), weights
    for _ in range(len(weights)):
        front = front @ shares
        if not front.any():
            break
        found = found + front
    return found


def scores(
    adjacency: Float[Tensor, "n n"],
    weights: Float[Tensor, " n"],
    inputs: Bool[Tensor, " n"],
    errors: Bool[Tensor, " n"],
) -> Scores:
    """The replacement and completeness scores of a whole graph, before anything is pruned. NaN where nothing reaches
    the outputs."""
    shares = normalised(adjacency)
    reached = influence(shares, weights)
    of_inputs, of_errors = float(reached[inputs].sum()), float(reached[errors].sum())
    every = reached + weights
    targets = every * (shares.sum(-1) > 0)  # what nothing adds to is no target
    known = 1 - shares[:, errors].sum(-1)
    divided = lambda a, b: a / b if b else float("nan")
    return Scores(
        divided(of_inputs, of_inputs + of_errors),
        divided(float((known * targets).sum()), float(targets.sum())),
        divided(float((known * every).sum()), float(every.sum())),
    )


def pruned(
    adjacency: Float[Tensor, "n n"],
    weights: Float[Tensor, " n"],
    features: Bool[Tensor, " n"],
    errors: Bool[Tensor, " n"],
    node_share: float = 0.8,
    edge_share: float = 0.98,
) -> Kept:
    """The most influential nodes that together have `node_share` of all influence, inputs and outputs always; of the
    edges among them those with `edge_share` of what runs along edges; and without the features and errors that lead
    nowhere, or the features that nothing leads to."""
    reached = influence(normalised(adjacency), weights)
    ordinary = features | errors
    nodes = (reached >= _bar(reached, node_share)) | ~ordinary
    among = torch.where(nodes[:, None] & nodes[None], adjacency, 0.0)
    shares = normalised(among)
    along = shares * (influence(shares, weights) + weights)[:, None]
    edges = (along >= _bar(along.flatten(), edge_share)) & (along > 0)
    for _ in range(len(nodes)):
        leads, led = edges.any(0), edges.any(1)
        left = nodes & (leads | ~ordinary) & (led | ~features)
        edges = edges & left[:, None] & left[None]
        if bool((left == nodes).all()):
            break
        nodes = left
    order = reached.argsort(descending=True, stable=True)
    cumulative = torch.empty_like(reached)
    cumulative[order] = reached[order].cumsum(0) / reached.sum().clamp_min(torch.finfo(reached.dtype).tiny)
    return Kept(nodes, edges, cumulative)


def _bar(values: Float[Tensor, " m"], share: float) -> Float[Tensor, ""]:
    """The value from which on the largest ones have `share` of the sum."""
    ordered = values[values > 0].sort(descending=True).values  # of a large graph hardly any edge is among kept nodes
    if not len(ordered):
        return values.new_zeros(())
    together = ordered.double().cumsum(0)
    place = int(torch.searchsorted(together, share * float(together[-1])))
    return ordered[min(place, len(ordered) - 1)]
