"""An attribution graph as it lies on disk: plain values, read by pages without PyTorch."""

from pathlib import Path
from typing import Literal

from sparselex.base.artifacts import MANIFEST, record_of
from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.evaluate.graphs.config import GraphOf

KIND = "attribution graph"
"""Kind of the artifact."""

FILE = "graph.json"

FOLDER = "graphs"
"""Folder of a workspace that holds them."""

NodeKind = Literal["feature", "error", "input", "output"]
"""A latent, what transcoders leave over, what enters the first block with a transcoder, or a logit."""


class Node(Config):
    """One node that was kept."""

    kind: NodeKind
    """What it is."""

    layer: int
    """Block at which it reads, or whose MLP's error it is; of an input the first, of an output one behind the last."""

    position: int
    """Token at which it is."""

    run: str = ""
    """Run of the transcoder; empty for all but features."""

    latent: int = -1
    """Latent of the run; -1 for all but features."""

    token: int = -1
    """Id of the token, of inputs and outputs."""

    text: str = ""
    """That token as text."""

    value: float | None = None
    """Activation of a feature, centred logit of an output; None for others."""

    probability: float | None = None
    """Of an output."""

    bias: float | None = None
    """What a feature or an output would be without any node: what biases give."""

    influence: float = 0.0
    """Share of the outputs that reaches it along all paths; of an output its probability."""

    cumulative: float = 0.0
    """Share of all influence that it and all more influential nodes have together."""

    @property
    def id(self) -> str:
        """Its name in the graph: layer, number and position, as circuit-tracer names nodes."""
        match self.kind:
            case "input":
                return f"E_{self.token}_{self.position}"
            case "output":
                return f"{self.layer}_{self.token}_{self.position}"
        return f"{self.layer}_{self.latent}_{self.position}"


class Claim(Config):
    """What the graph says of one target when one feature is changed, and what came of it."""

    source: int
    """Number of the feature's node."""

    factor: float
    """What its activation is multiplied by: 0 or 2."""

    target: int
    """Number of the target's node."""

    predicted: float
    """Change of the target's activation or centred logit, by the graph."""

    replacement: float
    """The change in the replacement model."""

    model: float | None
    """The change in the model itself, its attention held; None for what cannot be said of it."""

    holds_in_replacement: bool
    """Whether it came true there."""

    holds_in_model: bool | None
    """And in the model."""


class AttributionGraph(Config):
    """A pruned graph with its scores."""

    asked: GraphOf
    """What was asked for."""

    model: str
    """The model."""

    n_layers: int
    """Its blocks."""

    first: int
    """The first block with a transcoder, where the graph begins."""

    covered: list[int]
    """Blocks whose MLPs have a transcoder."""

    tokens: list[int]
    """The prompt."""

    texts: list[str]
    """Its tokens as text."""

    n_features: int
    """Active latents that were nodes before pruning."""

    n_left_out: int
    """Active latents beyond the number that was asked for."""

    n_nodes: int
    """Nodes before pruning."""

    n_edges: int
    """Edges before pruning."""

    gap: float
    """Largest difference between a target and the sum of its parts, as a share of the largest sum of their sizes."""

    nodes: list[Node]
    """Nodes that were kept: features, errors, inputs, outputs."""

    edges: list[tuple[int, int, float]]
    """Source, target, and what the source adds to the target, the largest first."""

    claims: list[Claim]
    """What changes of features did."""

    figures: list[Figure]
    """Scores, and shares of claims that held."""

    def figure(self, name: str) -> Figure | None:
        """One of its figures."""
        return next((one for one in self.figures if one.name == name), None)


def graphs_in(workspace: Path) -> list[str]:
    """Names of a workspace's graphs."""
    return sorted(path.parent.name for path in (workspace / FOLDER).glob(f"*/{MANIFEST}"))


def graph_of(workspace: Path, name: str) -> AttributionGraph | None:
    """A graph by its name; None where there is none. Raises `UserError` where it is damaged."""
    folder = workspace / FOLDER / name
    return record_of(AttributionGraph, folder, FILE) if (folder / MANIFEST).is_file() else None
