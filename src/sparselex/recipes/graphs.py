"""Attribution graphs of prompts, in a workspace. PyTorch is loaded only if there is something to be done."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from sparselex.base.artifacts import MANIFEST, read_manifest, record_of
from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint
from sparselex.base.registry import found
from sparselex.base.runs import RUN_NAME
from sparselex.base.staging import finished, stage
from sparselex.base.workspace import Workspace
from sparselex.evaluate.graphs.config import GraphOf
from sparselex.evaluate.graphs.records import FILE, FOLDER, KIND, AttributionGraph
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.folder import RunFolder, differences
from sparselex.recipes.option import Option

_WORK = "sparselex.recipes.work.graphs:trace_runs"


class GraphOptions(GraphOf):
    """Trace a prompt through transcoders: which features act on which others and on the next token, how much of it is
    left over as error, and whether what the graph says of changes comes true."""

    name: Annotated[str, Option("--as")] = ""
    """What it is called in the workspace; left out, after the prompt."""

    @property
    def called(self) -> str:
        """Its name in the workspace."""
        if self.name:
            return self.name
        words = re.sub(r"[^A-Za-z0-9]+", "-", self.prompt).strip("-")[:32].strip("-").lower()
        return f"{words or 'prompt'}-{fingerprint([self.prompt, list(self.runs)])[:6]}"


def trace_prompt(workspace: Workspace, options: GraphOptions, *, replace: bool = False) -> AttributionGraph:
    """The graph of a prompt through the transcoders of some runs; work that is done is not done again.

    Raises `UserError` for a name that there cannot be, for another graph of that name unless it is to be `replace`d,
    for runs that there are not, that are without a dictionary or read different models, and like
    `evaluate.graphs.walk.trace`.
    """
    if not re.fullmatch(RUN_NAME, options.called):
        raise UserError(
            f"{options.called!r} cannot be the name of a graph.",
            "letters, digits, '.', '_' and '-', at most 64, starting with a letter or digit",
            "give another with --as.",
        )
    folders = [RunFolder.open(workspace, run) for run in options.runs]
    inputs = {f"dictionary {folder.name}": folder.manifest("dictionary").id for folder in folders}
    _check_one_model(folders)
    to, asked = workspace.path / FOLDER / options.called, options.part(GraphOf)
    if finished(to, KIND, asked, inputs):
        with stage(to, KIND, asked, inputs):  # takes away what a kill has left beside it
            return record_of(AttributionGraph, to, FILE)
    if not replace:
        _check_replaced(to, options.called, asked, inputs)
    traced: AttributionGraph = found(_WORK)(workspace, asked, to, inputs)
    return traced


def graph_folder(workspace: Workspace, options: GraphOptions) -> Path:
    """Where a graph is, or will be."""
    return workspace.path / FOLDER / options.called


def titles_of(workspace: Workspace, name: str, graph: AttributionGraph) -> dict[tuple[str, int], str]:
    """What is said of a graph's features, by run and latent: of runs that have an index of the dictionary that it was
    made with, and explanations."""
    inputs, found = read_manifest(workspace.path / FOLDER / name).inputs, dict[tuple[str, int], str]()
    store = ExplanationStore(workspace.database)
    for run in graph.asked.runs:
        if not workspace.has(run, "index"):
            continue
        index = read_manifest(workspace.run(run) / "index")
        if index.inputs.get("dictionary") == inputs.get(f"dictionary {run}"):
            entries = store.entries_of(index.id, sorted({node.latent for node in graph.nodes if node.run == run}))
            found |= {(run, latent): said[0].title for latent, said in entries.items() if said}
    return found


def _check_replaced(to: Path, name: str, asked: GraphOf, inputs: Mapping[str, str]) -> None:
    """Raise `UserError` where another graph would be lost."""
    if not (to / MANIFEST).is_file():
        return
    kept = read_manifest(to)
    other = differences(kept.config, asked.to_json())
    if other is None and kept.inputs != inputs:
        other = "a dictionary that has been replaced since", "the one of now"
    if other is not None:
        raise UserError(
            f"There is a graph {name!r} already, with {other[0]}.",
            f"the same, not {other[1]}",
            "give another name with --as, or --replace.",
        )


def _check_one_model(folders: list[RunFolder]) -> None:
    read: dict[str, Any] = {}
    for folder in folders:
        config = folder.config
        if config.second_model is not None:
            raise UserError(f"Run {folder.name!r} reads two models.", "runs of one model", "leave it out of --runs.")
        read.setdefault(config.model.to_json()["name"] + config.model.twin, folder.name)
    if len(read) > 1:
        named = " and ".join(f"{name!r}" for name in read.values())
        raise UserError(
            f"Runs {named} read different models.", "transcoders of one model", "name those of one model in --runs."
        )
