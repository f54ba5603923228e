"""Trace a prompt: from direct effects to a pruned graph with its scores, its claims checked."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtyping import Int
from torch import Tensor

from sparselex.base.artifacts import record_of
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.progress import progress
from sparselex.base.staging import stage
from sparselex.causal.graphs.influence import Kept, pruned
from sparselex.causal.graphs.local import Direct, LocalModel
from sparselex.causal.graphs.stack import Transcoder
from sparselex.evaluate.graphs.checks import Checked, check, held_figures
from sparselex.evaluate.graphs.config import GraphOf
from sparselex.evaluate.graphs.nodes import Shown
from sparselex.evaluate.graphs.records import FILE, KIND, AttributionGraph
from sparselex.evaluate.graphs.scored import score_figures
from sparselex.lm.subject import SubjectModel

LARGEST_GAP = 1e-2
"""Share by which targets may differ from the sum of their parts before it is no rounding."""


def trace(
    model: SubjectModel,
    tokens: Int[Tensor, "1 ctx"],
    transcoders: Sequence[Transcoder],
    asked: GraphOf,
    to: Path,
    *,
    inputs: Mapping[str, str],
) -> AttributionGraph:
    """The graph of a prompt, left as the artifact `to`; unchanged work is not done again.

    Raises `UserError` for a prompt without active latents, for a model that is not linear once attention and norms are
    held, and like `LocalModel`.
    """
    with stage(to, KIND, asked, inputs) as staging:
        if not staging.made:
            found = traced(model, tokens, transcoders, asked)
            write_json(staging.folder / FILE, found.to_json())
            Figures(figures=found.figures).write(staging.folder)
            staging.finish()
    return record_of(AttributionGraph, to, FILE)


def traced(
    model: SubjectModel, tokens: Int[Tensor, "1 ctx"], transcoders: Sequence[Transcoder], asked: GraphOf
) -> AttributionGraph:
    """The same, kept nowhere."""
    local = LocalModel(
        model,
        tokens,
        transcoders,
        most_features=asked.most_features,
        output_share=asked.output_share,
        most_outputs=asked.most_outputs,
        batch=asked.batch,
    )
    if not len(local.features):
        raise UserError(
            "No latent is active on this prompt, at tokens that its dictionary is shown.",
            "a longer prompt, of the kind of text that it was trained on",
            "try another prompt.",
        )
    with progress("graph", len(local.features) + len(local.outputs.tokens), "targets") as bar:
        direct = local.direct(bar.advance)
    if direct.gap > LARGEST_GAP:
        raise UserError(
            f"The effects of nodes do not add up: they are off by {direct.gap:.2g} of what they are.",
            "a model that is linear between its MLPs once attention and norms are held, in float32",
            "load it with --model-dtype float32 when the runs are begun, or choose another model.",
        )
    kept = pruned(
        direct.adjacency,
        local.weights(),
        local.mask("features"),
        local.mask("errors"),
        asked.node_share,
        asked.edge_share,
    )
    checked = check(local, direct, kept.nodes, asked)
    return _graph(local, direct, kept, checked, asked)


def _graph(local: LocalModel, direct: Direct, kept: Kept, checked: Checked | None, asked: GraphOf) -> AttributionGraph:
    shown, tokens = Shown.of(local, direct, kept), local.tokens[0].tolist()
    return AttributionGraph(
        asked=asked,
        model=local.model.name,
        n_layers=local.model.n_layers,
        first=local.stack.first,
        covered=[mlp.layer or 0 for mlp in local.stack.mlps if local.stack.owner_of(mlp)],
        tokens=tokens,
        texts=[local.model.tokenizer.vocabulary.text(token) for token in tokens],
        n_features=len(local.features),
        n_left_out=local.features.n_left_out,
        n_nodes=local.n_nodes,
        n_edges=int((direct.adjacency != 0).sum()),
        gap=direct.gap,
        nodes=shown.nodes(),
        edges=shown.edges(),
        claims=shown.claims(checked, asked.tolerance),
        figures=[*score_figures(local, direct), *held_figures(checked, asked)],
    )
