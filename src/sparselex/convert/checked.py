"""Fields of a stranger's JSON, each checked when it is taken."""

import math
from collections.abc import Iterator
from typing import Any

from sparselex.base.errors import UserError


class Row:
    """One object of a file. What is taken without an `otherwise` has to be there; null is as if it were not. Raises
    `UserError` for a value of another type than the field has."""

    def __init__(self, values: Any, where: str):
        self.where = where
        if not isinstance(values, dict):
            raise self.wrong("it", type(values).__name__, "an object")
        self.values: dict[str, Any] = values

    def text(self, name: str, otherwise: str | None = None) -> str:
        """A text."""
        return self._taken(name, str, "text", otherwise)

    def whole(self, name: str, otherwise: int | None = None) -> int:
        """A whole number."""
        value = self._taken(name, int, "a whole number", otherwise)
        if abs(value) >= 1 << 53:
            raise self.wrong(name, value, "a number of ordinary size")
        return value

    def number(self, name: str, otherwise: float | None = None) -> float:
        """A finite number."""
        return self._finite(name, self._taken(name, (int, float), "a number", otherwise))

    def numbers(self, name: str) -> list[float]:
        """A list of finite numbers; empty where there is none."""
        return [self._finite(name, value) for value in self._taken(name, list, "a list of numbers", [])]

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty where there is none."""
        found = self._taken(name, list, "a list of texts", [])
        for value in found:
            if not isinstance(value, str):
                raise self.wrong(name, value, "a list of texts")
        return found

    def rows(self, name: str) -> Iterator["Row"]:
        """A list of objects."""
        for number, value in enumerate(self._taken(name, list, "a list of objects", [])):
            yield Row(value, f"{self.where}, {name} {number}")

    def wrong(self, name: str, given: Any, expected: str) -> UserError:
        """What is said of a field that is not as its project writes it."""
        return UserError(f"{self.where}: {name} is {str(given)[:100]!r}.", expected, "fetch the file again.")

    def _taken(self, name: str, kind: Any, called: str, otherwise: Any) -> Any:
        value = self.values.get(name)
        if value is None and otherwise is not None:
            return otherwise
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(name, "missing" if value is None else value, called)
        return value

    def _finite(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e30 or math.isnan(value):
            raise self.wrong(name, value, "a finite number")
        return float(value)
