"""The workspace's database: versions, migrations, readers that make nothing, errors that say what to do."""

import sqlite3
import threading

import pytest

from sparselex.base import database
from sparselex.base.config import Config
from sparselex.base.database import Database
from sparselex.base.errors import UserError

FIRST = ("CREATE TABLE note (text TEXT)",)
SECOND = ("ALTER TABLE note ADD COLUMN author TEXT", "UPDATE note SET author = 'unknown'")
QUERY = "SELECT * FROM note"


def write(db: Database, *values: str) -> None:
    with db.writing() as connection:
        connection.execute(f"INSERT INTO note VALUES ({', '.join('?' * len(values))})", values)


def test_reading_makes_nothing(tmp_path):
    assert Database(tmp_path / "w.sqlite", "notes", [FIRST]).rows(QUERY) == []
    assert not list(tmp_path.iterdir())
    Database(tmp_path / "w.sqlite", "notes", [FIRST]).update()
    assert Database(tmp_path / "w.sqlite", "requests", [("CREATE TABLE request (text TEXT)",)]).rows("nonsense") == []


def test_migrations_run_once_and_keep_what_is_there(tmp_path):
    path = tmp_path / "w.sqlite"
    write(Database(path, "notes", [FIRST]), "old")
    newer = Database(path, "notes", [FIRST, SECOND])
    with pytest.raises(UserError, match=r"'notes' in .* have version 1(?s:.*)version 2(?s:.*)run the command"):
        newer.rows(QUERY)
    newer.update()
    write(newer, "new", "me")
    assert newer.rows(QUERY) == [("old", "unknown"), ("new", "me")]
    for use in (lambda db: db.rows(QUERY), lambda db: db.update()):
        with pytest.raises(UserError, match=r"have version 2(?s:.*)version 1(?s:.*)a later one"):
            use(Database(path, "notes", [FIRST]))


def test_up_to_date_tables_are_left_alone(tmp_path):
    db = Database(tmp_path / "w.sqlite", "notes", [FIRST])
    db.update()
    before = db.path.stat().st_mtime_ns, db.path.read_bytes()
    with sqlite3.connect(db.path) as writer:
        writer.execute("BEGIN IMMEDIATE")
        db.update()  # waits for nobody
    writer.close()
    assert (db.path.stat().st_mtime_ns, db.path.read_bytes()) == before


def test_components_keep_their_own_versions(tmp_path):
    path = tmp_path / "w.sqlite"
    write(Database(path, "notes", [FIRST, SECOND]), "a", "b")
    other = Database(path, "requests", [("CREATE TABLE request (text TEXT)",)])
    other.update()
    assert other.rows("SELECT * FROM component ORDER BY name") == [("notes", 2), ("requests", 1)]


def test_what_fails_leaves_no_trace(tmp_path):
    db = Database(tmp_path / "w.sqlite", "notes", [FIRST])
    with pytest.raises(KeyboardInterrupt), db.writing() as connection:
        connection.execute("INSERT INTO note VALUES ('half')")
        raise KeyboardInterrupt
    assert db.rows("SELECT * FROM component") == []
    write(db, "whole")
    with pytest.raises(UserError, match="cannot be used"):
        Database(tmp_path / "w.sqlite", "notes", [FIRST, ("ALTER TABLE note ADD COLUMN x", "broken")]).update()
    assert db.rows(QUERY) == [("whole",)]


def test_readers_see_the_last_whole_state_while_one_writes(tmp_path):
    db = Database(tmp_path / "w.sqlite", "notes", [FIRST])
    write(db, "first")
    with db.writing() as connection:
        connection.execute("INSERT INTO note VALUES ('second')")
        assert db.rows(QUERY) == [("first",)]
    assert db.rows(QUERY) == [("first",), ("second",)]


def test_writers_wait_for_one_another(tmp_path):
    db = Database(tmp_path / "w.sqlite", "notes", [FIRST])
    db.update()
    threads = [threading.Thread(target=write, args=(db, str(number))) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(db.rows(QUERY)) == [(str(number),) for number in range(8)]


def test_a_reader_cannot_write(tmp_path):
    db = Database(tmp_path / "w.sqlite", "notes", [FIRST])
    db.update()
    with pytest.raises(UserError, match=r"readonly(?s:.*)see that you may write to it and to its folder"):
        db.rows("INSERT INTO note VALUES ('x')")


class Pair(Config):
    """A word and a number."""

    word: str
    number: float | None


def test_rows_become_records_and_no_others_do(tmp_path):
    db = Database(tmp_path / "w.sqlite", "notes", [("CREATE TABLE note (word TEXT, number REAL)",)])
    write(db, "a", 1)
    assert db.records(Pair, QUERY) == [Pair(word="a", number=1.0)]
    assert db.records(tuple[str, float | None], QUERY) == [("a", 1.0)]
    write(db, "b", "x")
    for kind in (Pair, tuple[str, float | None]):
        with pytest.raises(UserError, match=r"w\.sqlite is damaged: it holds 'x' as(?s:.*)move it away"):
            db.records(kind, QUERY)


@pytest.mark.parametrize("version", ["x", b"\xff", -1, 0.5])
def test_a_version_that_is_none(tmp_path, version):
    db = Database(tmp_path / "w.sqlite", "notes", [FIRST])
    with db.writing() as connection:
        connection.execute("UPDATE component SET version = ?", (version,))
    for use in (lambda: db.rows(QUERY), db.update):
        with pytest.raises(UserError, match="is damaged: its version"):
            use()


def test_locked_and_damaged_files_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "WAIT_S", 0.05)
    db = Database(tmp_path / "w.sqlite", "notes", [FIRST])
    db.update()
    with sqlite3.connect(db.path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match=r"is locked(?s:.*)wait for the other command"):
            write(db, "x")
    other.close()
    (tmp_path / "damaged.sqlite").write_bytes(b"no database at all" * 100)
    for use in (lambda damaged: damaged.rows(QUERY), lambda damaged: damaged.update()):
        with pytest.raises(UserError, match=r"not a database(?s:.*)move it away"):
            use(Database(tmp_path / "damaged.sqlite", "notes", [FIRST]))
