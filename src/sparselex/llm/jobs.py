"""Questions on their way: which is sent next, and when."""

import heapq
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from threading import Condition, Lock

from sparselex.base.figures import Failure
from sparselex.llm.ledger import Ledger, Reserved
from sparselex.llm.limit import Limit
from sparselex.llm.records import Answer, Request

MOST_WAITING = 4096
"""Questions that wait to be sent before whoever asks has to wait."""

Outcome = Answer | Failure | Exception
"""What comes of a question; an error where the whole run cannot go on."""


class Refused(Failure):
    """A question that the server does not answer, now or later."""

    status: int
    """What it said; 0 where it said nothing."""


@dataclass(eq=False)
class Job:
    """A question on its way."""

    request: Request
    key: bytes | None
    """Of its answer in the cache; None if that is not to be kept."""

    retries: int = 0
    """How often it may be sent again."""

    future: "Future[Answer | Failure]" = field(default_factory=Future)
    attempts: int = 0
    """How often it was sent."""

    begun: float = 0.0
    """When it was sent first, on the monotonic clock."""

    round: int = 0
    """Of the limit, when it was sent last."""

    reserved: Reserved = field(default_factory=Reserved)
    """What was set aside for it in the ledger."""

    def settle(self, outcome: Outcome) -> None:
        """Hand over what came of it; only the first outcome counts."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class JobQueue:
    """Questions that wait; several threads take from it. Those that are sent again come first, when it is time.

    `dropped` is called with those that will not be sent any more once nothing more is.
    """

    def __init__(self, limit: Limit, ledger: Ledger, dropped: Callable[[list[Job]], None]):
        self._limit, self._ledger, self._dropped = limit, ledger, dropped
        lock = Lock()
        self._changed, self._room, self._numbers = Condition(lock), Condition(lock), count()
        self._new: deque[Job] = deque()
        self._again: list[tuple[float, int, Job]] = []
        self._n_open = self._n_idle = self._n_unwritten = 0
        self._paused_until = 0.0
        self._ended = False

    def put(self, job: Job) -> None:
        """A new question; waits while very many wait."""
        with self._room:
            while len(self._new) >= MOST_WAITING and not self._ended:
                self._room.wait()
        self._push(job, None)

    def again(self, job: Job, after_s: float, *, all_wait: bool = False) -> None:
        """Send a question once more after some seconds; nobody sends anything before where all are to wait."""
        at = time.monotonic() + after_s
        if all_wait:
            with self._changed:
                self._paused_until = max(self._paused_until, at)
        self._push(job, at)

    def take(self) -> Job | None:
        """The next question, as soon as one may be sent; None when nothing more is."""
        with self._changed:
            while not self._ended:
                if isinstance(found := self._next(), Job):
                    return found
                if not self._ended:
                    self._n_idle += 1
                    self._changed.wait(found)
                    self._n_idle -= 1
        self.end()
        return None

    def answered(self, job: Job) -> None:
        """A question that was taken was answered; one whose answer is kept is to be told of once more."""
        with self._changed:
            self._limit.answered()
            self._n_unwritten += job.key is not None
            self._freed()

    def written(self) -> None:
        """The answer to one of these is on the disk."""
        with self._changed:
            self._n_unwritten -= 1
            if self._n_unwritten + 1 == self._limit.most:
                self._changed.notify_all()

    def refused(self, job: Job) -> None:
        """A question that was taken was refused for want of room, or its answer was lost."""
        with self._changed:
            self._limit.refused(job.round)
            self._freed()

    def failed(self) -> None:
        """A question that was taken came to nothing for a reason of its own."""
        with self._changed:
            self._freed()

    def wants_help(self, n_workers: int) -> bool:
        """Whether one more thread would have something to do."""
        with self._changed:
            return (
                bool(self._new or self._again)
                and not self._n_idle
                and n_workers < self._limit.allowed
                and not self._ended
            )

    def end(self) -> None:
        """Nothing more is sent."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            self._room.notify_all()
            dropped = [*self._new, *(job for _, _, job in self._again)]
            self._new, self._again = deque(), []
        self._dropped(dropped)

    def _push(self, job: Job, at: float | None) -> None:
        with self._changed:
            ended = self._ended
            if at is None:
                self._new.append(job)
            else:
                heapq.heappush(self._again, (at, next(self._numbers), job))
            self._changed.notify()
        if ended:
            self.end()

    def _freed(self) -> None:
        self._n_open -= 1
        # Whoever was freed takes the next itself; another is woken only where there is room for both.
        if self._n_idle and (self._new or self._again) and self._n_open + 1 < self._limit.allowed:
            self._changed.notify()

    def _next(self) -> Job | float | None:
        """The question to send now, or how many seconds to wait for one: None until something changes."""
        if not (self._new or self._again) or self._n_open >= self._limit.allowed:
            return None
        # A slow disk must not let answers gather that a killed run would have to pay for again.
        if self._n_unwritten >= self._limit.most:
            return None
        now = time.monotonic()
        due = self._again[0][0] if self._again else math.inf
        # Until something was answered, one question alone finds out whether there is a server at all.
        first = due if self._again and not (self._new and self._limit.is_tried) else min(due, now)
        if (at := max(first, self._paused_until)) > now:
            return at - now
        job = self._again[0][2] if due <= now else self._new[0]
        reserved = self._ledger.reserve(job.request)
        if isinstance(reserved, str):
            self._beyond_budget(reserved)
            return None
        heapq.heappop(self._again) if due <= now else self._new.popleft()
        self._room.notify()
        self._n_open += 1
        job.reserved, job.round, job.attempts = reserved, self._limit.round, job.attempts + 1
        job.begun = job.begun or now
        return job

    def _beyond_budget(self, why: str) -> None:
        """What is open may turn out to cost less than was set aside; only when nothing is, the budget is spent."""
        if not self._n_open:
            self._ledger.stop(why)
            self._ended = True
            self._changed.notify_all()
