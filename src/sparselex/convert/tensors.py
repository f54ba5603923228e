"""Foreign files opened: named tensors and settings, each checked when it is taken. Nothing from outside is executed."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from sparselex.base.errors import UserError, a
from sparselex.base.files import read_json
from sparselex.base.reading import regular
from sparselex.convert.arrays import check_claims
from sparselex.convert.pickles import RefusedError, check_pickles, check_unpacked
from sparselex.dictionaries.files import SETTINGS_BYTES, load_tensors

_YAML_BYTES = 2**16
"""Most bytes of settings in YAML, of which a megabyte takes its reader a quarter of a minute."""

_SMALL, _FACTOR = 2**26, 4
"""A file may unpack to that many bytes, or to that many times its own size: numbers that were trained hardly shrink
when they are packed, by half where each has the precision of another kind."""

_MOST_NAMED, _LONGEST_NAME = 16, 40
"""Tensors of a file that are listed, and characters of their names."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What weights are kept in."""

_LONGEST = 300
"""Characters of a reason: what a file says of itself may be as long as the file."""


class Holding(NamedTuple):
    """What a file is taken to hold, as errors say it."""

    what: str
    """`a dictionary`."""

    expected: str
    """What was expected of a file that cannot be read."""

    todo: str
    """What to do about it."""

    alone: str = ""
    """What a tensor that was saved by itself is called; one is refused where this is empty."""


DICTIONARY = Holding(
    "a dictionary", "the file as its project writes it", "fetch it again, or check which project wrote it."
)


class AnotherFormatError(UserError):
    """A file has the name of a format and not its contents: others that it fits are tried."""


