"""Opened artifacts of a workspace, shared by all pages and opened again when a stage has replaced them."""

from pathlib import Path

from sparselex.base.artifacts import MANIFEST, read_json
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.text.corpus import TokenCorpus


class Reading:
    """The read side of one workspace."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.explanations = ExplanationStore(workspace.database)
        self._indexes: dict[str, tuple[tuple[int, int], FeatureIndex]] = {}

    def index(self, run: str) -> FeatureIndex:
        """The feature index of a run. Raises `UserError` if it has none."""
        path = self.workspace.run(run) / "index"
        stamp = (_stamp(path), _stamp(self.workspace.corpus))
        if run not in self._indexes or self._indexes[run][0] != stamp:
            if run not in self.workspace.runs():
                raise UserError(f"There is no run {run!r}.", ", ".join(self.workspace.runs()) or "a run", "check the name.")
            self._indexes[run] = (stamp, FeatureIndex(path, TokenCorpus(self.workspace.corpus)))
        return self._indexes[run][1]

    def manifest(self, run: str, kind: str) -> dict | None:
        """The manifest of one artifact of a run as JSON, or None."""
        return read_json(self.workspace.run(run) / kind / MANIFEST)


def _stamp(path: Path) -> int:
    manifest = path / MANIFEST
    return manifest.stat().st_mtime_ns if manifest.exists() else 0
