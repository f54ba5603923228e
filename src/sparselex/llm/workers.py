"""The threads that ask: as many as the server bears, each with a connection of its own."""

import random
import time
from collections.abc import Callable
from threading import Lock, Thread

from sparselex.base.errors import UserError
from sparselex.llm.config import LLMConfig
from sparselex.llm.connection import Connection, Host, Lost, Reply
from sparselex.llm.echoed import TOLD_NOTHING, echo_payload, read_echo
from sparselex.llm.jobs import Job, JobQueue, Outcome, Refused
from sparselex.llm.ledger import Ledger
from sparselex.llm.limit import Limit
from sparselex.llm.plain import plain_payload, read_plain
from sparselex.llm.records import Answer, Request
from sparselex.llm.retry import hint_s, wait_s
from sparselex.llm.wire import (
    ABOUT_THE_QUESTION,
    TOO_BUSY,
    Trouble,
    Wording,
    payload,
    read_answer,
    read_error,
    reworded,
)

_MOMENT_S = 0.5
"""How long what is open may still take when everything ends."""

_NOTHING_LEFT = "insufficient_quota"
"""How hosted servers refuse who has nothing left to pay with; waiting does not help."""


class Workers:
    """Sends questions and hands what comes of each to `finish`, from several threads.

    Where the server refuses the very first question, or nobody is there, `error` says so and every question ends with
    it; where it stops answering later, the ledger is stopped and the questions left fail.
    """

    def __init__(self, config: LLMConfig, host: Host, ledger: Ledger, finish: Callable[[Job, Outcome], None]):
        self._config, self._host, self._ledger, self._finish = config, host, ledger, finish
        self._queue = JobQueue(Limit(config.concurrency), ledger, self._drop)
        self._lock, self._rng = Lock(), random.Random()
        self._threads: list[Thread] = []
        self._connections: list[Connection] = []
        self._wording, self._last_answer = Wording(), 0.0
        self._is_closed = False
        self.error: UserError | None = None
        """Why the run cannot go on."""

    def ask(self, job: Job) -> None:
        """Send a question in its turn; returns at once, or when there is room for one more that waits."""
        self._queue.put(job)
        self._help()

    def written(self) -> None:
        """An answer that `finish` was given is on the disk."""
        self._queue.written()

    def leave_out(self, field: str) -> None:
        """Send questions without a field from now on."""
        with self._lock:
            self._wording = self._wording.without(field)

    def close(self) -> None:
        """End: what is open has a moment, then it is broken off."""
        self._is_closed = True
        self._queue.end()
        self._join(_MOMENT_S)
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.cut()
        self._join(2 * _MOMENT_S)

    def _join(self, within_s: float) -> None:
        until = time.monotonic() + within_s
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _help(self) -> None:
        """One more thread, where there is something for it to do."""
        if not self._queue.wants_help(len(self._threads)):
            return
        with self._lock:
            if self._is_closed or not self._queue.wants_help(len(self._threads)):
                return
            # A daemon: one that waits for a name to be looked up cannot be broken off.
            thread = Thread(target=self._work, name=f"llm-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        connection = Connection(self._host)
        with self._lock:
            self._connections.append(connection)
        try:
            while (job := self._queue.take()) is not None:
                self._ask(connection, job)
                self._help()
        finally:
            connection.close()

    def _ask(self, connection: Connection, job: Job) -> None:
        try:
            found, used = self._asked(connection, job)
        except Exception as error:  # a worker's loop: whoever waits for the answer must hear of it
            self._queue.failed()
            self._finish(job, error)
            return
        if isinstance(found, Answer):
            self._last_answer = time.monotonic()
            self._queue.answered(job)
            self._finish(job, found)
        else:
            self._troubled(job, found, used)

    def _asked(self, connection: Connection, job: Job) -> tuple[Answer | Trouble, Wording]:
        used = self._wording
        try:
            reply = connection.send("POST", *_question(self._config.model, job.request, used))
        except Lost as lost:
            self._account(job, was_sent=lost.was_sent)
            return Trouble(str(lost), again=True), used
        found = _read(reply, job.request, used)
        if isinstance(found, Answer):
            self._ledger.answered(job.request, job.reserved, found)
            # Once more: in JSON the key can be written so that it was not seen before.
            others = tuple(map(self._host.safe, found.others))
            found = found.model_copy(update={"text": self._host.safe(found.text), "others": others})
        else:
            self._account(job, was_sent=found.status in (0, TOLD_NOTHING))
            found = found._replace(reason=self._host.safe(found.reason))
        return found, used

    def _account(self, job: Job, *, was_sent: bool) -> None:
        if was_sent:
            self._ledger.lost(job.request, job.reserved)
        else:
            self._ledger.refused(job.reserved)

    def _troubled(self, job: Job, trouble: Trouble, used: Wording) -> None:
        may_learn = trouble.status in ABOUT_THE_QUESTION or (trouble.status == 500 and job.request.continuation)
        if may_learn and self._learns(job, trouble, used):
            job.attempts -= 1
            self._queue.failed()
            self._queue.again(job, 0.0)
        elif trouble.again and job.attempts <= job.retries and not self._is_closed:
            self._ledger.retried(job.request)
            self._queue.refused(job)
            after_s = wait_s(job.attempts, self._config.retry_wait_s, trouble.hint_s, self._rng)
            self._queue.again(job, after_s, all_wait=trouble.hint_s is not None)
        else:
            self._queue.refused(job) if trouble.again else self._queue.failed()
            self._give_up(job, trouble)

    def _learns(self, job: Job, trouble: Trouble, used: Wording) -> bool:
        """Whether the question may be asked in other words now."""
        with self._lock:
            if self._wording == used:
                self._wording = reworded(used, trouble, job.request) or used
            return self._wording != used

    def _give_up(self, job: Job, trouble: Trouble) -> None:
        """The question failed; see whether the others would as well."""
        of_server = trouble.status not in ABOUT_THE_QUESTION | {TOLD_NOTHING} and not self._is_closed
        if of_server and not self._last_answer:
            self.error = self.error or self._refusal(trouble)
            self._queue.end()
        elif trouble.status == 402 or (trouble.status == 429 and not trouble.again):
            self._stop(f"nothing is left to pay with ({trouble.reason})")
        elif of_server and trouble.again and job.key is not None and self._last_answer < job.begun:
            self._stop(f"the server stopped answering ({trouble.reason})")
        subject = job.request.purpose or "question"
        self._finish(job, self.error or Refused(subject=subject, reason=trouble.reason, status=trouble.status))

    def _stop(self, why: str) -> None:
        self._ledger.stop(why)
        self._queue.end()

    def _drop(self, jobs: list[Job]) -> None:
        """What waited and is not sent any more."""
        why = self._ledger.stopped or "everything was ended"
        for job in jobs:
            subject = job.request.purpose or "question"
            self._finish(job, self.error or Refused(subject=subject, reason=f"not asked: {why}", status=0))

    def _refusal(self, trouble: Trouble) -> UserError:
        config = self._config
        key = f"the key in {config.key_env}" if config.key_env else "a key, if the server wants one"
        return UserError(
            f"{config.model!r} at {config.url} answers no question: {trouble.reason}.",
            "a running server with OpenAI's chat completions under that address, which has that model",
            f"check that it runs, its address (up to /v1), the name of the model, and {key}.",
        )


def _question(model: str, request: Request, wording: Wording) -> tuple[str, bytes]:
    """Where a question is sent, and its body."""
    if request.continuation:
        return "/completions", echo_payload(model, request, wording.n_echoed)
    if request.plain:
        return "/completions", plain_payload(model, request, wording)
    return "/chat/completions", payload(model, request, wording)


def _read(reply: Reply, request: Request, wording: Wording) -> Answer | Trouble:
    """What a reply says. Redirects are not followed: the question and the key would go to somebody else."""
    if reply.status == 200:
        if request.continuation:
            return read_echo(reply.data, request, wording.n_echoed)
        return read_plain(reply.data, request) if request.plain else _whole(read_answer(reply.data), request)
    if 300 <= reply.status < 400:
        return Trouble(f"the server answered {reply.status}, a redirect, which is not followed", False, reply.status)
    trouble = read_error(reply.status, reply.data)
    if reply.status == 429 and _NOTHING_LEFT in reply.data.decode("utf-8", "replace"):
        return trouble._replace(again=False)
    return trouble._replace(hint_s=hint_s(reply.headers) if reply.status in TOO_BUSY else None)


def _whole(found: Answer | Trouble, request: Request) -> Answer | Trouble:
    """The answer with as many others as were wanted; a server that cannot draw several leaves them out in silence."""
    if isinstance(found, Trouble) or len(found.others) == request.n - 1:
        return found
    if request.n == 1:
        return found.model_copy(update={"others": ()})
    n = 1 + len(found.others)
    return Trouble(f"{request.n} answers were wanted, and {n} came", False, TOLD_NOTHING)
