"""Directions of a person's own out of a file: probes, steering vectors, rows of anything."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.reading import regular
from sparselex.convert.tensors import Tensors, read_tensors, unreadable

SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth", ".bin")

_ROWS = ("directions", "weight", "weights", "coef", "coef_", "probe", "probes", "vectors", "W")
_BIAS = ("bias", "biases", "intercept", "intercept_", "b")
_SMALLEST = 1e-30


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
    that are not finite, and for a row of zeros.
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
            "write the rows with numpy.save, numpy.savez, safetensors or torch.save (a table of tensors).",
        )
    tensors = _array(path) if path.suffix == ".npy" else read_tensors(regular(path))
    name = _named(tensors, _ROWS, 2) or _named(tensors, _ROWS, 1)
    if name is None:
        raise UserError(
            f"{path} holds no table of directions, or several: {tensors.found()}.",
            "one table with a direction a row, and the bias of each if they are probes",
            "call the table `directions`, and what is added `bias`.",
        )
    shape = tensors.shape(name)
    rows = tensors.take(name, *([-1] * len(shape))).reshape(-1, shape[-1])
    lengths = rows.norm(dim=-1)
    if bool((lengths < _SMALLEST).any()):
        raise UserError(
            f"Row {int(lengths.argmin())} of {name!r} in {path} is zero.", "directions", "leave rows of zeros out."
        )
    bias = next((name for name in _BIAS if name in tensors and len(tensors.shape(name)) < 2), None)
    return Directions(rows, None if bias is None else _bias(tensors, bias, len(rows)))


def _array(path: Path) -> Tensors:
    try:
        with open(regular(path), "rb") as handle:
            array = np.load(handle, allow_pickle=False)
        return Tensors(path, {"directions": torch.from_numpy(np.ascontiguousarray(array))})
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise unreadable(path, str(error).splitlines()[0]) from None


def _named(tensors: Tensors, names: tuple[str, ...], n_axes: int) -> str | None:
    """The tensor of so many axes that is meant: the one of a known name, or the only one there is."""
    there = [name for name in tensors.names if len(tensors.shape(name)) == n_axes and (n_axes > 1 or name not in _BIAS)]
    known = [name for name in names if name in there]
    return known[0] if known else there[0] if len(there) == 1 else None


def _bias(tensors: Tensors, name: str, n: int) -> Tensor:
    if tensors.is_scalar(name):
        return tensors.take(name).expand(n)
    return tensors.take(name, n)
