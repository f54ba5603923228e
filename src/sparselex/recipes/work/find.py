"""Look for the features of a run that carry a concept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparselex.atlas.proxies.config import HowMeasured
from sparselex.atlas.proxies.make import write_concept
from sparselex.base.workspace import Workspace
from sparselex.recipes.run import Run
from sparselex.recipes.work.proxies import beside_of


def find_run(
    workspace: Workspace, name: str, called: str, rule: Any, how: HowMeasured, to: Path, inputs: Mapping[str, str]
) -> None:
    """What is found, in the folder `to`."""
    run = Run.open(workspace, name)
    index = run.index
    write_concept(index, called, rule, how, to, inputs, beside_of(run, index, how))
