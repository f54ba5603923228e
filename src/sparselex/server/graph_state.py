"""What a reader has pinned and grouped in a graph, as the address of its page says."""

from collections.abc import Iterable, Mapping
from typing import Self
from urllib.parse import urlencode

from sparselex.base.config import Config
from sparselex.evaluate.graphs.records import AttributionGraph

_LONGEST_NAME = 40
"""Characters of a group's name."""


class GraphState(Config):
    """The reader's own part of a page: all of it stands in the address."""

    at: str = ""
    """The node that is looked at; empty for none."""

    pins: list[str] = []
    """Nodes that are pinned."""

    groups: dict[str, list[str]] = {}
    """Nodes that are taken together, by the name of the group."""

    @classmethod
    def of(cls, graph: AttributionGraph, at: str, pin: str, group: str) -> Self:
        """From an address: names that no node has are left out. Groups are `name:node,node` joined by `;`, and one that
        is named like a node is told apart from it."""
        known = {node.id for node in graph.nodes}
        named = lambda text: [one for one in dict.fromkeys(text.split(",")) if one in known]
        groups = dict[str, list[str]]()
        for part in group.split(";"):
            name, _, nodes = part.rpartition(":")
            if name and named(nodes):
                called = name[:_LONGEST_NAME]
                groups[f"group {called}" if called in known else called] = named(nodes)
        return cls(at=at if at in known else "", pins=named(pin), groups=groups)

    def query(self) -> str:
        """The words of an address behind the `?`."""
        groups = ";".join(f"{name}:{','.join(nodes)}" for name, nodes in self.groups.items())
        parts = {"at": self.at, "pin": ",".join(self.pins), "group": groups}
        return urlencode({name: value for name, value in parts.items() if value})

    def look(self, node: str) -> str:
        """The address in which another node is looked at."""
        return self.model_copy(update={"at": node}).query()

    def turned(self, node: str) -> str:
        """The address in which a node is pinned, or is so no longer."""
        pins = [one for one in self.pins if one != node] if node in self.pins else [*self.pins, node]
        return self.model_copy(update={"pins": pins}).query()

    def grouped(self, name: str) -> "GraphState":
        """What is pinned as a group of that name, and nothing pinned any more."""
        plain = " ".join(name.replace(";", " ").replace(":", " ").replace(",", " ").split())[:_LONGEST_NAME]
        if not plain or not self.pins:
            return self
        return self.model_copy(update={"groups": {**self.groups, plain: self.pins}, "pins": []})

    def dissolved(self, name: str) -> str:
        """The address in which a group's nodes are pinned one by one."""
        left = {other: nodes for other, nodes in self.groups.items() if other != name}
        pins = [*dict.fromkeys([*self.pins, *self.groups[name]])]
        return self.model_copy(update={"groups": left, "pins": pins}).query()

    def owners(self) -> Mapping[str, str]:
        """What each node that was picked out counts as: its group, or itself."""
        return {node: node for node in self.pins} | {
            node: name for name, nodes in self.groups.items() for node in nodes
        }


def between(graph: AttributionGraph, owners: Mapping[str, str]) -> list[tuple[str, str, float]]:
    """The sums of edges between what was picked out, the largest first."""
    found = dict[tuple[str, str], float]()
    for source, target, weight in _named(graph):
        if source in owners and target in owners and owners[source] != owners[target]:
            ends = owners[source], owners[target]
            found[ends] = found.get(ends, 0.0) + weight
    return sorted(((*ends, weight) for ends, weight in found.items()), key=lambda one: -abs(one[2]))


def _named(graph: AttributionGraph) -> Iterable[tuple[str, str, float]]:
    names = [node.id for node in graph.nodes]
    return ((names[source], names[target], weight) for source, target, weight in graph.edges)
