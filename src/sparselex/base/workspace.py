"""The workspace: one folder with fixed places for everything that is made."""

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparselex.base.artifacts import MANIFEST, Manifest, read_manifest
from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint, is_aside, make_folder, read_json, write_file, write_json
from sparselex.base.runs import RUN_NAME, RunCard

LAYOUT = 2
"""Version of the layout; raised when older readers could misread what we write."""

MAIN = "main"
"""The run that is meant where none is named."""

MARK = "sparselex.json"
"""File by which a folder is known for a workspace."""

_RUN = "run.json"
_RUN_NAME = re.compile(RUN_NAME)


class Workspace:
    """A workspace folder. `create` makes one, `Workspace(path)` opens one and refuses any other folder.

    Token corpora lie under `corpora`, shared by the runs that read the same text; each run (one dictionary at one place
    of one model) has its folder under `runs`. Raises `UserError` for a folder that is no workspace, or one of another
    layout.
    """

    def __init__(self, path: str | Path):
        self.path = _whole(path)
        mark = read_json(self.path / MARK)
        if mark is None:
            raise UserError(
                f"{self.path} is no sparselex workspace.",
                f"a folder that holds {MARK}",
                "check the path, or make one with `sparselex demo WORKSPACE` or `sparselex harvest WORKSPACE`.",
            )
        if (layout := mark.get("workspace") if isinstance(mark, dict) else mark) != LAYOUT:
            raise _other_layout(self.path, layout)
        self.corpora = self.path / "corpora"
        self.database = self.path / "sparselex.sqlite"
        self.report = self.path / "report.json"

    @classmethod
    def create(cls, path: str | Path) -> "Workspace":
        """Open the workspace at `path`, making it if the folder is missing or empty."""
        path = _whole(path)
        if not (path / MARK).is_file():
            if os.path.lexists(path) and not (path.is_dir() and all(map(is_aside, path.iterdir()))):
                raise UserError(
                    f"{path} exists and is no sparselex workspace.",
                    "a new or empty folder, or a workspace",
                    "choose another folder.",
                )
            make_folder(path)
            write_json(path / MARK, {"workspace": LAYOUT})
        return cls(path)

    @property
    def typed(self) -> str:
        """Its path as it can be typed into a shell, from any folder: for the commands in messages."""
        return shlex.quote(str(self.path))

    def run(self, name: str) -> Path:
        """Folder of run `name`, existing or not. Raises `UserError` for a name that is no plain word."""
        if not _RUN_NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot be the name of a run.",
                "letters, digits, '.', '_' and '-', at most 64, starting with a letter or digit",
                "choose a plainer name.",
            )
        return self.path / "runs" / name

    def report_of(self, run: str) -> Path:
        """Where the report of a run is kept; that of the run meant where none is named is also at `report`."""
        return self.run(run) / "report.json"

    def runs(self) -> list[str]:
        """Names of all runs that hold at least one finished artifact, `main` first, then by name."""
        return self._in_order({name for name in _inside(f"{self.path}/runs") if self.has_run(name)})

    def has_run(self, name: str) -> bool:
        """Whether `runs` names it: told without looking at the others."""
        if not _RUN_NAME.fullmatch(name):
            return False
        # As text: a page asks for some thirty files, and each as a `Path` takes five times as long.
        folder = f"{self.path}/runs/{name}"
        return any(os.path.isfile(f"{folder}/{one}/{MANIFEST}") for one in _inside(folder))  # noqa: PTH113

    def begun(self) -> list[str]:
        """Names of all runs that were begun, with or without a finished artifact, in the same order."""
        return self._in_order({path.parent.name for path in self.path.glob(f"runs/*/{_RUN}")} | set(self.runs()))

    def card_file(self, run: str) -> Path:
        """Where the card of a run is kept; it changes when that file does."""
        return self.run(run) / _RUN

    def card(self, run: str) -> RunCard:
        """What a run says of itself. Raises `UserError` if there is no run of that name."""
        return RunCard.parse(self._kept(run).get("card"), str(self.run(run) / _RUN))

    def settings(self, run: str) -> dict[str, Any]:
        """The configuration of a run as JSON values. Raises `UserError` if there is no run of that name."""
        return self._kept(run).get("config") or {}

    def keep(self, card: RunCard, config: dict[str, Any], folder: Path | None = None) -> None:
        """Write what a run is and how it is configured (JSON values) into its folder, or into the one that is going to
        be that."""
        folder = folder or self.run(card.name)
        make_folder(folder)
        kept = {"card": card.to_json(), "config": config}
        write_json(folder / _RUN, kept | {"check": fingerprint(kept)})

    @contextmanager
    def as_it_was_if_refused(self, run: str) -> Iterator[None]:
        """Put back what a run was and how it was configured where what is done meanwhile ends in a `UserError`."""
        path = self.run(run) / _RUN
        kept = path.read_bytes() if path.is_file() else None
        try:
            yield
        except UserError:
            if kept is not None and path.read_bytes() != kept:
                write_file(path, kept)
            raise

    def corpus_of(self, run: str) -> Path:
        """Folder of the token corpus that a run reads. Raises `UserError` if the run is unknown or has none yet."""
        corpus = self.card(run).corpus
        if corpus is None:
            raise UserError(
                f"Run {run!r} has read no text yet.",
                "a run whose first stage has been through",
                f"run `sparselex train {self.typed} --run {run}`.",
            )
        return self.corpora / corpus

    def has(self, run: str, name: str) -> bool:
        """Whether a run has a finished artifact in the folder of that name."""
        return os.path.isfile(f"{self.run(run)}/{name}/{MANIFEST}")  # noqa: PTH113

    def artifacts(self, run: str) -> dict[str, Manifest]:
        """The manifests of a run's finished artifacts by the name of their folder, in the order of their names."""
        paths = sorted(self.run(run).glob(f"*/{MANIFEST}"))
        return {path.parent.name: read_manifest(path.parent) for path in paths}

    def _kept(self, run: str) -> dict[str, Any]:
        path = self.run(run) / _RUN
        if not path.is_file():
            raise UserError(
                f"{self.path} has no run {run!r}.",
                "one of the runs " + (", ".join(self.begun()) or "(none yet)"),
                "check the name, or begin with `sparselex harvest`.",
            )
        found = read_json(path)
        values: dict[str, Any] = dict(found) if isinstance(found, dict) else {}
        written = values.pop("check", None) if values else ""
        if written not in (None, fingerprint(values)):  # earlier versions wrote none
            raise UserError(
                f"{path} is not as it was written.",
                "the run's configuration, unchanged",
                "restore it, or delete it and begin the run again with the options that it had; what it made is kept "
                "where they are the same.",
            )
        return values

    def _in_order(self, names: set[str]) -> list[str]:
        return sorted(filter(_RUN_NAME.fullmatch, names), key=lambda name: (name != MAIN, name))


def _inside(folder: str) -> list[str]:
    """Names of what lies in a folder; nothing in one that is none, or cannot be read."""
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []


def _whole(path: str | Path) -> Path:
    """The whole path of a workspace. Raises `UserError` for one that is no UTF-8: readers of tensors take no other."""
    whole = Path(path).absolute()
    try:
        str(whole).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"The path {str(whole)!r} is no UTF-8.", "a folder with a name in UTF-8", "rename it."
        ) from None
    return whole


def _other_layout(path: Path, layout: Any) -> UserError:
    old = shlex.quote(f"{path}/runs/main/dictionary")
    return UserError(
        f"The workspace {path} has layout {layout!r}, and this version of sparselex reads layout {LAYOUT}.",
        f"a workspace of layout {LAYOUT}",
        "open it with the version that wrote it, or begin a new workspace; dictionaries trained in the old one come "
        f"over with `sparselex import NEW {old}` and the old run's --model, --text and --hook.",
    )
