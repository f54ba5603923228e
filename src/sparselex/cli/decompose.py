"""`sparselex decompose`: matrices as sums of components, where their mechanisms are known."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import Field

from sparselex.base.bounds import Amount, Count, Seed
from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.base.formats import number, plain
from sparselex.cli.making import command, flags, own
from sparselex.cli.showing import print_json
from sparselex.cli.stages import JSON, WORKSPACE, created
from sparselex.cli.tables import console_of, interval
from sparselex.cli.wide import WideTable
from sparselex.parameters.config import Coefficient, Components
from sparselex.parameters.records import Decomposition, Matrix
from sparselex.parameters.toys.config import TOYS, ToyConfig

REPLACE = own(
    "replace", bool, typer.Option("--replace", help="Replace a toy that was decomposed with other settings."), False
)

ToyName = Literal["tms-5-2", "tms-5-2-id", "tms-40-10", "tms-40-10-id"]
"""The keys of `TOYS`."""


class DecomposeOptions(Config):
    """Decompose the matrices of a toy model into components with causal importances (SPD), and say how near they come
    to its mechanisms, which are known.

    The toy is trained first. Beside it the same is done to the toy with the weights that its training began with. Given
    again, the command goes on where it was stopped."""

    toy: ToyName = "tms-5-2"
    """Toy model of superposition: features and dimensions, and with `-id` an identity matrix in between."""

    n_components: Components | None = None
    """Components of each matrix. Left out, the toy's own, like all settings below."""

    n_steps: Count | None = None
    """Steps of decomposition."""

    batch_size: Annotated[int, Field(ge=1, le=2**20)] | None = None
    """Inputs in a step."""

    lr: Amount | None = None
    """Learning rate at the beginning."""

    minimality: Coefficient | None = None
    """Weight of the penalty on importances."""

    p: Annotated[float, Field(gt=0, le=4)] | None = None
    """Power of importances in their penalty."""

    seed: Seed = 0
    """Seed of the toy, its components, and all that is drawn."""

    def of_toy(self) -> ToyConfig:
        """The toy's own settings with those that were given."""
        of, own = TOYS[self.toy], {"toy", "seed"}
        given = {name: value for name, value in self.to_json().items() if name not in own and value is not None}
        spd = of.spd.model_copy(update={**given, "seed": self.seed})
        return of.model_copy(update={"spd": spd, "seed": self.seed})


def act(values: dict[str, Any], *, workspace: Path, replace: bool, json: bool) -> None:
    """Decompose, and print what came of it."""
    asked = DecomposeOptions.parse(values, "the options of decompose", names=flags(DecomposeOptions))
    with created(workspace) as opened:
        from sparselex.parameters.toys.walk import decompose_toy

        found = decompose_toy(opened, asked.toy, asked.of_toy(), replace=replace)
    if json:
        print_json(found.to_json())
        return
    print_decomposition(found)
    print(plain(f"components and figures: {opened.path / 'decompositions' / asked.toy}"))


def print_decomposition(found: Decomposition) -> None:
    """The matrices with their components, and the table of figures."""
    console = console_of(None)
    console.print(plain(f"{found.target}; {found.n_steps:,} steps. Control: {found.control}."), highlight=False)
    for one, control in zip(found.matrices, found.control_matrices, strict=True):
        console.print(plain(_said(one, control)), highlight=False)
    controls = list(dict.fromkeys(name for figure in found.figures for name in figure.controls))
    table = WideTable(
        f"over {found.n_inputs:,} inputs", ("figure", "value", "95 % interval", "null", *controls, "n", "over")
    )
    for figure in found.figures:
        table.add_row(figure.name, *_cells(figure, controls))
    console.print(table)


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
