"""One registry: an explicit table of names, with a door for other people's plug-ins."""

import difflib
import importlib
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, Generic, TypeVar

from sparselex.base.errors import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to objects of one kind. Plug-ins enter through the entry point group `sparselex.<kind>`.

    A row of the table may also be an address, `"package.module:name"`: what stands there is imported when it is first
    asked for, so that names can be listed without paying for PyTorch.
    """

    def __init__(self, kind: str, table: dict[str, T | str]):
        self.kind = kind
        self._table = dict(table)

    def names(self) -> list[str]:
        """All names known: ours in the order of the table, then those of plug-ins, sorted."""
        return [*self._table, *sorted({entry.name for entry in self._plugins()} - set(self._table))]

    def get(self, name: str) -> T:
        """The object called `name`. Raises `UserError` with the nearest names if there is none, or if its plug-in
        cannot be loaded."""
        if name in self._table:
            return self._ours(name)
        for entry in self._plugins():
            if entry.name == name:
                return self._loaded(entry)
        raise self.unknown(name)

    def unknown(self, name: str) -> UserError:
        """The error for a name that is not there, with the nearest ones."""
        near = difflib.get_close_matches(name, self.names(), n=3)
        return UserError(
            f"Unknown {self.kind} {name!r}.",
            "one of " + ", ".join(self.names()),
            f"did you mean {' or '.join(near)}?" if near else "choose a name from that list.",
        )

    def items(self) -> list[tuple[str, T]]:
        """Every name with its object, in the order of `names`. Raises `UserError` like `get`."""
        return [(name, self.get(name)) for name in self.names()]

    def _ours(self, name: str) -> T:
        row: Any = self._table[name]
        if isinstance(row, str):
            module, _, attribute = row.partition(":")
            self._table[name] = row = getattr(importlib.import_module(module), attribute)
        return row

    def _loaded(self, entry: EntryPoint) -> T:
        try:
            return entry.load()
        # A door: the code of another package may fail in any way while it is imported.
        except Exception as error:
            package = entry.dist.name if entry.dist else "unknown"
            raise UserError(
                f"The {self.kind} {entry.name!r} of the package {package!r} cannot be loaded from {entry.value!r}: "
                f"{type(error).__name__}: {error}.",
                "a package whose entry points can be imported",
                f"mend or update {package}, or uninstall it.",
            ) from error

    def _plugins(self) -> EntryPoints:
        return entry_points(group=f"sparselex.{self.kind}")
