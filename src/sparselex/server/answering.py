"""Who answers a request: this process and, where readers ask faster than it can, helpers beside it."""

import gc
import heapq
import multiprocessing
import pickle
import queue
import signal
import threading
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from fastapi.responses import Response

from sparselex.base.errors import UserError
from sparselex.base.registry import Registry
from sparselex.base.workspace import Workspace
from sparselex.server.navigation import Navigation
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import Page
from sparselex.server.rendering import Place, Rendering
from sparselex.server.starting import start_deaf

PAGES: Registry[Page] = Registry(
    "page",
    {
        "overview": "sparselex.server.pages.overview:PAGE",
        "run": "sparselex.server.pages.run:PAGE",
        "features": "sparselex.server.pages.features:PAGE",
        "random": "sparselex.server.pages.features:RANDOM",
        "download": "sparselex.server.pages.download:PAGE",
        "feature": "sparselex.server.pages.feature:PAGE",
        "ask": "sparselex.server.pages.ask:PAGE",
        "elsewhere": "sparselex.server.pages.elsewhere:PAGE",
        "place": "sparselex.server.pages.place:PAGE",
        "feature_notes": "sparselex.server.pages.feature_notes:PAGE",
        "map": "sparselex.server.pages.map:PAGE",
        "analyses": "sparselex.server.pages.analyses:PAGE",
        "census": "sparselex.server.pages.census:PAGE",
        "neurons": "sparselex.server.pages.neurons:PAGE",
        "manifolds": "sparselex.server.pages.manifolds:PAGE",
        "proxies": "sparselex.server.pages.proxies:PAGE",
        "proxy": "sparselex.server.pages.proxies:ONE",
        "automata": "sparselex.server.pages.automata:PAGE",
        "automaton": "sparselex.server.pages.automata:ONE",
        "pinned": "sparselex.server.pages.pinned:PAGE",
        "logits": "sparselex.server.pages.logits:PAGE",
        "intervals": "sparselex.server.pages.intervals:PAGE",
        "together": "sparselex.server.pages.together:PAGE",
        "points": "sparselex.server.pages.points:POINTS",
        "point": "sparselex.server.pages.points:POINT",
        "comparisons": "sparselex.server.pages.comparisons:PAGE",
        "comparison": "sparselex.server.pages.compare:PAGE",
        "rate": "sparselex.server.pages.rate:PAGE",
        "rubric": "sparselex.server.pages.rubric:PAGE",
        "rubric_results": "sparselex.server.pages.rubric:RESULTS",
        "about": "sparselex.server.pages.about:PAGE",
        "text": "sparselex.server.pages.text:PAGE",
        "text_file": "sparselex.server.pages.text_file:PAGE",
        "try": "sparselex.server.pages.try_text:PAGE",
        "without": "sparselex.server.pages.without:PAGE",
        "steer": "sparselex.server.pages.steer:PAGE",
        "notes": "sparselex.server.pages.notes:PAGE",
        "notes_export": "sparselex.server.pages.notes:EXPORT",
        "study": "sparselex.server.pages.study:PAGE",
        "study_export": "sparselex.server.pages.study:EXPORT",
        "lists": "sparselex.server.pages.lists:PAGE",
        "list": "sparselex.server.pages.lists:ONE",
        "synthetic": "sparselex.server.pages.synthetic:PAGE",
        "decomposition": "sparselex.server.pages.decomposition:PAGE",
        "pair": "sparselex.server.pages.pair:PAGE",
        "component": "sparselex.server.pages.component:PAGE",
        "doomed": "sparselex.server.pages.doomed:PAGE",
        "monosemanticity": "sparselex.server.pages.monosemanticity:PAGE",
        "task": "sparselex.server.pages.task:PAGE",
        "probes": "sparselex.server.pages.probes:PAGE",
        "verdict": "sparselex.server.pages.verdict:PAGE",
        "relatives": "sparselex.server.pages.relatives:PAGE",
        "splitting": "sparselex.server.pages.splitting:PAGE",
        "universality": "sparselex.server.pages.universality:PAGE",
        "model_features": "sparselex.server.pages.model_features:PAGE",
        "graph": "sparselex.server.pages.graph:PAGE",
        "graph_file": "sparselex.server.pages.graph:EXPORT",
    },
)
"""All pages, those of other packages included."""


class Asked(NamedTuple):
    """A request for a page, as it crosses to another process."""

    page: str
    """The page's path, its parameters in braces."""

    given: dict[str, Any]
    """What the builder is called with, by name."""

    place: Place
    """Where the reader is."""


class Pages:
    """The pages of one workspace, built and drawn in this process."""

    def __init__(self, workspace: Workspace, *, frameless: bool = False):
        """`frameless` draws what stands on a page without what stands around it. Raises `UserError` if a page of
        another package cannot be loaded."""
        self.all = [page for _, page in PAGES.items()]
        self._by_path = {page.path: page for page in self.all}
        self.opened = OpenWorkspace(workspace)
        self.rendering = Rendering(Navigation(self.all, self.opened), frameless=frameless)

    def answer(self, asked: Asked) -> Response:
        """The page, its record, or another address. Raises what its builder raises."""
        page = self._by_path[asked.page]
        return self.rendering.show(page.build(self.opened, **asked.given), page.template, asked.place)


