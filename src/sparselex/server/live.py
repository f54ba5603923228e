"""The live model: a process of its own that holds models and dictionaries, and the questions that wait for it. Pages
never wait for it; no PyTorch here."""

import itertools
import multiprocessing
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from sparselex.base.artifacts import MANIFEST
from sparselex.base.registry import found
from sparselex.base.workspace import Workspace
from sparselex.server.live_records import Answer, OpenQuestion, Question
from sparselex.server.live_turns import FairTurns, Reader
from sparselex.server.stamps import stamp
from sparselex.server.starting import live_with_parent, start_deaf

ANSWERING = "sparselex.server.live_model:answer_all"
"""What the process runs."""

LIMIT_S = 60.0
"""How long a question may take."""

OPEN_S = 600.0
"""How long the opening of a run may take: a model of billions of weights comes from a disk."""

GRACE_S = 10.0
"""How long the process may take to drop a question; one that takes longer is ended."""

KEPT = 32
"""Answers that are kept: a page that is sorted anew, its record and its file ask the same again."""


class Ticket(NamedTuple):
    """A question on its way."""

    number: int
    """Which."""

    question: Question
    """What is asked."""

    answer: "Future[Answer]"
    """What will come back."""

    since: float
    """When it was put, by `time.monotonic`."""


class Live:
    """The live model of one workspace. Its process starts when something is first asked, and again when it has ended;
    it ends with this process, however that ends."""

    def __init__(self, workspace: Workspace):
        self._workspace, self._turns = workspace, FairTurns[Ticket]()
        self._process = LiveProcess(workspace.path)
        self._numbers, self._lock = itertools.count(1), threading.Lock()
        self._opening: dict[str, Ticket] = {}
        self._opened: set[str] = set()
        self._kept: OrderedDict[Any, Answer] = OrderedDict()
        self._thread: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """The process, where there is one."""
        return self._process.pid

    def known(self, question: Question) -> Answer | None:
        """What was answered before, of artifacts that are the same still."""
        with self._lock:
            return self._kept.get(self._key(question))

    def opening(self, run: str, reader: Reader) -> "Future[Answer] | None":
        """When a run will be open; None where it is. What has failed is told once and then tried again. Raises
        `Full`."""
        with self._lock:
            if run in self._opened and self._process.is_there:
                return None
            begun = self._opening.get(run)
            if begun is None:
                begun = self._put(reader, OpenQuestion(run=run))
                self._opening[run] = begun
            elif begun.answer.done():
                del self._opening[run]
            return begun.answer

    def opens_since(self, run: str) -> float:
        """For how many seconds a run is being opened."""
        with self._lock:
            begun = self._opening.get(run)
            return time.monotonic() - begun.since if begun else 0.0

    def put(self, reader: Reader, question: Question) -> Ticket:
        """Have a question wait for its turn. Raises `Full`."""
        with self._lock:
            return self._put(reader, question)

    def leave(self, ticket: Ticket) -> None:
        """Nobody waits for an answer any more: it is not begun, or stopped on the way."""
        if self._turns.remove(ticket):
            ticket.answer.set_result(Answer("left"))
        elif not ticket.answer.done():
            self._process.stop(ticket.number)

    def close(self) -> None:
        """End the process."""
        self._process.end()

    def _put(self, reader: Reader, question: Question) -> Ticket:
        ticket = Ticket(next(self._numbers), question, Future(), time.monotonic())
        self._turns.put(reader, ticket)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        return ticket

    def _work(self) -> None:
        """One question after the other, as long as this process lives."""
        while True:
            ticket = self._turns.take()
            with self._lock:
                if not self._process.is_there:
                    self._opened.clear()
            opens = isinstance(ticket.question, OpenQuestion)
            key = self._key(ticket.question)  # what is replaced meanwhile is asked anew
            answer = self._process.answer(ticket.number, ticket.question, OPEN_S if opens else LIMIT_S)
            with self._lock:
                if answer.state == "answered":
                    self._opened.add(ticket.question.run)
                    if opens:  # what failed is left for the next reader to be told
                        self._opening.pop(ticket.question.run, None)
                    self._keep(key, answer)
            ticket.answer.set_result(answer)

    def _keep(self, key: Any, answer: Answer) -> None:
        self._kept[key] = answer
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _key(self, question: Question) -> Any:
        folder = self._workspace.run(question.run)
        return question, *(stamp(folder / kind / MANIFEST) for kind in ("dictionary", "index"))


class LiveProcess:
    """The process, and how it is spoken to: by one thread at a time, but for `stop`."""

    def __init__(self, workspace: Path):
        self._workspace = workspace
        self._pipe: Connection | None = None
        self._process: BaseProcess | None = None
        # A fork would copy locks in whatever state this process's threads hold them.
        self._context = multiprocessing.get_context("spawn")
        self._stopped: Any = self._context.Value("q", 0, lock=False)

    @property
    def is_there(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.is_alive()

    @property
    def pid(self) -> int | None:
        """Its number; None before it has started."""
        return self._process.pid if self._process else None

    def answer(self, number: int, question: Question, limit_s: float) -> Answer:
        """What it answers; it is started where it is not there, and ended where it does not stop when it is told to."""
        try:
            pipe = self._pipe if self._pipe and self.is_there else self._start()
            pipe.send((number, question))
            if not pipe.poll(limit_s):
                self.stop(number)
                if not pipe.poll(GRACE_S):
                    self.end()
                    return _late(limit_s)
            answer: Answer = pipe.recv()
        except (OSError, EOFError):
            return self._gone()
        return _late(limit_s) if answer.state == "late" else answer

    def stop(self, number: int) -> None:
        """Have a question be dropped, if it is being answered."""
        self._stopped.value = number

    def end(self) -> None:
        """End the process, if it is there."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _start(self) -> Connection:
        if self._pipe is not None:
            self._pipe.close()
        ours, theirs = self._context.Pipe()
        given = (theirs, self._stopped, self._workspace)
        self._process, self._pipe = self._context.Process(target=_run, args=given, daemon=True), ours
        start_deaf(self._process)
        theirs.close()  # open in the process alone, or its end would go unnoticed
        return ours

    def _gone(self) -> Answer:
        code = None
        if self._process is not None:
            self._process.join(GRACE_S)
            code = self._process.exitcode
        by = f" by signal {-code}" if code is not None and code < 0 else f" with exit code {code}"
        return Answer(
            "ended",
            f"The model's process was ended{by}.",
            "ask again: it is started anew. If it ends again, memory may be short: see the server's output.",
        )


def _run(pipe: Connection, stopped: Any, workspace: Path) -> None:
    live_with_parent()
    found(ANSWERING)(pipe, stopped, workspace)  # from here on there is PyTorch


def _late(limit_s: float) -> Answer:
    return Answer(
        "late",
        f"That took longer than {limit_s:.0f} s, and was stopped.",
        "ask for less: fewer tokens, a shorter text.",
    )
