"""Progress bars that remember how far they went."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

from sparselex.base import progress


class Bars(list[list[int]]):
    """The total of each bar and where it stood in the end, in the order in which they were drawn."""

    @classmethod
    def watched(cls, module: ModuleType, patch: pytest.MonkeyPatch) -> "Bars":
        """Those that `module` draws from now on."""
        bars = cls()

        @contextmanager
        def drawn(verb: str, total: int, unit: str, **_: object) -> Iterator[Bar]:
            bars.append([total, 0])
            yield Bar(bars[-1])

        patch.setattr(module, "progress", drawn)
        return bars


class Bar(progress.Bar):
    """Adds up what it is moved on by."""

    def __init__(self, seen: list[int]):
        self._seen = seen

    def advance(self, n: int) -> None:
        """Move on by `n` units."""
        self._seen[1] += n
