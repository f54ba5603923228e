"""Trace a prompt through the transcoders of runs."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sparselex.base.bos import bos_of
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.causal.graphs.stack import Transcoder
from sparselex.causal.latents import Latents
from sparselex.evaluate.graphs.config import GraphOf
from sparselex.evaluate.graphs.records import AttributionGraph
from sparselex.evaluate.graphs.walk import trace
from sparselex.lm.load import load_model
from sparselex.lm.subject import SubjectModel
from sparselex.recipes.run import Run


def trace_runs(workspace: Workspace, asked: GraphOf, to: Path, inputs: Mapping[str, str]) -> AttributionGraph:
    """Open the runs, which share one model in memory, and trace. Raises like `evaluate.graphs.walk.trace`."""
    runs = [Run.open(workspace, name) for name in asked.runs]
    model = load_model(runs[0].config.model)
    for run in runs:
        run.model = model  # else each would load its own
    tokens = model.tokens(asked.prompt, bos=runs[0].config.text.bos)
    if any(run.config.text.bos != runs[0].config.text.bos for run in runs):
        raise UserError(
            "The runs begin rows differently (--bos).",
            "runs whose rows begin alike",
            "name runs that were begun with the same --bos.",
        )
    return trace(model, tokens, [_transcoder(run, model, tokens) for run in runs], asked, to, inputs=inputs)


def _transcoder(run: Run, model: SubjectModel, tokens: Int[Tensor, "1 ctx"]) -> Transcoder:
    latents = Latents.of(run.dictionary, model, run.sites)
    seen = model.read(tokens, [*latents.read])
    read = torch.cat([seen[hook][0].float() for hook in latents.read], dim=-1)
    return Transcoder(run.name, latents, run.within(read) & _text(run, model, tokens))


def _text(run: Run, model: SubjectModel, tokens: Int[Tensor, "1 ctx"]) -> Bool[Tensor, " ctx"]:
    """All but a BOS."""
    bos = bos_of(model.tokenizer, run.config.text.bos)
    found = torch.ones(tokens.shape[1], dtype=torch.bool)
    if bos is not None:
        found[0] = False
    return found
