"""`/graphs/<name>`: an attribution graph of a prompt: its picture, the edges of a node, what was pinned and grouped."""

import json
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple
from urllib.parse import quote

from sparselex.base.artifacts import read_manifest
from sparselex.base.config import Config
from sparselex.evaluate.graphs.exported import circuit_tracer
from sparselex.evaluate.graphs.records import FOLDER, AttributionGraph, Claim, Node, graph_of, graphs_in
from sparselex.server.explained import title_of
from sparselex.server.graph_picture import GraphPicture, graph_picture, words_of
from sparselex.server.graph_state import GraphState, between
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Download, Elsewhere, NoSuchPage, Page, PageRecord
from sparselex.server.tried import Tried

MOST_EDGES, MOST_NODES = 20, 100
"""Edges of a node that are listed either way, and nodes in the table of all."""


class ShownNode(Config):
    """A node as the page names it."""

    id: str
    """Its name in the graph."""

    words: str
    """What it is."""

    title: str
    """What is said of a feature; empty where nothing is."""

    address: str
    """Of the feature's page in this workspace; empty where there is none of the same dictionary."""

    node: Node
    """The node."""


class ShownEdge(Config):
    """An edge of the node that is looked at."""

    other: ShownNode
    """The node at its other end."""

    weight: float
    """What the source adds to the target."""


class GraphSummary(Config):
    """A graph in short."""

    name: str
    """Its name in the workspace."""

    prompt: str
    """The prompt."""

    n_nodes: int
    """Nodes that were kept."""

    replacement: float | None
    """Its replacement score."""


class GraphPage(PageRecord):
    """`/graphs/<name>`: an attribution graph of a prompt."""

    name: str
    """Its name in the workspace."""

    others: list[str]
    """Other graphs of the workspace."""

    graph: AttributionGraph
    """The graph."""

    state: GraphState
    """What the reader looks at, has pinned and grouped."""

    at: ShownNode | None
    """The node that is looked at."""

    to: list[ShownEdge]
    """What adds to it, the largest first."""

    onwards: list[ShownEdge]
    """What it adds to, by the size of the edge."""

    claims: list[Claim]
    """What was checked of it."""

    pinned: list[ShownNode]
    """Nodes that are pinned."""

    picked: list[tuple[str, str, float]]
    """Sums of edges between what is pinned or grouped."""

    nodes: list[ShownNode]
    """The most influential nodes."""

    changed: list[str]
    """Runs that have another dictionary now than the graph was made with."""

    gone: list[str]
    """Runs that have none any more, or are there no longer."""

    def picture(self) -> GraphPicture:
        """What is drawn."""
        places = {node.id: number for number, node in enumerate(self.graph.nodes)}
        picked = [places[one] for one in self.state.owners()]
        return graph_picture(self.graph, places.get(self.state.at), picked)

    def name_of(self, number: int) -> str:
        """What a node is, in words."""
        return words_of(self.graph, self.graph.nodes[number])


class _Names(NamedTuple):
    """What pages say of the nodes of one graph."""

    graph: AttributionGraph
    titles: dict[tuple[str, int], str]
    linked: set[str]
    changed: list[str]
    gone: list[str]

    def of(self, number: int) -> ShownNode:
        node = self.graph.nodes[number]
        known = node.kind == "feature" and node.run in self.linked
        address = f"/runs/{quote(node.run)}/features/{node.latent}" if known else ""
        title = self.titles.get((node.run, node.latent), "")
        return ShownNode(id=node.id, words=words_of(self.graph, node), title=title, address=address, node=node)


