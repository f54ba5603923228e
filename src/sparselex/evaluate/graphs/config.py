"""How an attribution graph is made: a configuration that can be read without loading PyTorch."""

from typing import Annotated

from pydantic import Field, field_validator

from sparselex.base.bounds import BatchRows, Count, Once, Seed, Whole
from sparselex.base.config import Config
from sparselex.base.runs import RunName

Share = Annotated[float, Field(gt=0, le=1)]
"""A part of a whole, or all of it."""


class GraphConfig(Config):
    """How an attribution graph is made, pruned and checked."""

    node_share: Share = 0.8
    """Share of all influence that the nodes which are kept have together."""

    edge_share: Share = 0.98
    """The same of edges, of what runs along those between the nodes that are kept."""

    most_features: Count = 8192
    """Active latents that become nodes; of more, those that write the longest vectors. What the others write counts as
    error."""

    output_share: Share = 0.95
    """Share of the next token's probability that the outputs which are explained hold together."""

    most_outputs: Annotated[int, Field(ge=1, le=100)] = 10
    """Outputs at most."""

    n_checked: Whole = 16
    """Features of the pruned graph, drawn at random, that are taken away and doubled to see whether what the graph says
    comes true; 0 checks nothing."""

    n_targets: Annotated[int, Field(ge=1, le=100)] = 8
    """Nodes that are looked at after each such change: so many features and so many outputs, those for which the graph
    says the largest changes."""

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """A claim holds where the change has its sign, and is off by no more than this share of what was said."""

    batch: BatchRows = 32
    """Targets of one pass backward."""

    seed: Seed = 0
    """Seed of the features that are checked, and of what they are held against."""


class GraphOf(GraphConfig):
    """A graph that is asked for: of which runs, on which prompt."""

    prompt: str
    """The text."""

    runs: Annotated[tuple[RunName, ...], Once] = ("main",)
    """Runs whose transcoders stand for MLPs, all of one model."""

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, given: str) -> str:
        if not given.strip():
            raise ValueError("a prompt has words")
        return given
