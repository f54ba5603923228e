"""One registry: an explicit table of names, with a door for other people's plug-ins."""

import ast
import difflib
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from importlib.util import find_spec
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

    def address(self, name: str) -> str:
        """Where the object called `name` stands, `"package.module:name"`; nothing is imported for that.

        Raises `UserError` like `get`.
        """
        row: Any = self._table.get(name)
        if row is not None:
            return row if isinstance(row, str) else f"{row.__module__}:{row.__qualname__}"
        for entry in self._plugins():
            if entry.name == name:
                return entry.value
        raise self.unknown(name)

    def items(self) -> list[tuple[str, T]]:
        """Every name with its object, in the order of `names`. Raises `UserError` like `get`."""
        return [(name, self.get(name)) for name in self.names()]

    def _ours(self, name: str) -> T:
        row: Any = self._table[name]
        if isinstance(row, str):
            self._table[name] = row = found(row)
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


def found(address: Any) -> Any:
    """What stands at an address, `"package.module:name"`; anything that is no text is what it stands for itself."""
    if not isinstance(address, str):
        return address
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)


def summary(address: str) -> str:
    """The docstring of the class or function at an address, read from its source, which is not run; empty where there
    is none to be read."""
    module, _, name = address.partition(":")
    try:
        spec = find_spec(module)
        source = spec.loader.get_source(module) if spec and spec.loader else None  # type: ignore[attr-defined]
        body = ast.parse(source or "").body
    # A door: the package of a plug-in, its loader and its source may be broken in any way.
    except Exception:
        return ""
    kinds = ast.ClassDef | ast.FunctionDef
    return next((ast.get_docstring(node) or "" for node in body if isinstance(node, kinds) and node.name == name), "")
