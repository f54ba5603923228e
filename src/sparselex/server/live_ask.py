"""Asking a language model about one feature for a reader: one at a time, in a process of its own, while pages go on."""

import multiprocessing
import threading
import time
from collections import OrderedDict
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from sparselex.base.registry import found
from sparselex.base.workspace import Workspace
from sparselex.server.live_ask_records import AskState, Came, Job, LanguageModel, State
from sparselex.server.starting import live_with_parent, start_deaf

ANSWERING = "sparselex.server.live_ask_model:answer"
"""What the process runs."""

KEPT = 64
"""Features of which is remembered what was asked last."""

_STOPPED = Came("failed", message="It was stopped. What was answered by then is kept.", todo="ask again to go on.")


class Busy(Exception):
    """Something else is being asked; its text says what."""


class Turn:
    """Whose turn it is on a server: one asks at a time, whatever workspace it is of."""

    def __init__(self) -> None:
        self._lock, self._job = threading.Lock(), ""

    @property
    def taken_by(self) -> str:
        """What is being asked; empty where nothing is."""
        return self._job

    def take(self, what: str) -> None:
        """Begin. Raises `Busy`."""
        with self._lock:
            if self._job:
                raise Busy(self._job)
            self._job = what

    def give(self) -> None:
        """It is done."""
        self._job = ""


class _Begun(NamedTuple):
    job: Job
    since: float
    came: Came | None


class Asker:
    """Asks about features of one workspace. Its process ends with this one, however that ends, and what it writes is
    whole or not there."""

    def __init__(self, workspace: Workspace, model: LanguageModel, turn: Turn):
        self._workspace, self._model, self._turn = workspace, model, turn
        self._begun: OrderedDict[tuple[str, int], _Begun] = OrderedDict()
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """The process, where there is one."""
        return self._process.pid if self._process else None

    def start(self, job: Job) -> None:
        """Begin with a job. Raises `Busy` while there is another."""
        self._turn.take(f"feature {job.latent} of run {job.run}")
        self._stopped = False
        self._keep(_Begun(job, time.monotonic(), None))
        threading.Thread(target=self._work, args=(job,), daemon=True).start()

    def stop(self, run: str, latent: int) -> None:
        """End what is going on for a feature, if anything is."""
        with self._lock:
            begun = self._begun.get((run, latent))
            if begun is not None and begun.came is None:
                self._stopped = True
                self._kill()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stopped = True
            self._kill()

    def state(self, run: str, latent: int) -> AskState:
        """What became of asking about a feature."""
        with self._lock:
            begun = self._begun.get((run, latent))
        taken = self._turn.taken_by
        if begun is None:
            return AskState(model=self._model.model, busy_with=taken)
        job, came = begun.job, begun.came
        chosen = AskState(model=self._model.model, writer=job.writer, judges=job.judges)
        if came is None:
            going: State = "counting" if job.only_counts else "asking"
            return chosen.model_copy(update={"state": going, "seconds": time.monotonic() - begun.since})
        return chosen.model_copy(update={**came._asdict(), "busy_with": taken})

    def _work(self, job: Job) -> None:
        try:
            came = self._came(job)
        except OSError as error:  # no process can be started: the reader is told
            came = Came("failed", message=f"No process could be started: {error.strerror}.", todo="ask again later.")
        self._keep(_Begun(job, 0.0, came))
        self._turn.give()

    def _came(self, job: Job) -> Came:
        """What the process answers."""
        # A fork would copy locks in whatever state this process's threads hold them.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        given = (theirs, self._workspace.path, self._model, job)
        with self._lock:
            if self._stopped:
                return _STOPPED
            self._process = process = context.Process(target=_run, args=given, daemon=True)
            start_deaf(process)
        theirs.close()  # open in the process alone, or its end would go unnoticed
        try:
            came: Came = ours.recv()
        except (OSError, EOFError):
            came = _STOPPED if self._stopped else _ended(process)
        finally:
            ours.close()
        process.join()
        return came

    def _keep(self, begun: _Begun) -> None:
        with self._lock:
            key = begun.job.run, begun.job.latent
            self._begun[key] = begun
            self._begun.move_to_end(key)
            while len(self._begun) > KEPT:
                self._begun.popitem(last=False)

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()


def _ended(process: BaseProcess) -> Came:
    process.join()
    message = f"The process that asked has ended with exit code {process.exitcode}."
    return Came("failed", message=message, todo="ask again; if it ends again, see the server's output.")


def _run(pipe: Connection, workspace: Path, model: LanguageModel, job: Job) -> None:
    live_with_parent()
    found(ANSWERING)(pipe, workspace, model, job)  # from here on there is PyTorch
