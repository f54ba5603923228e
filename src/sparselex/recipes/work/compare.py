"""Compare the dictionaries of two runs."""

from pathlib import Path

import numpy as np

from sparselex.atlas.compare.build import Compares, compare
from sparselex.atlas.compare.records import Compared
from sparselex.atlas.config import CompareConfig
from sparselex.base.workspace import Workspace
from sparselex.recipes.run import Run


def compare_runs(
    workspace: Workspace, run: str, other: str, config: CompareConfig, to: Path, inputs: dict[str, str]
) -> Compared:
    """Open both runs and compare them. Raises like `atlas.compare.build.compare`."""
    first, second = Run.open(workspace, run), Run.open(workspace, other)
    shared = _space(first) == _space(second)
    return compare(_side(first, shared), _side(second, shared), config, to, inputs=inputs)


def _space(run: Run) -> tuple[str, tuple[str, ...], int]:
    """The model and the places that a run's directions lie in, and their width: models of one id are one model."""
    index = run.index
    return index.manifest.inputs["model"], tuple(map(str, index.sites.written)), run.dictionary.d_out


def _side(run: Run, shared: bool) -> Compares:
    dictionary = run.dictionary
    rows = dictionary.directions().cpu().float().numpy() if shared else None
    return Compares(run.name, run.index, None if rows is None else np.ascontiguousarray(rows), dictionary.signed)
