"""`sparselex decompose`: matrices as sums of components, of a model or of a toy."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import Field

from sparselex.base.bounds import Amount, Count, Seed
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.formats import number, plain
from sparselex.base.runs import RunName
from sparselex.base.workspace import MAIN, Workspace
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON, WORKSPACE, created
from sparselex.cli.tables import console_of, interval
from sparselex.cli.wide import WideTable
from sparselex.parameters.config import Coefficient, Components, SpdConfig
from sparselex.parameters.mlp.config import QUICK, Layer, MlpConfig
from sparselex.parameters.records import Decomposition, FoundAgain, Matrix, again_of
from sparselex.parameters.toys.config import TOYS, ToyConfig
from sparselex.recipes.option import Option

REPLACE = own(
    "replace", bool, typer.Option("--replace", help="Replace what was decomposed with other settings."), False
)

ToyName = Literal["tms-5-2", "tms-5-2-id", "tms-40-10", "tms-40-10-id"]
"""The keys of `TOYS`."""


class DecomposeOptions(Config):
    """Decompose the MLP of a run's model, or the matrices of a toy model (`--toy`), into components with causal
    importances (SPD).

    Of a model, components are sought that keep its predictions on the run's text; they become runs of their own, which
    are indexed, explained and read like any dictionary. Of a toy it is said how near they come to its mechanisms, which
    are known. Beside it the same is done to weights that were not learned. Given again, the command goes on where it
    was stopped."""

    run: Annotated[str, Option("--run")] = MAIN
    """The run whose model is decomposed, on its text."""

    layer: Layer = 0
    """The block whose MLP that is."""

    toy: ToyName | None = None
    """Toy model of superposition in the place of a run's: features and dimensions, and with `-id` an identity matrix in
    between."""

    name: RunName | None = None
    """What the decomposition of a run's model is called, and what the names of its runs begin with; left out,
    RUN-mlp-LAYER. Under another name that of another --seed stands beside it, and it is said how many components are
    found again."""

    n_components: Components | None = None
    """Components of each matrix. Left out, those of the model's or the toy's own settings, like all below."""

    n_steps: Count | None = None
    """Steps of decomposition."""

    batch_size: Annotated[int, Field(ge=1, le=2**20)] | None = None
    """Inputs in a step: tokens, of a model."""

    lr: Amount | None = None
    """Learning rate at the beginning."""

    minimality: Coefficient | None = None
    """Weight of the penalty on importances."""

    p: Annotated[float, Field(gt=0, le=4)] | None = None
    """Power of importances in their penalty."""

    seed: Seed = 0
    """Seed of the toy, of components, and of all that is drawn."""

    quick: bool = False
    """Few steps and few tokens of a model: to see what comes out, not to believe it."""

    def spd(self, of: SpdConfig) -> SpdConfig:
        """Settings with those that were given."""
        own = {"run", "layer", "toy", "name", "seed", "quick"}
        given = {name: value for name, value in self.to_json().items() if name not in own and value is not None}
        return of.model_copy(update={**given, "seed": self.seed})

    def of_toy(self, toy: ToyName) -> ToyConfig:
        """The toy's own settings with those that were given."""
        of = TOYS[toy]
        return of.model_copy(update={"spd": self.spd(of.spd), "seed": self.seed})

    def of_model(self) -> MlpConfig:
        """The settings of a model's MLP with those that were given."""
        of = QUICK if self.quick else MlpConfig()
        return of.model_copy(update={"layer": self.layer, "spd": self.spd(of.spd), "seed": self.seed})


def act(values: dict[str, Any], *, workspace: Path, replace: bool, json: bool) -> None:
    """Decompose, and print what came of it."""
    asked = DecomposeOptions.parse(values, "the options of decompose", names=flags(DecomposeOptions))
    if asked.toy and asked.name:
        raise UserError(
            f"The toy {asked.toy!r} was to be called {asked.name!r}.",
            "--name with a run's model: a toy is called what it is",
            "leave --name out, or --toy.",
        )
    found, path = (_toy if asked.toy else _model)(asked, workspace, replace=replace)
    if json:
        print_json(found.to_json())
        return
    print_decomposition(found)
    for other in again_of(path, found.name).values():
        print_again(other)
    print(plain(f"components and figures: {path / 'decompositions' / found.name}"))
    for one in (*found.matrices, *found.control_matrices):
        if one.run:
            print(plain(f"run of the components of {one.name}: {one.run}"))


def _say(text: str) -> None:
    """On standard error: what is printed may be JSON."""
    print(plain(text), file=sys.stderr, flush=True)


def _toy(asked: DecomposeOptions, workspace: Path, *, replace: bool) -> tuple[Decomposition, Path]:
    assert asked.toy is not None
    with created(workspace) as opened:
        from sparselex.parameters.toys.walk import decompose_toy

        return decompose_toy(opened, asked.toy, asked.of_toy(asked.toy), replace=replace), opened.path


def _model(asked: DecomposeOptions, workspace: Path, *, replace: bool) -> tuple[Decomposition, Path]:
    opened = Workspace(workspace)
    opened.card(asked.run)  # before anything is loaded
    from sparselex.recipes.decomposing import decompose_run

    return decompose_run(opened, asked.run, asked.of_model(), name=asked.name, replace=replace, say=_say), opened.path


def print_decomposition(found: Decomposition) -> None:
    """The matrices with their components, and the table of figures."""
    console = console_of(None)
    console.print(plain(f"{found.target}; {found.n_steps:,} steps. Control: {found.control}."), highlight=False)
    for one, control in zip(found.matrices, found.control_matrices, strict=True):
        console.print(plain(_said(one, control)), highlight=False)
    console.print(_table(f"over {found.n_inputs:,} inputs", found.figures))


def print_again(found: FoundAgain) -> None:
    """How near components come to those of another decomposition."""
    console_of(None).print(_table(f"found again in {found.other} ({found.differs})", found.figures))


def _table(title: str, figures: Sequence[Figure]) -> WideTable:
    controls = list(dict.fromkeys(name for figure in figures for name in figure.controls))
    table = WideTable(title, ("figure", "value", "95 % interval", "null", *controls, "n", "over"))
    for figure in figures:
        table.add_row(figure.name, *_cells(figure, controls))
    return table


def _said(one: Matrix, control: Matrix) -> str:
    live = f"{one.n_live} of {one.n_components} components live"
    return f"• {one.name} {one.d_out} x {one.d_in}: {live}; of the control {control.n_live}"


def _cells(figure: Figure, controls: list[str]) -> list[str]:
    if figure.value is None:
        return [f"not measured: {figure.failure}"]
    beside = [number(figure.controls.get(name), 3) for name in controls]
    values = [number(figure.value, 3), interval(figure, ".3g"), number(figure.null, 3)]
    return [*values, *beside, f"{figure.n:,}", figure.units]


decompose = command(DecomposeOptions, act, WORKSPACE, REPLACE, JSON)