class Answering:
    """Pages of one workspace by as many processes at once as there are: this one first, so that a single reader never
    waits for another to start.

    A page is some milliseconds of this interpreter's own work, which threads only divide: with several readers at once
    these would wait for each other, and a second core would idle.
    """

    def __init__(self, workspace: Workspace, n_helpers: int = 0):
        """Raises `UserError` if a page of another package cannot be loaded."""
        self.pages = Pages(workspace)
        self._helpers = [Helper(workspace.path) for _ in range(n_helpers)]
        self.turns = Turns([None, *self._helpers])
        self._first = threading.Lock()
        self._taught = set[tuple[str, str]]()

    def answer(self, asked: Asked) -> Response:
        """The answer of whoever is free first. Raises what the page's builder raises."""
        number, helper = self.turns.take()
        try:
            # What a helper has no answer to is tried here, where it is raised and logged as if there were none.
            found = helper.answer(asked) if helper else None
            return self.pages.answer(asked) if found is None else found
        finally:
            if helper is None or helper.is_there:
                self.turns.give(number, helper)
            if self._first.acquire(blocking=False):  # never let go again: behind the first answer, once
                threading.Thread(target=self._start_helpers, daemon=True).start()
            if helper is None and self._is_new(asked):
                threading.Thread(target=self._teach, args=(asked,), daemon=True).start()

    def _start_helpers(self) -> None:
        """Have them there before many ask at once, whom their start (a second or two) would keep waiting."""
        for helper in self._helpers:
            helper.start()

    def _is_new(self, asked: Asked) -> bool:
        """Whether it is the first page of a latent of its kind and run. Lists are not taught: what they search takes
        memory, in each helper again."""
        kind = (asked.page, asked.place.run)
        is_new = "{latent}" in asked.page and kind not in self._taught
        self._taught.add(kind)
        return is_new

    def _teach(self, asked: Asked) -> None:
        """Have helpers answer what was answered here, to nobody: their first page of a kind takes a second (templates,
        tables), for which the first of many readers would wait, and others behind them."""
        for helper in self._helpers:
            helper.answer(asked)


class Turns:
    """Who answers next, of those who are free the first that was named; readers who wait are served in the order in
    which they came (with a `queue.Queue` one who comes just then goes first, and the slowest waited twice as long)."""

    def __init__(self, answerers: "Sequence[Helper | None]"):
        self._lock = threading.Lock()
        self._free = list(enumerate(answerers))
        self._waiting: deque[queue.SimpleQueue[tuple[int, Helper | None]]] = deque()

    @property
    def n_waiting(self) -> int:
        """Readers who wait."""
        return len(self._waiting)

    def take(self) -> "tuple[int, Helper | None]":
        """The number of one who is free, and who it is; waits until there is one."""
        with self._lock:
            if self._free:
                return heapq.heappop(self._free)
            mine: queue.SimpleQueue[tuple[int, Helper | None]] = queue.SimpleQueue()
            self._waiting.append(mine)
        return mine.get()

    def give(self, number: int, answerer: "Helper | None") -> None:
        """One is free again."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().put((number, answerer))
            else:
                heapq.heappush(self._free, (number, answerer))


class Helper:
    """A process that answers as this one does. It starts when it is told to, or first needed, and ends with this
    process, however that ends (the pipe breaks); one that has ended is not started again."""

    def __init__(self, workspace: Path):
        self._workspace = workspace
        self._pipe: Connection | None = None
        self._starting, self._answering = threading.Lock(), threading.Lock()
        self.process: BaseProcess | None = None
        self.is_there = True

    def answer(self, asked: Asked) -> Response | None:
        """What it answers; None where it raised something, or is no more."""
        try:
            with self._answering:
                pipe = self.start()
                pipe.send(asked)
                answer: Response | None = pipe.recv()
        except (OSError, EOFError):
            self.is_there = False
            return None
        except (pickle.PicklingError, AttributeError, TypeError):  # words of another package's page
            return None
        return answer

    def start(self) -> Connection:
        """Its end of the pipe, with the process at the other end; who comes second waits for that."""
        with self._starting:
            self._pipe = self._pipe or self._start()
        return self._pipe

    def _start(self) -> Connection:
        # A fork would copy locks in whatever state this process's threads hold them.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self.process = context.Process(target=_help, args=(theirs, self._workspace), daemon=True)
        start_deaf(self.process)
        theirs.close()  # open in the helper alone, or its end would go unnoticed
        return ours


def _help(pipe: Connection, workspace: Path) -> None:
    """Answer until nobody can ask any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server ends its helpers
    try:
        pages = Pages(Workspace(workspace))
    except UserError:  # whoever asked finds and says the same
        return
    gc.freeze()
    while True:
        try:
            asked = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = pages.answer(asked)
        except Exception:  # whoever asked raises it again
            answer = None
        pipe.send(answer)
