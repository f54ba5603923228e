"""Parts of a page of which some cannot be read."""

from collections.abc import Callable
from typing import TypeVar

from sparselex.base.errors import UserError

T = TypeVar("T")


class Tried:
    """Reads parts of a page, and keeps what is said of those that cannot be read: the others are shown all the same."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def __call__(self, read: Callable[[], T], otherwise: T) -> T:
        """What `read` gives, or where it raises a `UserError` the other."""
        try:
            return read()
        except UserError as error:
            self.failures.append(f"{error.given} To do: {error.todo}")
            return otherwise
