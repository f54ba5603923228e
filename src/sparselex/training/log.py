"""The log of one training: lines of JSON in the stage's folder, shown to observers as they are written."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparselex.base.files import flush

LOG = "log.jsonl"

Observer = Callable[[dict[str, Any]], None]
"""Sees every line of the log."""


class TrainingLog:
    """The file `log.jsonl` in a stage's folder; of several processes only the one that `writes` does."""

    def __init__(self, folder: Path, observers: Sequence[Observer] = (), *, writes: bool = True):
        self.path, self.observers, self.writes = folder / LOG, observers, writes

    def begin(self) -> None:
        """An empty file."""
        if self.writes:
            self.path.write_text("")

    def write(self, line: dict[str, Any]) -> None:
        """Append one line, and show it to the observers."""
        if not self.writes:
            return
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for observer in self.observers:
            observer(line)

    def last(self, name: str) -> dict[str, Any] | None:
        """The last line that has the figure `name`, or None."""
        lines = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return next((line for line in reversed(list(lines)) if name in line), None)

    def cut(self, last_step: int) -> None:
        """Leave out lines of later steps: those logged after a checkpoint belong to steps that are now taken again.

        The file is replaced as a whole. Killed before that, the next start finds the old one, and writes aside anew.
        """
        if not self.writes:
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        aside = self.path.with_name(f".{LOG}.aside")
        aside.write_text("".join(line for line in whole if json.loads(line)["step"] <= last_step), encoding="utf-8")
        flush(aside)
        os.replace(aside, self.path)
