"""Settings of a foreign file, which know what of them was looked at: what a person gives and nobody reads is refused,
what a file has and nobody reads is named."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from reprlib import repr as shortened
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.convert.tensors import Tensors, unreadable

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Settings(Mapping[str, Any]):
    """A table of settings, with what a person gave in place of them. Whatever is read by its name counts as looked at;
    whether it is there (`in`), and what it is (`peek`), may be asked without that. A field that is null is none."""

    def __init__(self, path: Path, values: Mapping[str, Any], *, of: "Settings | None" = None):
        """`path` is the file that a fault names. Of a table made from another, `of`, what is looked at counts there
        too, and what a person gave is what was given there."""
        self.path = path
        self._values = dict(values)
        self.given: frozenset[str] = frozenset() if of is None else of.given
        """Names that a person gave."""

        self.asked: set[str] = set() if of is None else of.asked
        """Names that were looked at."""

    @classmethod
    def by_person(cls, path: Path, values: Mapping[str, Any]) -> "Settings":
        """What a person gave."""
        settings = cls(path, values)
        settings.given = frozenset(settings._values)
        return settings

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def peek(self, name: str) -> Any:
        """The field's value, not counted as looked at; None where there is none."""
        return self._values.get(name)

    @property
    def idle(self) -> list[str]:
        """Names that a person gave and nobody looked at, sorted."""
        return sorted(self.given - self.asked)

    def over(self, path: Path, values: Mapping[str, Any]) -> "Settings":
        """What the person gave, over the `values` of the file `path`."""
        return Settings(path, dict(values) | {name: self._values[name] for name in self.given}, of=self)

    def beside(self, values: Any, *, same: Callable[[str], bool] = lambda name: True) -> "Settings":
        """The same with another table of the file, which may be missing. Raises `UserError` where both have a field
        for which `same` holds, with two values."""
        if values is None:
            return self
        if not isinstance(values, Mapping):
            raise self.fault(f"what should be a table of settings is {shortened(values)}")
        merged = merge(self.path, self._values, values, same=lambda name: name not in self.given and same(name))
        return Settings(self.path, merged | {name: self._values[name] for name in self.given}, of=self)

    def table(self, name: str) -> "Settings":
        """The table of that name, empty where there is none; in it nothing is a person's own."""
        values = self.get(name)
        if values is not None and not isinstance(values, Mapping):
            raise self.fault(f"{name} is {shortened(values)}, and no table")
        return Settings(self.path, values or {})

    def flag(self, name: str, default: bool = False) -> bool:
        """A field that is true or false: a word such as "false" would be true."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.fault(f"{name} is {shortened(value)}, and neither true nor false")
        return default if value is None else value

    def number(self, name: str, default: float) -> float:
        """A field that is a finite number."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fault(f"{name} is {shortened(value)}, which is no number")
        if not math.isfinite(value):
            raise self.fault(f"{name} is {shortened(value)}, which is no finite number")
        return float(value)

    def whole(self, name: str) -> int | None:
        """A field that is a whole number, and written as one; None where there is none."""
        value = self.get(name)
        if value is not None and type(value) is not int:
            raise self.fault(f"{name} is {shortened(value)}, which is no whole number")
        return value

    def agreed(self, *names: str) -> Any:
        """What fields say that mean the same; None where none says anything. Those that a person gave go first. Raises
        `UserError` where two say different things."""
        said = {name: value for name in names if (value := self.get(name)) is not None}
        said = {name: value for name, value in said.items() if name in self.given} or said
        first = next(iter(said.values()), None)
        if any(not _alike(value, first) for value in said.values()):
            told = " and ".join(f"{name} is {shortened(value)}" for name, value in said.items())
            raise self.fault(f"{told}, which mean the same")
        return first

    def sizes(self, **sizes: int) -> None:
        """Raise `UserError` where a field says another size than the weights have; 0 stands for one that was left to
        its project."""
        for name, size in sizes.items():
            if self.whole(name) not in (None, 0, size):
                raise self.fault(f"{name} is {self[name]} in the settings and {size} in the weights")

    def fault(self, reason: str) -> UserError:
        """The error that says why this file cannot be read."""
        return unreadable(self.path, reason)


def count(cfg: Settings, tensors: Tensors, *names: str, tensor: str = "k") -> int | None:
    """How many latents are kept: as a person says, else as the settings say under one of `names` and the tensor of that
    name, which agree. None where nothing says it; raises `UserError` for what is no whole number."""
    said = cfg.agreed(*names)
    for name in names:
        cfg.whole(name)
    if tensor not in tensors:
        return None if said is None else int(said)
    kept = tensors.whole(tensor)
    if said is None:
        return kept
    if kept != said and not cfg.given.intersection(names):
        raise tensors.fault(
            f"k is {said} in the settings and {kept} in the tensor {tensor!r} (--option {names[0]}=VALUE decides)"
        )
    return int(said)


def merge(
    path: Path, values: Mapping[str, Any], more: Mapping[str, Any], *, same: Callable[[str], bool] = lambda name: True
) -> dict[str, Any]:
    """Both tables in one. Raises `UserError` where one name for which `same` holds has two values."""
    for name, value in more.items():
        other = values.get(name)
        if other is not None and value is not None and same(str(name)) and not _alike(other, value):
            raise unreadable(path, f"{name} stands there twice, and not the same")
    return {**values, **{name: value for name, value in more.items() if value is not None or name not in values}}


def _alike(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return value.dtype == other.dtype and torch.equal(value, other)
    return type(value) is type(other) and (value is other or repr(value) == repr(other))