def graph_page(
    opened: OpenWorkspace, name: str, at: str = "", pin: str = "", group: str = "", call: str = ""
) -> GraphPage | Elsewhere:
    """A graph, with a node looked at, nodes pinned and grouped as the address says; to `call` what is pinned is to lead
    to the address in which it is a group of that name. Raises `NoSuchPage` for a graph that there is not."""
    graph = _opened(opened, name)
    state = GraphState.of(graph, at, pin, group)
    if call.strip():
        return Elsewhere(f"/{FOLDER}/{quote(name)}?{state.grouped(call).query()}")
    names = _names(opened, name, graph)
    places = {node.id: number for number, node in enumerate(graph.nodes)}
    here = places.get(state.at)
    edges = [] if here is None else [edge for edge in graph.edges if here in edge[:2]]
    shown = lambda ends: [ShownEdge(other=names.of(number), weight=weight) for number, weight in ends[:MOST_EDGES]]
    order = sorted(range(len(graph.nodes)), key=lambda number: -graph.nodes[number].influence)
    return GraphPage(
        title=f"{name}: attribution graph",
        name=name,
        others=[other for other in graphs_in(opened.workspace.path) if other != name],
        graph=graph,
        state=state,
        at=None if here is None else names.of(here),
        to=shown([(source, weight) for source, target, weight in edges if target == here]),
        onwards=shown([(target, weight) for source, target, weight in edges if source == here]),
        claims=[claim for claim in graph.claims if claim.source == here],
        pinned=[names.of(places[one]) for one in state.pins],
        picked=between(graph, state.owners()),
        nodes=[names.of(number) for number in order[:MOST_NODES]],
        changed=names.changed,
        gone=names.gone,
    )


def graph_file(opened: OpenWorkspace, name: str, pin: str = "", group: str = "") -> Download:
    """The graph for circuit-tracer, with what is pinned, grouped and said of features. Raises like `graph_page`."""
    graph = _opened(opened, name)
    state = GraphState.of(graph, "", pin, group)
    values = circuit_tracer(graph, name, state.pins, state.groups, _names(opened, name, graph).titles)
    return Download(f"{name}.json", json.dumps(values, ensure_ascii=False).encode(), "application/json")


def graph_summaries(opened: OpenWorkspace, tried: Tried) -> list[GraphSummary]:
    """Every graph of the workspace that can be read."""
    read = partial(graph_of, opened.workspace.path)
    found = {name: tried(partial(read, name), None) for name in _all(opened)}
    return [
        GraphSummary(
            name=name,
            prompt=graph.asked.prompt,
            n_nodes=len(graph.nodes),
            replacement=next((one.value for one in graph.figures if one.name == "graph/replacement"), None),
        )
        for name, graph in found.items()
        if graph is not None
    ]


PAGE = Page(path="/graphs/{name}", build=graph_page, template=TEMPLATES / "graph.html")
EXPORT = Page(path="/graphs/{name}/circuit-tracer", build=graph_file)


def _all(opened: OpenWorkspace) -> Sequence[str]:
    return graphs_in(opened.workspace.path)


def _opened(opened: OpenWorkspace, name: str) -> AttributionGraph:
    found = graph_of(opened.workspace.path, name) if name in _all(opened) else None
    if found is None:
        raise NoSuchPage(
            f"There is no graph {name!r} in this workspace.",
            "one of " + (", ".join(_all(opened)) or "none yet"),
            f"run `sparselex graph {opened.workspace.typed} --prompt ...`.",
        )
    return found


def _names(opened: OpenWorkspace, name: str, graph: AttributionGraph) -> _Names:
    """What can be said of the nodes now: of runs whose dictionary and index are those that the graph is of."""
    inputs = read_manifest(opened.workspace.path / FOLDER / name).inputs
    found = _Names(graph, {}, set(), [], [])
    for run in graph.asked.runs:
        there, id = opened.workspace, inputs.get(f"dictionary {run}")
        if not there.has_run(run) or not there.has(run, "dictionary"):
            found.gone.append(run)
        elif read_manifest(there.run(run) / "dictionary").id != id:
            found.changed.append(run)
        elif opened.dictionary_id(run) == id:
            found.linked.add(run)
            latents = sorted({node.latent for node in graph.nodes if node.run == run})
            entries = opened.explained.entries(opened.index(run).index).of(latents)
            found.titles.update({(run, latent): title_of(entries, latent) for latent in latents})
    return found
