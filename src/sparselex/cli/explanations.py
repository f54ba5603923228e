"""`sparselex explanations`: explanations to and from other projects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.formats import plain
from sparselex.base.workspace import MAIN, Workspace
from sparselex.cli.showing import print_json


def explanations(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    take_up: Annotated[
        Path | None,
        typer.Option("--import", metavar="SOURCE", help="Take up the explanations in a file or a folder of others."),
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FOLDER", help="Write those of the run to a new folder.")
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Whose format: delphi, neuronpedia or openai; for --export also jsonl, for --import also plain (a "
            "table with latent and text). Left out, --import finds it, and --export writes jsonl.",
        ),
    ] = "",
    run: Annotated[str, typer.Option("--run", "--run-name", help="The run whose latents they are of.")] = MAIN,
    name: Annotated[
        str, typer.Option("--as", metavar="NAME", help="What the explainer of those imported is called here.")
    ] = "",
    explainer: Annotated[
        list[str] | None, typer.Option("--explainer", help="Whose are exported; may be repeated. Left out, all.")
    ] = None,
    hookpoint: Annotated[
        str, typer.Option("--hookpoint", help="What delphi calls the place that the run reads, such as layers.3.mlp.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Take up explanations that were made elsewhere, write those of a run for others, or list who explained a run."""
    given = {"--format": layout, "--as": name, "--explainer": explainer, "--hookpoint": hookpoint}
    _check(take_up, export, layout, [flag for flag, value in given.items() if value])
    found = _done(Workspace(workspace), run, take_up, export, layout, name, explainer or [], hookpoint)
    if json:
        values = [one.to_json() for one in found]
        print_json(values if take_up is None and export is None else values[0])
    else:
        print(plain("\n".join(map(str, found)) or f"nobody has explained run {run} yet"))


def _check(take_up: Path | None, export: Path | None, layout: str, given: list[str]) -> None:
    """Raise `UserError` for options that do not go together."""
    from sparselex.convert.explanations.files import FORMATS
    from sparselex.recipes.explanations.writing import LAYOUTS

    if take_up is not None and export is not None:
        raise UserError("Both --import and --export were given.", "one of them, or neither", "leave one of them out.")
    used = {"--import": ("--format", "--as", "--hookpoint"), "--export": ("--format", "--explainer", "--hookpoint")}
    verb = "--import" if take_up is not None else "--export" if export is not None else ""
    if idle := [flag for flag in given if flag not in used.get(verb, ())]:
        raise UserError(
            f"{idle[0]} changes nothing {'with ' + verb if verb else 'without --import or --export'}.",
            "options that are of use",
            "leave it out.",
        )
    known = FORMATS if take_up is not None else LAYOUTS
    if layout and layout not in known:
        raise UserError(
            f"There is no format {layout!r} for {verb}.", f"one of {', '.join(known)}", "choose one of these."
        )


def _done(
    workspace: Workspace,
    run: str,
    take_up: Path | None,
    export: Path | None,
    layout: str,
    name: str,
    explainers: list[str],
    hookpoint: str,
) -> Sequence[Config]:
    """What came of what was asked for, or who explained the run."""
    from sparselex.recipes.explanations.opened import explainers_of
    from sparselex.recipes.explanations.taking import import_explanations
    from sparselex.recipes.explanations.writing import JSONL, export_explanations

    if take_up is not None:
        return [import_explanations(workspace, run, take_up, name=name, layout=layout, hookpoint=hookpoint)]
    if export is None:
        return explainers_of(workspace, run)
    how = layout or JSONL
    return [export_explanations(workspace, run, export, layout=how, explainers=explainers, hookpoint=hookpoint)]
