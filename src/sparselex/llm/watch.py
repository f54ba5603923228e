"""Breaks off what takes longer than it may, whatever it is waiting for."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Thread


class Watch:
    """Looks after everything that may take `within_s` seconds.

    The waits of a socket begin anew with every byte, so a server that sends one now and then would hold whoever listens
    for ever. All may take equally long: so what comes later ends later, and one thread sleeps from end to end.
    """

    def __init__(self, within_s: float):
        self._within_s, self._lock = within_s, Lock()
        self._ends: dict[int, tuple[float, Callable[[], None]]] = {}
        self._number, self._is_watching = 0, False

    @contextmanager
    def over(self, break_off: Callable[[], None]) -> Iterator[None]:
        """`break_off` is called from another thread if the block takes too long, and never after it."""
        with self._lock:
            self._number += 1
            number = self._number
            self._ends[number] = (time.monotonic() + self._within_s, break_off)
            if not self._is_watching:
                Thread(target=self._look, name="llm-watch", daemon=True).start()
                self._is_watching = True
        try:
            yield
        finally:
            with self._lock:
                self._ends.pop(number, None)

    def _look(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                for number in [number for number, (end, _) in self._ends.items() if end <= now]:
                    self._ends.pop(number)[1]()
                if not self._ends:
                    self._is_watching = False
                    return
                first = min(end for end, _ in self._ends.values())
            time.sleep(max(0.0, first - now))
