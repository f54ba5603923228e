"""What a graph shows: its nodes, edges and claims as records."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.causal.graphs.influence import Kept, influence, normalised
from sparselex.causal.graphs.local import Direct, LocalModel
from sparselex.evaluate.graphs.checks import Checked
from sparselex.evaluate.graphs.records import Claim, Node


class Shown(NamedTuple):
    """A graph and the nodes of it that were kept."""

    local: LocalModel
    direct: Direct
    kept: Kept
    numbers: Int[Tensor, " m"]
    """Numbers of the kept nodes among all."""

    places: Int[Tensor, " n"]
    """Of each node its place among those kept; -1 for the others."""

    reached: Float[Tensor, " n"]
    """Influence of each node, of outputs their probability."""

    @classmethod
    def of(cls, local: LocalModel, direct: Direct, kept: Kept) -> "Shown":
        """The kept nodes in the order of all."""
        numbers, places = kept.nodes.nonzero()[:, 0], torch.full((local.n_nodes,), -1)
        places[numbers] = torch.arange(len(numbers))
        weights = local.weights()
        return cls(local, direct, kept, numbers, places, influence(normalised(direct.adjacency), weights) + weights)

    def nodes(self) -> list[Node]:
        """A record for each."""
        makers: dict[str, Callable[[int], Node]] = {
            "features": self._feature,
            "errors": self._error,
            "inputs": self._input,
            "outputs": self._output,
        }
        spans = {kind: self.local.span(kind) for kind in makers}
        found = list[Node]()
        for number in self.numbers.tolist():
            kind = next(kind for kind, span in spans.items() if span.start <= number < span.stop)
            node = makers[kind](number - spans[kind].start)
            share = min(1.0, float(self.kept.cumulative[number]))
            found.append(node.model_copy(update={"influence": float(self.reached[number]), "cumulative": share}))
        return found

    def edges(self) -> list[tuple[int, int, float]]:
        """Source, target, weight, the largest first."""
        targets, sources = self.kept.edges.nonzero(as_tuple=True)
        sizes = self.direct.adjacency[targets, sources]
        order = sizes.abs().argsort(descending=True, stable=True)
        ends = (self.places[sources[order]].tolist(), self.places[targets[order]].tolist(), sizes[order].tolist())
        return [*zip(*ends, strict=True)]

    def claims(self, checked: Checked | None, tolerance: float) -> list[Claim]:
        """What was said of each change, and what came of it."""
        if checked is None:
            return []
        n, first = len(self.local.features), self.local.span("outputs").start
        nodes = torch.where(checked.targets < n, checked.targets, checked.targets + first - n)
        held = {where: checked.holds(where, tolerance).tolist() for where in checked.found}
        found = {where: values.tolist() for where, values in checked.found.items()}
        return [
            Claim(
                source=int(self.places[checked.sources[row]]),
                factor=float(checked.factors[row]),
                target=int(self.places[nodes[row]]),
                predicted=float(checked.predicted[row]),
                replacement=found["replacement"][row],
                model=found["model"][row] if "model" in found else None,
                holds_in_replacement=held["replacement"][row],
                holds_in_model=held["model"][row] if "model" in held else None,
            )
            for row in range(len(nodes))
        ]

    def _feature(self, number: int) -> Node:
        features = self.local.features
        return Node(
            kind="feature",
            layer=int(features.layer[number]),
            position=int(features.position[number]),
            run=self.local.stack.transcoders[int(features.owner[number])].name,
            latent=int(features.latent[number]),
            value=float(features.act[number]),
            bias=float(self.direct.biases[number]),
        )

    def _error(self, number: int) -> Node:
        row, position = divmod(number, self.local.n_ctx)
        return Node(kind="error", layer=self.local.stack.mlps[row].layer or 0, position=position)

    def _input(self, number: int) -> Node:
        token = int(self.local.tokens[0, number])
        text = self.local.model.tokenizer.vocabulary.text(token)
        return Node(kind="input", layer=self.local.stack.first, position=number, token=token, text=text)

    def _output(self, number: int) -> Node:
        outputs, at = self.local.outputs, len(self.local.features) + number
        token = int(outputs.tokens[number])
        return Node(
            kind="output",
            layer=self.local.model.n_layers,
            position=self.local.n_ctx - 1,
            token=token,
            text=self.local.model.tokenizer.vocabulary.text(token),
            value=float(self.direct.values[at]),
            bias=float(self.direct.biases[at]),
            probability=float(outputs.probabilities[number]),
        )