class Tensors:
    """Named tensors of one foreign file, each checked for presence, shape and finite numbers when it is taken."""

    def __init__(
        self, path: Path, values: Mapping[str, Any], asked: set[str] | None = None, holds: Holding = DICTIONARY
    ):
        """`asked` takes up the names of those that were asked for."""
        self.path, self.holds = path, holds
        self._asked: set[str] = set() if asked is None else asked
        self.notes: list[str] = []
        """What is to be said of numbers that were taken otherwise than they lie there."""

        self._values = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        self.plain = {name: value for name, value in values.items() if not isinstance(value, Tensor)}
        """What lies beside the tensors: names, numbers, tables."""

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def is_scalar(self, name: str) -> bool:
        """Whether there is a single number of that name."""
        return name in self and not self._values[name].ndim

    def without(self, prefix: str) -> "Tensors":
        """The same with `prefix` taken off every name that begins with it. Raises `UserError` where two would then have
        one name."""
        values: dict[str, Any] = {}
        for name, value in (self._values | self.plain).items():
            short = name.removeprefix(prefix) if isinstance(name, str) else name
            if short in values:
                raise self.fault(f"it holds both {short} and {prefix}{short}, and without {prefix!r} they are one")
            values[short] = value
        return Tensors(self.path, values, self._asked, self.holds)

    def renamed(self, names: Mapping[str, str], asked: set[str] | None = None) -> "Tensors":
        """The same where the tensor `names[new]` is called `new`; one that had that name is `new of the file`. Those
        that are asked for are told to `asked`. Raises `AnotherFormatError` for one that is not there: it may lie in a
        table of the file, which another reader opens."""
        values = self._values | self.plain
        if missing := [old for old in names.values() if old not in self._values]:
            raise AnotherFormatError(
                f"{self.path} holds no tensor {', '.join(missing)}.",
                "one of " + self.found(),
                "name one of these with --map NAME=TENSOR.",
            )
        kept = {
            f"{name} of the file" if name in names else name: value
            for name, value in values.items()
            if name not in names.values()
        }
        return Tensors(self.path, kept | {new: values[old] for new, old in names.items()}, asked, self.holds)

    def found(self) -> str:
        """What is there: names and shapes."""
        there = [f"{in_short(name)} {list(value.shape)}" for name, value in sorted(self._values.items())]
        more = len(there) - _MOST_NAMED
        return ", ".join(there[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "") or "no tensors"

    @property
    def names(self) -> list[str]:
        """Names of all tensors, sorted."""
        return sorted(self._values)

    def value(self, name: str) -> Tensor:
        """The tensor as it lies in the file, unchecked."""
        return self._values[name]

    @property
    def left(self) -> list[str]:
        """Names of tensors that nobody has asked for yet."""
        return sorted(set(self._values) - self._asked)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the tensor of that name, which does not count as asked for by that."""
        return tuple(self._plain(name).shape)

    def peek(self, name: str, *shape: int) -> Tensor:
        """The tensor as `take` gives it, not counted as asked for."""
        return self._checked(name, shape, self._floats(name))

    def is_finite(self, name: str) -> bool:
        """Whether there is a tensor of that name, without NaN and infinity."""
        self._asked.add(name)
        return name in self and bool(torch.isfinite(self._floats(name)).all())

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor in float32, which is never empty; -1 in `shape` stands for any length. Raises `UserError` for one
        whose numbers are no fractions as they lie there: whole ones and those of 8 bits are quantised, and what they
        are to be multiplied by is not read."""
        self._asked.add(name)
        return self._checked(name, shape, self._floats(name))

    def whole(self, name: str) -> int:
        """The single whole number of that name. Raises `UserError` for one that is not kept as such."""
        self._asked.add(name)
        value = self._plain(name)
        if value.numel() != 1 or value.is_floating_point() or value.dtype == torch.bool:
            raise self.fault(f"tensor {name!r} of {_kind(value)} {list(value.shape)} is no single whole number")
        return int(value)

    def flag(self, name: str) -> bool:
        """The single truth value of that name. Raises `UserError` for a number."""
        self._asked.add(name)
        value = self._plain(name)
        if value.numel() != 1 or value.dtype != torch.bool:
            raise self.fault(f"tensor {name!r} of {_kind(value)} {list(value.shape)} is neither true nor false")
        return bool(value)

    def _checked(self, name: str, shape: tuple[int, ...], value: Tensor) -> Tensor:
        if value.ndim != len(shape) or any(
            want not in (-1, have) for want, have in zip(shape, value.shape, strict=True)
        ):
            wanted = ", ".join("any" if length == -1 else str(length) for length in shape)
            raise self.fault(f"tensor {name!r} has shape {list(value.shape)}, not [{wanted}]")
        if not value.numel():
            raise self.fault(f"tensor {name!r} is empty: its shape is {list(value.shape)}")
        if not torch.isfinite(value).all():
            raise self.fault(f"tensor {name!r} holds NaN or infinity")
        return value

    def _plain(self, name: str) -> Tensor:
        """A tensor as it lies in the file."""
        if name not in self._values:
            raise self.fault(f"tensor {name!r} is missing (there are {', '.join(sorted(self._values)) or 'none'})")
        value = self._values[name]
        if not _is_plain(value, most_bytes(self.path)):
            raise self.fault(f"tensor {name!r} is no plain table of real numbers")
        return value

    def _floats(self, name: str) -> Tensor:
        value = self._plain(name)
        if value.dtype not in _FLOATS:
            kinds = ", ".join(_name(dtype) for dtype in _FLOATS)
            raise self.fault(f"tensor {name!r} holds numbers of the kind {_kind(value)}, and weights are {kinds}")
        return value.float()

    def refuse(self, name: str) -> None:
        """Raise where a tensor is there that we would have to leave out."""
        self._asked.add(name)
        if name in self._values:
            raise self.fault(f"tensor {name!r} has no place in our types yet")

    def fault(self, reason: str) -> UserError:
        """The error that says why this file cannot be read."""
        return unreadable(self.path, reason, self.holds)

    def another(self, reason: str) -> "AnotherFormatError":
        """The error that says why this file is of another format."""
        error = self.fault(reason)
        return AnotherFormatError(error.given, error.expected, error.todo)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _kind(value: Tensor) -> str:
    return _name(value.dtype)


def _is_plain(value: Tensor, most: int) -> bool:
    """Whether a tensor is a table of real numbers that all lie in the file, which holds at most `most` bytes of them:
    one that repeats few of them can claim any size, and so can one that was never filled."""
    if value.is_sparse or value.is_complex() or value.is_quantized or value.is_meta or value.is_nested:
        return False
    if value.layout != torch.strided:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes() <= most


def most_bytes(path: Path) -> int:
    """What the file of a dictionary may unpack to."""
    return max(_SMALL, _FACTOR * path.stat().st_size)


class _NoAliases(yaml.SafeLoader):
    """YAML without references to what was written before: a few lines of them can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it refers to parts of itself")
        return super().compose_node(parent, index)


def unreadable(path: Path, reason: str, holds: Holding = DICTIONARY) -> UserError:
    """The error that says why the file `path` cannot be read."""
    return UserError(
        f"{path} cannot be read as {holds.what}: {' '.join(reason.split())[:_LONGEST]}.", holds.expected, holds.todo
    )


def in_short(name: object) -> str:
    """A name that a stranger gave, in one line of a length that can be read."""
    return " ".join(str(name).split())[:_LONGEST_NAME]


def read_tensors(path: Path, holds: Holding = DICTIONARY) -> Tensors:
    """The tensors of a safetensors file, an npz file or a file of `torch.save`, which its name tells."""
    match path.suffix:
        case ".safetensors":
            return read_safetensors(path, holds)
        case ".npz":
            return read_numpy(path, holds)
    return read_pickle(path, holds)


def read_safetensors(path: Path, holds: Holding = DICTIONARY) -> Tensors:
    """The tensors of a safetensors file."""
    try:
        return Tensors(path, load_tensors(path), holds=holds)
    except (SafetensorError, OSError) as error:
        raise unreadable(path, str(error).splitlines()[0], holds) from None


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors, each unbroken in memory."""
    path.write_bytes(save({name: value.detach().contiguous() for name, value in tensors.items()}))


def read_pickle(path: Path, holds: Holding = DICTIONARY) -> Tensors:
    """The tensors of a file of `torch.save`, opened with `weights_only`."""
    try:
        check_pickles(path, most_bytes(path))
        with warnings.catch_warnings(action="ignore"):  # of pickle protocols: what cannot be read is refused below
            values = torch.load(path, map_location="cpu", weights_only=True)
    except RefusedError as error:
        raise unreadable(path, str(error), holds) from None
    except Exception as error:
        reason = f"it is damaged or holds more than tensors, which is never executed ({type(error).__name__})"
        raise unreadable(path, reason, holds) from None
    if isinstance(values, Tensor) and holds.alone:
        values = {holds.alone: values}
    if not isinstance(values, dict):
        raise unreadable(path, f"it holds {a(type(values).__name__)}, not a table of tensors", holds)
    return Tensors(path, values, holds=holds)


def read_numpy(path: Path, holds: Holding = DICTIONARY) -> Tensors:
    """The arrays of an npz file, without pickles."""
    try:
        check_unpacked(path, most_bytes(path))
        check_claims(path)
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            return Tensors(path, {name: torch.from_numpy(file[name]) for name in file.files}, holds=holds)
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise unreadable(path, str(error).splitlines()[0], holds) from None
    except Exception as error:  # zipfile's own kinds
        raise unreadable(path, type(error).__name__, holds) from None


def read_settings(path: Path) -> dict[str, Any]:
    """A small JSON or YAML file that holds one table."""
    is_yaml = path.suffix in (".yaml", ".yml")
    most = _YAML_BYTES if is_yaml else SETTINGS_BYTES
    if path.stat().st_size > most:
        raise UserError(f"{path} is larger than settings are.", f"at most {most} bytes", "fetch it again.")
    if is_yaml:
        try:
            values = yaml.load(regular(path).read_text(encoding="utf-8"), Loader=_NoAliases)
        except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"{path} is no YAML: {str(error).splitlines()[0]}.",
                "the configuration beside the weights",
                "fetch it again.",
            ) from None
    else:
        values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} is no table of settings.", "the configuration beside the weights", "fetch it again.")
    return values
