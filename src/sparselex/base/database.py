"""The workspace's database: one SQLite file for everything that people, rules and language models write.

Many read while one writes (write-ahead log). Several components keep their tables in the one file (explanations, notes,
requests to language models), each with a schema version of its own.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sparselex.base.config import Config
from sparselex.base.errors import UserError

Migration = Sequence[str]
"""SQL statements that bring a component's tables from one version to the next."""

WAIT_S = 10.0
"""How long a writer waits for another."""

_MOVE_AWAY = "move it away: explanations are made anew by `sparselex explain`, what people wrote is lost with it."

_FORBIDDEN = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN)
"""Codes of errors of whoever may not write."""

_VERSIONS = "CREATE TABLE IF NOT EXISTS component (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID"

_READ_VERSION = "SELECT version FROM component WHERE name = ?"


class Database:
    """One component's tables in the database file at `path`.

    `migrations[v]` leads from version `v` to `v + 1`; an empty file has version 0. Whoever writes makes the file and
    brings the tables up to date; whoever reads makes nothing. Raises `UserError` for a file that is locked, damaged, of
    a later version, or (in reading) of an earlier one than `readable_from`: left out, than this.
    """

    def __init__(
        self, path: Path | str, component: str, migrations: Sequence[Migration], readable_from: int | None = None
    ):
        self.path, self.component, self.migrations = Path(path).absolute(), component, migrations
        self._file, self._kept = str(self.path), threading.local()
        self._readable_from = len(migrations) if readable_from is None else readable_from

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection within one transaction, which is kept only if the block ends without an error."""
        with self._connection("rwc") as db:
            db.execute("PRAGMA journal_mode = WAL")
            # What is written is on disk before the manifest is that says so; builds of SQLite differ in their default.
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            with _transaction(db):
                self._migrate(db)
                yield db
            # Into the file itself: else a reader would write it there, when its connection is the last to close.
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def update(self) -> None:
        """Make the file and the component's tables if they are missing, and bring them up to date if they are not."""
        if self.path.exists():
            with self._connection("rw") as db:
                if self._version(db) == len(self.migrations):
                    return
        with self.writing():
            pass

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple]:
        """What a query finds; nothing where the file or the component's tables are not there yet.

        A thread keeps its connection for the next query: opening one takes longer than most queries.
        """
        try:
            db = self._reader()
            version = self._read_version(db) if db else 0
            if db is None or not version:
                return []
            if not self._readable_from <= version <= len(self.migrations):
                raise self._other_version(version)
            return db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._kept.reader = None
            raise self._unusable(error) from error

    def records(self, kind: Any, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """What a query finds, each row as a `kind`: a configuration whose fields the query selects in their order, or a
        type of tuple.

        SQLite keeps any value in any column, so each is checked here. Raises `UserError` for a row that is none.
        """
        rows = self.rows(query, values)
        is_config = isinstance(kind, type) and issubclass(kind, Config)
        given = [dict(zip(kind.model_fields, row, strict=True)) for row in rows] if is_config else rows
        read = _adapter(kind)
        try:
            return [read.validate_python(row, strict=True) for row in given]
        except ValidationError as error:
            raise self._other_row(error.errors()[0]) from None

    def _reader(self) -> sqlite3.Connection | None:
        """This thread's connection to the file that lies at the path now; None if there is none."""
        try:
            found = os.stat(self._file)  # noqa: PTH116 (ten a page)
        except FileNotFoundError:
            return None
        which = (os.getpid(), found.st_dev, found.st_ino)
        kept = getattr(self._kept, "reader", None)
        if kept is None or kept[0] != which:
            db = self._connect(self._mode())
            db.execute("PRAGMA query_only = ON")
            self._kept.reader = kept = (which, db)
        return kept[1]

    def _mode(self) -> str:
        """How the file is opened for reading. SQLite makes files beside it, and where it may not, it must be told that
        nobody writes: which is so where nothing waits in the log."""
        if os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK):
            return "rw"
        log = self.path.with_name(f"{self.path.name}-wal")
        return "ro" if log.exists() and log.stat().st_size else "ro&immutable=1"

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = self._version(db)
        if version > len(self.migrations):
            raise self._other_version(version)
        if version == len(self.migrations):
            return
        for statement in chain(*self.migrations[version:]):
            db.execute(statement)
        db.execute(_VERSIONS)
        db.execute("INSERT OR REPLACE INTO component VALUES (?, ?)", (self.component, len(self.migrations)))

    def _version(self, db: sqlite3.Connection) -> int:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'component'").fetchone():
            return 0
        found = db.execute(_READ_VERSION, (self.component,)).fetchone()
        version = found[0] if found else 0
        if not isinstance(version, int) or version < 0:
            raise self._damaged(f"its version of {self.component!r} is {version!r:.40}")
        return version

    def _read_version(self, db: sqlite3.Connection) -> int:
        """The same where the tables are most likely there: one question less, and a page of the browser has ten."""
        try:
            found = db.execute(_READ_VERSION, (self.component,)).fetchone()
        except sqlite3.OperationalError:  # no such table, or worse, which is then said
            return self._version(db)
        return found[0] if found and isinstance(found[0], int) and found[0] > 0 else self._version(db)

    @contextmanager
    def _connection(self, mode: str) -> Iterator[sqlite3.Connection]:
        try:
            with closing(self._connect(mode)) as db:
                yield db
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _connect(self, mode: str) -> sqlite3.Connection:
        _check_file(self.path)
        return sqlite3.connect(f"{self.path.as_uri()}?mode={mode}", uri=True, timeout=WAIT_S, isolation_level=None)

    def _unusable(self, error: sqlite3.Error) -> UserError:
        given = f"The database {self.path} cannot be used: {error}."
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            todo = "wait for the other command to end and run this one again."
        elif getattr(error, "sqlite_errorcode", 0) & 0xFF in _FORBIDDEN:  # the rest of the code says why
            todo = f"see that you may write to it and to its folder {self.path.parent}, or copy the workspace."
        else:
            todo = f"free the disk if it is full; if the file is damaged, {_MOVE_AWAY}"
        return UserError(given, "the workspace's SQLite file, writable and not locked by another writer", todo)

    def _other_row(self, complaint: Any) -> UserError:
        where = ".".join(map(str, complaint["loc"]))
        return self._damaged(f"it holds {complaint['input']!r:.40} as {where} ({complaint['msg']})")

    def _damaged(self, how: str) -> UserError:
        return UserError(f"The database {self.path} is damaged: {how}.", "rows as they were written", _MOVE_AWAY)

    def _other_version(self, version: int) -> UserError:
        known = len(self.migrations)
        older = "run the command that writes them again: it brings them up to date."
        newer = "open the workspace with the sparselex that wrote them, or a later one."
        return UserError(
            f"The tables of {self.component!r} in {self.path} have version {version}.",
            f"version {known}",
            newer if version > known else older,
        )


def integrity(path: Path) -> str:
    """What SQLite finds wrong with a database file, in words; empty if nothing is."""
    _check_file(path)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            found = [row[0] for row in db.execute("PRAGMA integrity_check(5)") if row[0] != "ok"]
            loose = [f"a row of {row[0]} belongs to nothing" for row in db.execute("PRAGMA foreign_key_check")]
    except sqlite3.Error as error:
        return str(error)
    return "; ".join([*found, *loose[:1]])


_adapter = lru_cache(TypeAdapter)
"""What makes rows into records of a kind, made once."""


def _check_file(path: Path) -> None:
    """Raise `UserError` where something lies at the path that is no file: SQLite would wait for a pipe."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no regular file.", "the workspace's SQLite file", "move it away.")


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
