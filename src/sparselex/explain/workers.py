"""One function of many latents, shared out among processes."""

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from sparselex.base.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

FEW = 512
"""Items up to which one process does all: others take as long to begin."""

_MOST = 8
"""Processes; what they copy of each other's memory as they go adds up."""

_PATIENCE_S = 5.0
"""How often a process that waits looks whether its parent is still there."""


def n_workers(n_items: int) -> int:
    """Processes for so many items: one for each processor that this one may use, where they can share its memory."""
    if n_items < FEW or sys.platform != "linux":
        return 1
    return min(_MOST, len(os.sched_getaffinity(0)))


class Workers(Generic[Item, Result]):
    """A function in this process, or in several that share what it stands on. Results are the same, and in the order of
    the items, however many there are. To be used as a context."""

    def __init__(self, function: Callable[[Item], Result], n: int):
        self._function, self._n, self._stack = function, n, ExitStack()
        self._connections: list[Connection] = []

    def __enter__(self) -> "Workers[Item, Result]":
        if self._n > 1:
            self._connections = [self._stack.enter_context(_process(self._function)) for _ in range(self._n)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def map(self, items: Sequence[Item]) -> list[Result]:
        """The function of each item. What it raises for one of them is raised here."""
        return self.start(items)()

    def start(self, items: Sequence[Item]) -> Callable[[], list[Result]]:
        """Let several processes begin with these, which one alone does when it is asked; what comes back gives the
        results, and is to be called once, before others are started."""
        if not self._connections:
            return lambda: [self._function(item) for item in items]
        for place, connection in enumerate(self._connections):
            _sent(connection, items[place :: len(self._connections)])
        return lambda: self._results(items)

    def _results(self, items: Sequence[Item]) -> list[Result]:
        found: list[Result] = list(items)  # type: ignore[arg-type]
        answers = [_received(connection) for connection in self._connections]
        for place, answer in enumerate(answers):
            if isinstance(answer, Exception):
                raise answer
            found[place :: len(answers)] = answer
        return found


@contextmanager
def _process(function: Callable[[Item], Result]) -> Iterator[Connection]:
    """A process that answers with the results of the items that it is sent, until it is sent None."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(function, theirs, os.getpid()), daemon=True)
    with warnings.catch_warnings():
        # Other threads that this process has are none of the child's business: it runs NumPy and no locks of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.terminate()
        process.join()


def _sent(connection: Connection, items: Sequence[Any]) -> None:
    try:
        connection.send(items)
    except ConnectionError:
        raise _ended() from None


def _received(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, ConnectionError):
        raise _ended() from None


def _ended() -> UserError:
    return UserError(
        "A process that explains latents has ended without an answer.",
        "one that goes on until all latents are done",
        "run the same command again, which goes on from here; it may have been killed for want of memory.",
    )


def _answer(function: Callable[[Item], Result], connection: Connection, parent: int) -> None:
    # An interrupt reaches all processes of a terminal, and it is the parent that ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        # The end of a parent that was killed is not seen by the pipe, whose other end the other children hold as well.
        while not connection.poll(_PATIENCE_S):
            if os.getppid() != parent:
                return
        connection.send(_of_each(function, connection.recv()))


def _of_each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result] | Exception:
    try:
        return [function(item) for item in items]
    except Exception as error:  # whatever it is, it is raised where it was asked for
        return error
