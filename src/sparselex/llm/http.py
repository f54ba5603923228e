"""A client of any server that speaks OpenAI's chat completions."""

from concurrent.futures import Future
from pathlib import Path
from threading import Lock
from typing import Self

from sparselex.base.errors import UserError
from sparselex.base.figures import Failure
from sparselex.llm.cache import AnswerCache, Kept, Writer, request_key
from sparselex.llm.config import LLMConfig
from sparselex.llm.connection import Connection, Host, Lost, Reply
from sparselex.llm.draws import draws, when_all
from sparselex.llm.jobs import Job, Outcome
from sparselex.llm.ledger import Ledger
from sparselex.llm.probe import PROBE_RETRIES, probe
from sparselex.llm.records import Answer, Capabilities, Request
from sparselex.llm.wire import fitted
from sparselex.llm.workers import Workers


class HTTPClient:
    """Asks the server of `config`, and keeps every answer in the database at `database_path` before anybody sees it:
    whatever was answered once costs nothing any more, also after the process was killed.

    It is closed at the end, best as the context of a `with`. Raises `UserError` where the key or the package `httpx` is
    missing; a future raises it where nobody answers at all, or the database cannot be written.
    """

    def __init__(self, config: LLMConfig, database_path: Path | str):
        self.config, self.model, self.ledger = config, config.model, Ledger(config)
        self._cache = AnswerCache(database_path)
        self._host = None if config.replay else Host(config)
        self._workers = Workers(config, self._host, self.ledger, self._finish) if self._host else None
        self._writer = Writer(self._cache, config.model) if self._host else None
        self._lock, self._finding = Lock(), Lock()
        self._open: dict[bytes, Job] = {}
        self._capabilities: Capabilities | None = None
        self._error: UserError | None = None

    @property
    def stopped(self) -> str | None:
        """Why nothing more is asked, or None."""
        return self.ledger.stopped

    def capabilities(self) -> Capabilities:
        """What the server can do: as it was found before, else found now with a few small questions. Raises `UserError`
        where nobody answers."""
        with self._finding:
            if self._capabilities is None:
                self._capabilities = self._found()
            return self._capabilities

    def submit(self, request: Request) -> "Future[Answer | Failure]":
        """Ask; what was answered before is there at once, and what is being asked is not asked twice. Waits only where
        thousands of questions wait. Raises `UserError` where the run cannot go on."""
        if request.n > 1 and (request.plain or not self.capabilities().n):
            return when_all([self.submit(one) for one in draws(request)])
        asked = fitted(request, self.capabilities())
        key = request_key(self.model, asked)
        with self._lock:
            if job := self._open.get(key):
                job.future.add_done_callback(lambda future: self._shared(request, future))
                return job.future
            # An answer leaves the open ones when it is on the disk, so within the lock it is in one of the two.
            if answer := self._cache.get(key):
                self.ledger.cached(request, answer)
                return _done(answer)
            if self._error:
                raise self._error
            if why := _lacking(request, self.capabilities()):
                self.ledger.failed(request)
                return _done(Failure(subject=request.purpose or "question", reason=f"not asked: {why}"))
            if self._workers is None or self.stopped:
                self.ledger.failed(request)
                return _done(self._not_asked(request))
            job = self._open[key] = Job(asked, key, self.config.retries)
        self._workers.ask(job)
        return job.future

    def close(self) -> None:
        """End. What is open has a moment, then it is broken off; what was answered is written."""
        if self._workers and self._writer:
            self._workers.close()
            self._writer.close()
            self._workers = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _finish(self, job: Job, outcome: Outcome) -> None:
        """Called by the workers: hand over what came of a question, an answer when it is on the disk."""
        if isinstance(outcome, Answer) and job.key is not None and self._writer:
            self._writer.keep(Kept(job.key, outcome, lambda error: self._written(job, error or outcome)))
        else:
            self._settle(job, outcome)

    def _written(self, job: Job, outcome: Outcome) -> None:
        if workers := self._workers:
            workers.written()
        self._settle(job, outcome)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        if isinstance(outcome, UserError):
            self._error = outcome
        elif isinstance(outcome, Failure):
            self.ledger.failed(job.request)
        with self._lock:
            if job.key is not None:
                self._open.pop(job.key, None)
        job.settle(outcome)

    def _shared(self, request: Request, future: "Future[Answer | Failure]") -> None:
        """What came of a question that was asked once for several."""
        if future.exception() is None:
            if isinstance(answer := future.result(), Answer):
                self.ledger.cached(request, answer)
            else:
                self.ledger.failed(request)

    def _not_asked(self, request: Request) -> Failure:
        why = "its answer is not in the workspace, and nothing is sent" if self.config.replay else "everything is ended"
        return Failure(subject=request.purpose or "question", reason=f"not asked: {self.stopped or why}")

    def _found(self) -> Capabilities:
        url, workers = self.config.url, self._workers
        known = self._cache.capabilities(url, self.model)
        # An earlier version may have looked for less.
        if workers and (known is None or known.model_fields_set < set(Capabilities.model_fields)):
            found = probe(self._ask_uncached, self._models(), self.model)
            known = found.capabilities
            if found.is_certain:
                self._cache.keep_capabilities(url, self.model, known)
        if known is None:
            return Capabilities()
        if workers and not known.seed:
            workers.leave_out("seed")
        return known

    def _ask_uncached(self, request: Request) -> "Future[Answer | Failure]":
        job = Job(request, None, min(PROBE_RETRIES, self.config.retries))
        assert self._workers
        self._workers.ask(job)
        return job.future

    def _models(self) -> Reply | None:
        """The server's list of models, if it has one."""
        assert self._host
        connection = Connection(self._host)
        try:
            return connection.send("GET", "/models")
        except Lost:
            return None
        finally:
            connection.close()


def _lacking(request: Request, can: Capabilities) -> str:
    """Why a question cannot be put to a server; empty where it can."""
    if request.continuation and not can.continuations:
        return "the server tells no log-probabilities of a given text"
    return "the server writes on from no plain text" if request.plain and not can.plain else ""


def _done(outcome: Answer | Failure) -> "Future[Answer | Failure]":
    future: Future[Answer | Failure] = Future()
    future.set_result(outcome)
    return future
