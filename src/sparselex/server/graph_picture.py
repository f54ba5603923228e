"""Where the nodes of an attribution graph stand in its picture, and which edges are drawn."""

import unicodedata
from collections.abc import Collection, Mapping
from typing import NamedTuple

from sparselex.evaluate.graphs.records import AttributionGraph, Node

_STEP, _GAP, _ROW, _LEFT, _TOP = 13.0, 9.0, 34.0, 46.0, 24.0
_LETTER = 5.6
"""Width of a letter of tokens' labels, which are 9 units high."""

_OF_ONE, _OF_ALL = 60, 120
"""Edges that are drawn of one node, and where none is looked at."""

_WIDEST = 3.2


class Mark(NamedTuple):
    """A node in the picture."""

    number: int
    x: float
    y: float
    kind: str
    id: str
    label: str


class Line(NamedTuple):
    """An edge in the picture."""

    path: str
    width: float
    kind: str
    """`more` where the source adds to the target, `less` where it takes away."""

    label: str


class Label(NamedTuple):
    """Words beside the picture."""

    x: float
    y: float
    words: str


class GraphPicture(NamedTuple):
    """All that is drawn."""

    width: float
    height: float
    marks: list[Mark]
    lines: list[Line]
    tokens: list[Label]
    layers: list[Label]


def shown(text: str) -> str:
    """A token's text with its white space to be seen."""
    return text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "·") or "(empty)"


def words_of(graph: AttributionGraph, node: Node) -> str:
    """What a node is, in words."""
    at = f"at {node.position} {shown(graph.texts[node.position])}"
    match node.kind:
        case "feature":
            return f"{node.run} {node.latent} in block {node.layer} {at}"
        case "error":
            return f"error of block {node.layer} {at}"
        case "input":
            return f"{'embedding' if graph.first == 0 else f'stream into block {graph.first}'} {at}"
    return f"output {shown(node.text)}"


def shares(graph: AttributionGraph) -> list[float]:
    """Of each edge its size as a share of all that lead to its target in this graph, times the target's influence."""
    total = dict[int, float]()
    for _, target, weight in graph.edges:
        total[target] = total.get(target, 0.0) + abs(weight)
    influence = [node.influence for node in graph.nodes]
    return [abs(weight) / total[target] * influence[target] for _, target, weight in graph.edges]


def graph_picture(graph: AttributionGraph, at: int | None, pinned: Collection[int]) -> GraphPicture:
    """Tokens across, blocks upwards, inputs below, outputs on top; the edges of the node that is looked at and those
    among pinned ones, or where there are none of either the strongest of all."""
    rows = sorted({_row(node) for node in graph.nodes})
    heights = {row: number for number, row in enumerate(reversed(rows))}
    cells = dict[tuple[int, int], list[int]]()
    for number, node in enumerate(graph.nodes):
        cells.setdefault((_row(node), node.position), []).append(number)
    widest = [max([len(cells.get((row, place), [])) for row in rows] + [1]) for place in range(len(graph.texts))]
    words = [shown(text)[:8] for text in graph.texts]
    widths = [max(n * _STEP, _length(label)) for n, label in zip(widest, words, strict=True)]
    starts = [_LEFT + sum(widths[:place]) + place * _GAP for place in range(len(widths) + 1)]
    middle = lambda place: starts[place] + widths[place] / 2
    places = dict[int, tuple[float, float]]()
    for (row, place), numbers in cells.items():
        y = _TOP + heights[row] * _ROW
        first = middle(place) - (len(numbers) - 1) * _STEP / 2
        for order, number in enumerate(numbers):
            places[number] = (round(first + order * _STEP, 1), round(y, 1))
    height = _TOP + (len(rows) - 1) * _ROW + 30
    marks = [
        Mark(number, *places[number], node.kind, node.id, words_of(graph, node))
        for number, node in enumerate(graph.nodes)
    ]
    tokens = [Label(round(middle(place), 1), height - 10, label) for place, label in enumerate(words)]
    names = {row: _name(graph, row) for row in rows}
    layers = [Label(_LEFT - 12, _TOP + heights[row] * _ROW, names[row]) for row in rows]
    return GraphPicture(round(starts[-1] + _STEP, 1), height, marks, _lines(graph, at, pinned, places), tokens, layers)


def _length(label: str) -> float:
    """How long a token's label is at most as it is drawn; those of eastern scripts are as wide as they are high."""
    return sum(_LETTER * (2 if unicodedata.east_asian_width(letter) in "WF" else 1) for letter in label)


def _row(node: Node) -> int:
    return -1 if node.kind == "input" else node.layer


def _name(graph: AttributionGraph, row: int) -> str:
    return "in" if row < 0 else "out" if row >= graph.n_layers else f"{row}"


def _lines(
    graph: AttributionGraph, at: int | None, pinned: Collection[int], places: Mapping[int, tuple[float, float]]
) -> list[Line]:
    sizes = shares(graph)
    order = sorted(range(len(sizes)), key=lambda number: -sizes[number])
    of = lambda number: graph.edges[number][:2]
    among = [number for number in order if set(of(number)) <= {*pinned}]
    own = [number for number in order if at in of(number)][:_OF_ONE] if at is not None else []
    chosen = list(dict.fromkeys([*own, *among])) if own or among else order[:_OF_ALL] if at is None else []
    most = max((sizes[number] for number in chosen), default=1.0) or 1.0
    found = []
    for number in reversed(chosen):  # the strongest lie on top
        source, target, weight = graph.edges[number]
        (x0, y0), (x1, y1) = places[source], places[target]
        bend = round((y0 + y1) / 2, 1)
        names = [words_of(graph, graph.nodes[one]) for one in (source, target)]
        path = f"M{x0} {y0}C{x0} {bend} {x1} {bend} {x1} {y1}"
        width = round(max(0.5, _WIDEST * (sizes[number] / most) ** 0.5), 2)
        found.append(Line(path, width, "more" if weight > 0 else "less", f"{names[0]} to {names[1]}: {weight:+.3g}"))
    return found
