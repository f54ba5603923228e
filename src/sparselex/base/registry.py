"""One registry: an explicit table of names, with a door for other people's plug-ins."""

import difflib
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Generic, TypeVar

from sparselex.base.errors import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to objects of one kind. Plug-ins enter through the entry point group `sparselex.<kind>`."""

    def __init__(self, kind: str, table: dict[str, T]):
        self.kind = kind
        self._table = dict(table)

    def names(self) -> list[str]:
        """All names known, our own and plug-ins', sorted."""
        return sorted({*self._table, *(entry.name for entry in self._plugins())})

    def get(self, name: str) -> T:
        """The object called `name`. Raises `UserError` with the nearest names if there is none, or if its plug-in cannot be loaded."""
        if name in self._table:
            return self._table[name]
        for entry in self._plugins():
            if entry.name == name:
                return self._loaded(entry)
        near = difflib.get_close_matches(name, self.names(), n=3)
        raise UserError(
            f"Unknown {self.kind} {name!r}.",
            "one of " + ", ".join(self.names()),
            f"did you mean {' or '.join(near)}?" if near else "choose a name from that list.",
        )

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
