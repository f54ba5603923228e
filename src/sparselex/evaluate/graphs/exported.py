"""An attribution graph in the form of circuit-tracer's graph files, which its browser and Neuronpedia read.

Nodes are called `layer_latent_position`; features carry the Cantor number of layer and latent, errors the latent -1,
outputs a layer of their own behind the last. Where a graph begins behind the first block, the streams that enter it
stand where that form has embeddings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sparselex.evaluate.graphs.records import AttributionGraph, Node

_TYPES = {
    "feature": "cross layer transcoder",
    "error": "mlp reconstruction error",
    "input": "embedding",
    "output": "logit",
}


def circuit_tracer(
    graph: AttributionGraph,
    name: str,
    pins: Sequence[str] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
    titles: Mapping[tuple[str, int], str] | None = None,
) -> dict[str, Any]:
    """The JSON values of such a file: `metadata`, `qParams`, `nodes`, `links`; nodes by our own ids may be pinned, and
    grouped under names. `titles`: what is said of features, by run and latent, which become their labels."""
    likeliest = max((node.probability or 0 for node in graph.nodes if node.kind == "output"), default=0)
    names, said = [_name(graph, node) for node in graph.nodes], titles or {}
    called = {node.id: names[number] for number, node in enumerate(graph.nodes)}
    supernodes = [[label, *(called[one] for one in nodes)] for label, nodes in (groups or {}).items()]
    picked = list(dict.fromkeys([*pins, *(one for nodes in (groups or {}).values() for one in nodes)]))
    return {
        "metadata": {
            "slug": name,
            "scan": graph.model,
            "transcoder_list": list(graph.asked.runs),
            "prompt_tokens": graph.texts,
            "prompt": graph.asked.prompt,
            "node_threshold": graph.asked.node_share,
            "schema_version": 1,
        },
        "qParams": {
            "pinnedIds": [called[one] for one in picked],
            "supernodes": supernodes,
            "linkType": "both",
            "clickedId": "",
            "sg_pos": "",
        },
        "nodes": [_node(graph, node, names[number], likeliest, said) for number, node in enumerate(graph.nodes)],
        "links": [{"source": names[a], "target": names[b], "weight": weight} for a, b, weight in graph.edges],
    }


def cantor(a: int, b: int) -> int:
    """The one number of a pair."""
    return (a + b) * (a + b + 1) // 2 + b


def _name(graph: AttributionGraph, node: Node) -> str:
    # Its layer of outputs is one further than ours.
    return f"{graph.n_layers + 1}_{node.token}_{node.position}" if node.kind == "output" else node.id


def _node(
    graph: AttributionGraph, node: Node, name: str, likeliest: float, titles: Mapping[tuple[str, int], str]
) -> dict[str, Any]:
    layer = {"input": "E", "output": str(graph.n_layers + 1)}.get(node.kind, str(node.layer))
    number = {"feature": cantor(node.layer, node.latent), "error": -1, "input": node.position, "output": node.token}
    shown = {
        "feature": f"{node.layer}_{node.latent}-0",
        "error": f"{node.layer}_-1-{node.position}",
        "input": f"E_{node.token}-{node.position}",
        "output": f"L_{node.token}-{node.position}",
    }
    said = titles.get((node.run, node.latent), "") if node.kind == "feature" else ""
    if node.kind == "output":
        said = f'Output "{node.text}" (p={node.probability or 0:.3f})'
    return {
        "node_id": name,
        "feature": number[node.kind],
        "layer": layer,
        "ctx_idx": node.position,
        "feature_type": _TYPES[node.kind],
        "token_prob": node.probability or 0.0,
        "is_target_logit": node.kind == "output" and node.probability == likeliest,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": shown[node.kind],
        "clerp": said,
        "influence": None if node.kind == "output" else node.cumulative,
        "activation": node.value if node.kind == "feature" else None,
    }
