"""`sparselex graph`: an attribution graph of a prompt."""

from pathlib import Path
from typing import Any

import typer

from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.files import read_json, write_json
from sparselex.base.formats import fixed, number, plain
from sparselex.base.workspace import Workspace
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON, WORKSPACE
from sparselex.evaluate.graphs.records import FOLDER, AttributionGraph
from sparselex.recipes.graphs import GraphOptions, titles_of, trace_prompt

EXPORT = own(
    "export",
    Path | None,
    typer.Option("--export", metavar="FILE", help="Also write it as JSON in the form of circuit-tracer's graphs."),
    None,
)

REPLACE = own(
    "replace",
    bool,
    typer.Option("--replace", help="Replace a graph of that name that is of another prompt or has other options."),
    False,
)


def act(values: dict[str, Any], *, workspace: Path, json: bool, export: Path | None, replace: bool) -> None:
    """Trace, and say what came out."""
    opened = Workspace(workspace)
    options = GraphOptions.parse(values, "the options of graph", names=flags(GraphOptions))
    if export is not None:
        _check_export(export)
    found = trace_prompt(opened, options, replace=replace)
    if export is not None:
        from sparselex.evaluate.graphs.exported import circuit_tracer

        write_json(export, circuit_tracer(found, options.called, titles=titles_of(opened, options.called, found)))
    if json:
        print_json(found.to_json())
        return
    for line in _lines(found):
        print(plain(line))
    print(f"sparselex serve {opened.typed} shows it at /{FOLDER}/{options.called}")


def _check_export(path: Path) -> None:
    """Raise `UserError` for a place at which no file can be written, or where one lies that is no such graph."""
    if path.is_dir():
        raise UserError(f"{path} is a folder.", "a file to write", f"name one in it, such as {path / 'graph.json'}.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent}.", "a file in a folder that is there", "make it first.")
    values = read_json(path) if path.exists() else None
    if path.exists() and not (isinstance(values, dict) and values.keys() >= {"metadata", "qParams", "nodes", "links"}):
        said = f"{path} is there already, and is no graph of that form."
        raise UserError(said, "a new file, or such a graph", "name another file.")


def _lines(found: AttributionGraph) -> list[str]:
    kinds = {kind: sum(node.kind == kind for node in found.nodes) for kind in ("feature", "error", "input", "output")}
    kept = ", ".join(f"{n:,} {kind}s" for kind, n in kinds.items())
    where = f"block {found.first} of {found.n_layers}" if found.first else "the embeddings"
    outputs = ", ".join(
        f"{node.text!r} {fixed(node.probability or 0, 2)}" for node in found.nodes if node.kind == "output"
    )
    left = f", {found.n_left_out:,} more left out" if found.n_left_out else ""
    nodes, edges = (
        f"of {found.n_nodes:,} nodes {len(found.nodes):,}",
        f"of {found.n_edges:,} edges {len(found.edges):,}",
    )
    return [
        f"{len(found.tokens)} tokens from {where} on; {found.n_features:,} active latents{left}; next: {outputs}",
        f"kept {nodes} ({kept}), {edges}",
        *(_line(figure) for figure in found.figures),
        f"effects add up to within {found.gap:.1g} of their size",
    ]


def _line(figure: Figure) -> str:
    name = figure.name.rpartition("/")[2].replace("_", " ")
    if figure.failure is not None:
        return f"{name}: not measured, {figure.failure}"
    controls = [f"{key} {number(value, 3)}" for key, value in figure.controls.items()]
    ends = "" if figure.ci_low is None else f" ({number(figure.ci_low, 3)} to {number(figure.ci_high, 3)})"
    n = [f"n {figure.n:,}"] if figure.n > 1 else []
    return "; ".join([f"{name}: {number(figure.value, 3)}{ends}", f"null {number(figure.null, 3)}", *controls, *n])


graph = command(GraphOptions, act, WORKSPACE, EXPORT, REPLACE, JSON)
