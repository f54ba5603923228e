"""`sparselex ratings`: what people said of explanations and by the rubric, as figures and as a file."""

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
    rubric: Annotated[
        bool, typer.Option("--rubric", help="Answers to the rubric at /runs/RUN/rubric in place of ratings.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Summarise the ratings that people gave to explanations at /rate/RUN, or their answers to the rubric at
    /runs/RUN/rubric, for the report; or write them to a file, or take up such a file."""
    from sparselex.recipes.folder import RunFolder

    opened = Workspace(workspace)
    index = RunFolder.open(opened, run).manifest("index").id
    if export is not None and take_up is not None:
        raise UserError("Both --export and --import were given.", "one of them", "choose one.")
    (_of_rubric if rubric else _of_explanations)(opened, run, index, export, take_up, json)


def _of_explanations(
    opened: Workspace, run: str, index: str, export: Path | None, take_up: Path | None, json: bool
) -> None:
    from sparselex.explain.ratings.files import from_file, to_text
    from sparselex.explain.ratings.store import RatingStore
    from sparselex.explain.ratings.summary import KIND, summarise

    store = RatingStore(opened.database)
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


def _of_rubric(opened: Workspace, run: str, index: str, export: Path | None, take_up: Path | None, json: bool) -> None:
    from sparselex.explain.ratings.files import answers_from, to_text
    from sparselex.explain.rubric.records import RubricAnswer
    from sparselex.explain.rubric.store import FIELDS, RubricStore
    from sparselex.explain.rubric.summary import KIND, summarise_rubric
    from sparselex.server.opened import OpenWorkspace
    from sparselex.server.rubric_subjects import subjects_of

    store = RubricStore(opened.database)
    if export is not None:
        write_file(export, to_text(store.all(index), export.suffix, FIELDS).encode())
        print(plain(f"{store.count(index):,} answers written to {export}"))
        return
    if take_up is not None:
        found = answers_from(take_up, RubricAnswer)
        of_it = [one for one in found if one.index == index]
        print(f"{store.add(of_it):,} new answers; {len(found) - len(of_it):,} are of other features than {run} has now")
    there = {one.features.id for one in subjects_of(OpenWorkspace(opened), run)}
    kinds = summarise_rubric(index, opened.database, opened.run(run) / KIND, there)
    if json:
        print_json([figure.to_json() for one in kinds for figure in (one.points, one.good)])
        return
    if not kinds:
        print(f"nobody has answered anything: sparselex serve {opened.typed} asks at /runs/{run}/rubric")
    for one in kinds:
        print(f"{one.kind}: median {number(one.points.value or 0.0, 3)} of 14 points, n = {one.points.n:,}")
