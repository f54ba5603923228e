"""Directions of a person's own out of a file: probes, steering vectors, rows of anything."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.reading import regular
from sparselex.convert.arrays import check_claim
from sparselex.convert.tensors import Holding, Tensors, read_tensors, unreadable

SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth", ".bin")

_ROWS = ("directions", "weight", "weights", "coef", "coef_", "probe", "probes", "vectors", "W")
_BIAS = ("bias", "biases", "intercept", "intercept_", "b")
_TODO = "write the rows with numpy.save, numpy.savez, safetensors or torch.save (of a tensor, or a table of them)."
_DIRECTIONS = Holding("directions", "a file with a direction a row, in finite fractions", _TODO, alone=_ROWS[0])

_SHORTEST, _LARGEST = 1e-12, 1e12
"""Rows as long as that, and biases up to it: beyond, products with tokens and squares of them leave float32."""


class Directions(NamedTuple):
    """Directions in a site, one a row."""

    rows: Float[Tensor, "n d_in"]
    """As they lie in the file, of any length but zero."""

    bias: Float[Tensor, " n"] | None
    """What is added to the product with each row: a probe's. None where the file has none."""


def read_directions(path: Path | str) -> Directions:
    """The directions of a file: the only table of two axes in it, or the one called `directions`, `weight`, `coef_` or
    the like, a direction a row; a single list of numbers is one direction. A list as long as there are directions,
    called `bias` or `intercept_`, is a probe's bias.

    Raises `UserError` for a file of another kind, for one in which several tables could be meant or none, for numbers
    that are not finite, for a row of zeros, and for one so short or long that it could not be worked with.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"There is no file {path}.",
            f"a file with a direction a row ({', '.join(SUFFIXES)})",
            "name one; --neurons takes the coordinates of what is read.",
        )
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"{path} is no file of directions by its name.",
            f"one of {', '.join(SUFFIXES)}",
            _TODO,
        )
    tensors = _array(path) if path.suffix == ".npy" else read_tensors(regular(path), _DIRECTIONS)
    name = _named(tensors, _ROWS, 2) or _named(tensors, _ROWS, 1)
    if name is None:
        raise UserError(
            f"{path} holds no table of directions, or several: {tensors.found()}.",
            "one table with a direction a row, and the bias of each if they are probes",
            "call the table `directions`, and what is added `bias`.",
        )
    shape = tensors.shape(name)
    rows = tensors.take(name, *([-1] * len(shape))).reshape(-1, shape[-1])
    _check_lengths(tensors, name, rows)
    bias = next((name for name in _BIAS if name in tensors and len(tensors.shape(name)) < 2), None)
    return Directions(rows, None if bias is None else _bias(tensors, bias, len(rows)))


def _array(path: Path) -> Tensors:
    try:
        check_claim(regular(path))
        array = np.lib.format.open_memmap(path, mode="r")  # which opens no pickle
        native = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
        return Tensors(path, {_ROWS[0]: torch.from_numpy(native)}, holds=_DIRECTIONS)
    except (ArithmeticError, EOFError, MemoryError, OSError, TypeError, ValueError) as error:
        raise unreadable(path, str(error).splitlines()[0], _DIRECTIONS) from None


def _check_lengths(tensors: Tensors, name: str, rows: Float[Tensor, "n d_in"]) -> None:
    lengths = rows.double().norm(dim=-1)
    for row, length in ((int(lengths.argmin()), lengths.min()), (int(lengths.argmax()), lengths.max())):
        if not length:
            raise UserError(
                f"Row {row} of {name!r} in {tensors.path} is zero.", "directions", "leave rows of zeros out."
            )
        if not _SHORTEST <= length <= _LARGEST:
            raise UserError(
                f"Row {row} of {name!r} in {tensors.path} is {float(length):.3g} long.",
                f"rows from {_SHORTEST:g} to {_LARGEST:g} long",
                "multiply the rows (and biases with them) by one number.",
            )


def _named(tensors: Tensors, names: tuple[str, ...], n_axes: int) -> str | None:
    """The tensor of so many axes that is meant: the one of a known name, or the only one there is."""
    there = [name for name in tensors.names if len(tensors.shape(name)) == n_axes and (n_axes > 1 or name not in _BIAS)]
    known = [name for name in names if name in there]
    return known[0] if known else there[0] if len(there) == 1 else None


def _bias(tensors: Tensors, name: str, n: int) -> Tensor:
    bias = tensors.take(name).expand(n) if tensors.is_scalar(name) else tensors.take(name, n)
    if (largest := float(bias.abs().max())) > _LARGEST:
        raise UserError(
            f"A number of {name!r} in {tensors.path} is as large as {largest:.3g}.",
            f"biases up to {_LARGEST:g}",
            "multiply rows and biases by one number.",
        )
    return bias
