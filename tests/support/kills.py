"""Stops a command at every call that changes files: `python -m tests.support.kills kill|full EVERY VERB ...`.

Each verb of a small run is taken once undisturbed, and then once for each such call (or one in EVERY), in a copy of
what it found: there it is killed, or the disk is full from there on; then it is given again, and what it leaves is held
against the undisturbed run. An interpreter that has everything loaded is forked for each; it computes with one thread,
since threads do not survive a fork. Prints a JSON object: how many calls each verb makes, and what went wrong where.
"""

import builtins
import contextlib
import errno
import functools
import gc
import importlib
import io
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sparselex.base import registry
from sparselex.cli.main import main
from sparselex.lm.config import ModelConfig
from sparselex.lm.load import load_model
from sparselex.recipes import run as runs
from tests.support.contents import contents
from tests.support.small import write_documents
from tests.support.small_encoder import write_encoder

TEXT, SMALL = ["--text", "{text}", "--context", "32"], ["--expansion", "0.0625", "--tokens", "3000"]
ROWS = ["--n-rows", "8", "--moment-rows", "8"]
CARD = ["--parts", "sensitivity,tokens", "--n-rows", "24", "--sample-rows", "8", "--latents", "8", "--n-null", "64"]
JUDGED = [*TEXT, "--shares", "0.5,0.1,0.4"]
DOOMED = ["--n-seeds", "1", "--n-steps", "10", "--net-steps", "20", "--n-held-out", "128", "--n-draws", "20"]


class Verb(NamedTuple):
    """A command that is killed, and the verb on whose outcome it stands."""

    arguments: Sequence[str]
    after: str = ""


VERBS = {
    "harvest": Verb(["harvest", "{w}", *TEXT, "--shard-rows", "32"]),
    "train": Verb(["train", "{w}", "--k", "4", *SMALL], after="harvest"),
    "index": Verb(["index", "{w}"], after="train"),
    "explain": Verb(["explain", "{w}"], after="index"),
    "evaluate": Verb(["evaluate", "{w}", "--controls", "pca", *ROWS], after="explain"),
    "effects": Verb(["effects", "{w}", "--latents", "8", "--n-rows", "8", "--batch-rows", "4"], after="index"),
    "embed": Verb(["embed", "{w}", "--encoder", "{w}/../encoder"], after="explain"),
    "report": Verb(["report", "{w}"], after="evaluate"),
    "sweep": Verb(
        ["sweep", "{w}", "--kind", "topk", "--k", "2", *SMALL, "--rows", "8", "--moment-rows", "8"], after="train"
    ),
    "use": Verb(["use", "{w}", "topk-x0.0625-k2-s0", "--as", "other"], after="sweep"),
    "export": Verb(["export", "{w}", "{w}/exported"], after="train"),
    "harvest two": Verb(["harvest", "{w}", *TEXT, "--shard-rows", "32", "--second-model", "embedded-b"]),
    "train two": Verb(["train", "{w}", "--kind", "relu", "--l1", "2", *SMALL], after="harvest two"),
    "diff": Verb(["diff", "{w}", "--n-rows", "8", "--least-active", "1"], after="train two"),
    "map": Verb(["map", "{w}", "--layout", "pca"], after="index"),
    "manifolds": Verb(
        ["manifolds", "{w}", "--least-cosine", "0", "--least-points", "50", "--most-points", "50", "--n-random", "1"],
        after="index",
    ),
    "analyse automata": Verb(["analyse", "automata", "{w}", "--least-pairs", "5", "--n-shuffles", "1"], after="index"),
    "export indexed": Verb(["export", "{w}", "{w}/exported"], after="index"),
    "import beside": Verb(["import", "{w}", "{w}/exported", "--run", "other", *TEXT], after="export indexed"),
    "index beside": Verb(["index", "{w}", "--run", "other"], after="import beside"),
    "compare": Verb(["compare", "{w}", "--with", "other", "--least-active", "5"], after="index beside"),
    "import": Verb(["import", "{w}", "{w}/exported", "--run", "other", *TEXT], after="export"),
    "harvest before": Verb(["harvest", "{w}", *JUDGED, "--hook", "blocks.0.hook_mlp_in"]),
    "train before": Verb(["train", "{w}", "--kind", "topk", "--k", "4", *SMALL], after="harvest before"),
    "model-features": Verb(["evaluate", "model-features", "{w}", *CARD], after="train before"),
    "doomed": Verb(["recipe", "doomed", "{w}", "--examples", "unused,scaffolding", *DOOMED]),
    "decompose toy": Verb(["decompose", "{w}", "--toy", "tms-5-2", "--n-steps", "2"]),
    "decompose": Verb(
        ["decompose", "{w}", "--quick", "--n-components", "8", "--n-steps", "2", "--batch-size", "32"],
        after="train before",
    ),
    "harvest behind": Verb(
        ["harvest", "{w}", "--run", "behind", *JUDGED, "--hook", "blocks.0.hook_mlp_out"], after="train before"
    ),
    "train behind": Verb(
        ["train", "{w}", "--run", "behind", "--kind", "topk", "--k", "4", *SMALL], after="harvest behind"
    ),
    "pair": Verb(["pair", "{w}", "--into", "behind", "--tokens", "3000", "--rows", "24"], after="train behind"),
    "harvest through": Verb(
        ["harvest", "{w}", *JUDGED, "--hook", "blocks.0.hook_mlp_in", "--target", "blocks.0.hook_mlp_out"]
    ),
    "train through": Verb(["train", "{w}", "--k", "4", *SMALL], after="harvest through"),
    "graph": Verb(["graph", "{w}", "--prompt", "def value(self):", "--n-checked", "2"], after="train through"),
    "train influence": Verb(
        ["train", "{w}", "--run", "behind", "--k", "4", *SMALL, "--finish", "influence"], after="harvest behind"
    ),
    "train attribution": Verb(
        ["train", "{w}", "--run", "behind", "--k", "4", *SMALL, "--finish", "attribution"], after="harvest behind"
    ),
}

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
"""Audit events of calls that change files; those that open one for writing are wrapped."""


