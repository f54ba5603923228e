"""Answers that were paid for, in the workspace's database: an equal question is never paid for twice."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import NamedTuple

from pydantic import ValidationError

from sparselex.base.database import Database, Migration
from sparselex.base.errors import UserError
from sparselex.llm.records import Answer, Capabilities, Request

_FIRST: Migration = (
    "CREATE TABLE llm_answer (key BLOB PRIMARY KEY, model TEXT NOT NULL, answer TEXT NOT NULL)",
    """CREATE TABLE llm_capabilities (
    url TEXT NOT NULL, model TEXT NOT NULL, found TEXT NOT NULL, PRIMARY KEY (url, model)
)""",
)

_MIGRATIONS = (_FIRST,)
_MOST_TOGETHER = 1000
"""Answers that are written in one transaction."""


def request_key(model: str, request: Request) -> bytes:
    """What tells questions apart: the model, the messages and everything that shapes the answer; neither the address of
    the server nor the purpose. Where a server takes no seed, another one still asks anew."""
    shape = (request.max_tokens, request.temperature, request.seed, request.form, request.top_logprobs)
    # Left out where it is nothing: answers of earlier versions keep their keys.
    more = [one for one in (request.continuation, request.n if request.n > 1 else 0, request.choices) if one]
    more += ["plain", request.stop] if request.plain else []
    asked = json.dumps([model, request.messages, shape, *more], sort_keys=True)
    return hashlib.sha256(asked.encode()).digest()


class Kept(NamedTuple):
    """An answer on its way to the disk."""

    key: bytes
    answer: Answer
    then: Callable[[UserError | None], None]
    """Called as soon as it is there, or with what went wrong."""


class AnswerCache:
    """Answers in the database at `path`, and what servers were found to be able to do.

    Raises `UserError` where the database cannot be read.
    """

    def __init__(self, path: Path | str):
        self._database = Database(path, "llm", _MIGRATIONS)

    def get(self, key: bytes) -> Answer | None:
        """The answer to a question that was asked before."""
        rows = self._database.rows("SELECT answer FROM llm_answer WHERE key = ?", (key,))
        return self._record(Answer, rows[0][0]) if rows else None

    def capabilities(self, url: str, model: str) -> Capabilities | None:
        """What a model at an address was found to be able to do, if that was tried."""
        query = "SELECT found FROM llm_capabilities WHERE url = ? AND model = ?"
        rows = self._database.rows(query, (url, model))
        return self._record(Capabilities, rows[0][0]) if rows else None

    def keep_capabilities(self, url: str, model: str, found: Capabilities) -> None:
        """Keep that. Raises `UserError` where the database cannot be written."""
        with self._database.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO llm_capabilities VALUES (?, ?, ?)", (url, model, found.model_dump_json())
            )

    def add(self, model: str, kept: list[Kept]) -> None:
        """Write answers of a model; they are on the disk when this returns."""
        rows = [(one.key, model, json.dumps(one.answer.to_json())) for one in kept]
        with self._database.writing() as db:
            db.executemany("INSERT OR REPLACE INTO llm_answer VALUES (?, ?, ?)", rows)

    def _record(self, kind, text: str):
        try:
            return kind.model_validate_json(text)
        except (ValidationError, TypeError) as error:
            raise UserError(
                f"The database {self._database.path} is damaged: an answer in it cannot be read ({error}).",
                "answers of language models as they were written",
                "move the database away; explanations and answers are then made anew, and notes are lost with it.",
            ) from None


class Writer:
    """Writes answers of one model as they come, in a thread of its own: while the disk is at one transaction, the
    answers of the next gather."""

    def __init__(self, cache: AnswerCache, model: str):
        self._cache, self._model = cache, model
        self._queue: SimpleQueue[Kept | None] = SimpleQueue()
        self._lock, self._is_closed = Lock(), False
        self._thread = Thread(target=self._write, name="llm-writer", daemon=True)
        self._thread.start()

    def keep(self, kept: Kept) -> None:
        """Write an answer; returns at once, or when it is written where this is closed."""
        with self._lock:
            if not self._is_closed:
                self._queue.put(kept)
                return
        self._write_batch([kept])

    def close(self) -> None:
        """Wait until everything is written."""
        with self._lock:
            self._is_closed = True
            self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        more = True
        while more:
            first = self._queue.get()
            batch = [first] if first is not None else []
            more = first is not None
            while more and len(batch) < _MOST_TOGETHER and not self._queue.empty():
                one = self._queue.get()
                more = one is not None
                batch += [one] if one is not None else []
            if batch:
                self._write_batch(batch)

    def _write_batch(self, batch: list[Kept]) -> None:
        error = None
        try:
            self._cache.add(self._model, batch)
        except UserError as refused:
            error = refused
        for one in batch:
            one.then(error)
