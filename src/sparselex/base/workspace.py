"""The workspace: one folder with fixed places for everything that is made."""

import re
from pathlib import Path
from typing import Any

from sparselex.base.artifacts import MANIFEST, read_json, write_json
from sparselex.base.errors import UserError

_MARK = "sparselex.json"
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Workspace:
    """A workspace folder. `create` makes one, `Workspace(path)` opens one and refuses any other folder.

    `corpus` is shared; each run (one dictionary on one hook of one model) has its folder under `runs`.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).absolute()
        if read_json(self.path / _MARK) is None:
            raise UserError(
                f"{self.path} is no sparselex workspace.",
                f"a folder that holds {_MARK}",
                "check the path, or make one with `sparselex demo WORKSPACE` or `sparselex harvest WORKSPACE`.",
            )
        self.corpus = self.path / "corpus"
        self.database = self.path / "sparselex.sqlite"
        self.report = self.path / "report.json"

    @classmethod
    def create(cls, path: str | Path) -> "Workspace":
        """Open the workspace at `path`, making it if the folder is missing or empty."""
        path = Path(path).absolute()
        if not (path / _MARK).is_file():
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise UserError(
                    f"{path} exists and is no sparselex workspace.",
                    "a new or empty folder, or a workspace",
                    "choose another folder.",
                )
            path.mkdir(parents=True, exist_ok=True)
            write_json(path / _MARK, {"workspace": 1})
        return cls(path)

    def run(self, name: str) -> Path:
        """Folder of run `name`, existing or not. Raises `UserError` for a name that is no plain word."""
        if not _RUN_NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot be the name of a run.",
                "letters, digits, '.', '_' and '-', at most 64, starting with a letter or digit",
                "choose a plainer name.",
            )
        return self.path / "runs" / name

    def runs(self) -> list[str]:
        """Names of all runs that hold at least one finished artifact, `main` first, then by name."""
        found = {path.parent.parent.name for path in self.path.glob(f"runs/*/*/{MANIFEST}")}
        return sorted(filter(_RUN_NAME.fullmatch, found), key=lambda name: (name != "main", name))

    def settings(self, run: str) -> dict[str, Any]:
        """The configuration of a run as JSON values. Raises `UserError` if there is no run of that name."""
        values = read_json(self.run(run) / "run.json")
        if values is None:
            raise UserError(
                f"{self.path} has no run {run!r}.",
                "one of the runs " + (", ".join(self.runs()) or "(none yet)"),
                "check the name, or begin with `sparselex harvest`.",
            )
        return values