class Stop(NamedTuple):
    """Where a command is stopped."""

    how: str
    """kill, or full."""

    at: int
    """The number of the call."""


def count_calls(folder: Path, stop: Stop | None) -> Callable[[], int]:
    """From now on count the calls of this process that change files under `folder`, and stop at one of them; returns
    what gives the count."""
    n, root = 0, str(folder)
    opened, connect = io.open, sqlite3.connect

    def call(full: Exception | None = None) -> None:
        nonlocal n
        n += 1
        if stop and stop.how == "kill" and n == stop.at:
            os.kill(os.getpid(), signal.SIGKILL)
        if stop and stop.how == "full" and n >= stop.at and full:
            raise full

    def is_ours(path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(root)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        # A call within an open folder (what `rmtree` makes) has a name alone and the folder's handle.
        if event in CHANGES and (is_ours(given[0]) or (isinstance(given[-1], int) and given[-1] >= 0)):
            call()

    def open_(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        writes = is_ours(file) and not set(mode) <= set("rbt")
        if writes:
            call(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(file)))
        found = opened(file, mode, *more, **options)
        if writes:
            call()
        return found

    def fsync(handle: int) -> None:
        # What the process wrote outlives its kill without the disk having it, and a fsync takes some 3 ms.
        call(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    class Connection(sqlite3.Connection):
        def __init__(self, *given: Any, **options: Any):
            super().__init__(*given, **options)
            super().execute("PRAGMA synchronous = OFF")

        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if not statement.startswith(("SELECT", "PRAGMA query")):
                call(None if statement == "ROLLBACK" else sqlite3.OperationalError("database or disk is full"))
            if statement.startswith("PRAGMA synchronous"):
                statement = "PRAGMA synchronous"
            return super().execute(statement, *values)

    sys.addaudithook(hook)
    builtins.open = io.open = open_  # type: ignore[assignment]
    os.fsync = fsync  # type: ignore[assignment]
    sqlite3.connect = functools.partial(connect, factory=Connection)  # type: ignore[assignment]
    return lambda: n


class Ended(NamedTuple):
    """How a forked command ended."""

    status: int
    """As `os.waitpid` gives it."""

    n_calls: int
    """Calls that changed files; 0 where it was killed."""

    said: str
    """What it printed to its error stream."""

    modules: Sequence[str] = ()
    """What it had imported; empty where it was killed."""


def take(arguments: Sequence[str], folder: Path, notes: Path, stop: Stop | None = None) -> Ended:
    """Run `sparselex` with these arguments in a fork of this process."""
    for path in (notes, said := notes.with_suffix(".err")):
        path.unlink(missing_ok=True)
    # Else the fork's collector walks over all that is loaded, and copies the memory that it lies in: 0.4 s each time.
    gc.freeze()
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        n_calls, *modules = notes.read_text().split() if notes.exists() else "0"
        return Ended(status, int(n_calls), said.read_text(), modules)
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
        n_calls = count_calls(folder, stop)
        try:
            main(list(arguments))
            code = 0
        except SystemExit as exit:
            code = int(exit.code or 0)
        notes.write_text(" ".join([str(n_calls()), *sys.modules]))
    finally:
        os._exit(code)


def load(modules: Sequence[str]) -> None:
    """Import here what a fork had to import: the next ones have it, and half of a verb of seconds is imports."""
    for name in modules:
        if name not in sys.modules:
            with contextlib.suppress(ImportError):  # some are made while others are imported
                importlib.import_module(name)


def state(folder: Path) -> dict[str, Any]:
    """All that is to be the same after a kill: bytes, leftovers, and the rows of the database."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    databases = {path.name: list(sqlite3.connect(path).iterdump()) for path in sorted(folder.glob("*.sqlite"))}
    return {
        "names": [name for name in names if not name.endswith(("-wal", "-shm"))],
        "files": contents(folder),
        "databases": databases,
    }


def difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """In words; empty if there is none."""
    names = sorted({*found["names"]} ^ {*expected["names"]})
    if names:
        return f"left over or missing: {names[:5]}"
    for kind in ("files", "databases"):
        changed = [name for name, value in expected[kind].items() if found[kind].get(name) != value]
        if changed:
            return f"{kind} differ: {changed[:5]}"
    return ""


class Killing:
    """The verbs in one folder: what each leaves undisturbed, and what it leaves when it is killed."""

    def __init__(self, root: Path):
        # Always the same path: it may be written into files.
        self.work, self.root, self.text = root / "w", root, write_documents(root / "text", 16)
        write_encoder(root / "encoder")
        self._states: dict[str, dict[str, Any]] = {}

    def undisturbed(self, name: str) -> dict[str, Any]:
        """What a verb leaves."""
        if name not in self._states:
            self._begin(name)
            ended = self._take(name)
            assert ended.status == 0, ended.said
            load(ended.modules)
            shutil.copytree(self.work, self._kept(name))
            self._states[name] = state(self.work)
        return self._states[name]

    def calls(self, name: str) -> int:
        """Calls by which a verb changes files."""
        self.undisturbed(name)
        self._begin(name)
        ended = self._take(name)
        assert ended.status == 0, ended.said
        return ended.n_calls

    def fault(self, name: str, stop: Stop) -> str:
        """What is wrong after such a stop and a second start; empty if nothing is."""
        expected = self.undisturbed(name)
        self._begin(name)
        stopped = self._take(name, stop)
        if stop.how == "kill" and stopped.status != signal.SIGKILL:
            return f"was not killed, but ended with {stopped.status}: {stopped.said[-500:]}"
        if stop.how == "full" and not _is_told(stopped):
            return f"ended with {stopped.status}: {stopped.said[-800:]}"
        again = stopped if stopped.status == 0 else self._take(name)
        return f"cannot go on: {again.said[-500:]}" if again.status else difference(state(self.work), expected)

    def _begin(self, name: str) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        if before := VERBS[name].after:
            self.undisturbed(before)
            shutil.rmtree(self.work, ignore_errors=True)
            shutil.copytree(self._kept(before), self.work)

    def _take(self, name: str, stop: Stop | None = None) -> Ended:
        arguments = [argument.format(w=self.work, text=self.text) for argument in VERBS[name].arguments]
        return take(arguments, self.work, self.root / "calls", stop)

    def _kept(self, name: str) -> Path:
        return self.root / "kept" / name


def _is_told(ended: Ended) -> bool:
    """Whether a full disk was one message, or did no harm (what was left to write was a convenience)."""
    code = os.waitstatus_to_exitcode(ended.status)
    return code == 0 or (code == 2 and ended.said.count("error:") == 1 and "to do:" in ended.said)


def run(how: str, every: int, names: Sequence[str]) -> dict[str, Any]:
    """Stop the verbs named at one in `every` calls."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        killing = Killing(Path(folder))
        for name in names:
            n_calls = killing.calls(name)
            stops = [Stop(how, at) for at in range(1, n_calls + 1, every)]
            faults = {stop.at: fault for stop in stops if (fault := killing.fault(name, stop))}
            found[name] = {"calls": n_calls, "faults": faults}
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    models = functools.cache(lambda name: load_model(ModelConfig(name=name)))
    models("embedded"), models("embedded-b")
    # What is installed does not change meanwhile; looking through it was a third of a verb of seconds.
    registry.entry_points = functools.cache(registry.entry_points)  # type: ignore[attr-defined]
    runs.load_model = lambda config: models(config.name)  # type: ignore[attr-defined]
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), sys.argv[3:]), indent=1))
