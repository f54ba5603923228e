"""`sparselex ratings`: what people said of explanations, as figures and as a file."""

from pathlib import Path
from typing import Annotated

import typer

from sparselex.base.errors import UserError
from sparselex.base.files import write_file
from sparselex.base.formats import number, plain
from sparselex.base.workspace import Workspace
from sparselex.cli.showing import print_json


def ratings(
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="The workspace folder.")],
    run: Annotated[str, typer.Option("--run", metavar="NAME", help="The run whose explanations were rated.")] = "main",
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write all ratings to this .csv or .json file.")
    ] = None,
    take_up: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Add those of such a file; given twice, once.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Summarise the ratings that people gave to explanations at /rate/RUN, for the report; or write them to a file, or
    take up such a file."""
    from sparselex.explain.ratings.files import from_file, to_text
    from sparselex.explain.ratings.store import RatingStore
    from sparselex.explain.ratings.summary import KIND, summarise
    from sparselex.recipes.folder import RunFolder

    opened = Workspace(workspace)
    index, store = RunFolder.open(opened, run).manifest("index").id, RatingStore(opened.database)
    if export is not None and take_up is not None:
        raise UserError("Both --export and --import were given.", "one of them", "choose one.")
    if export is not None:
        write_file(export, to_text(store.all(index), export.suffix).encode())
        print(plain(f"{store.count(index):,} ratings written to {export}"))
        return
    if take_up is not None:
        found = from_file(take_up)
        of_it = [one for one in found if one.index == index]
        print(f"{store.add(of_it):,} new ratings; {len(found) - len(of_it):,} are of other features than {run} has now")
    figures = summarise(index, opened.database, opened.run(run) / KIND)
    if json:
        print_json(figures.to_json()["figures"] if figures else [])
        return
    if figures is None:
        print(f"nobody has rated anything: sparselex serve {opened.typed} asks at /rate/{run}")
        return
    for one in figures.figures:
        null = "" if one.null is None else f" (null {number(one.null, 3)})"
        print(f"{one.name}: {number(one.value, 3)}{null}, n = {one.n:,}")
