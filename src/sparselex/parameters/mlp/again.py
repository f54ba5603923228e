"""Hold the decompositions of one MLP against each other: whether another seed finds the same components."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file

from sparselex.base.artifacts import Manifest, open_artifact, verified
from sparselex.base.config import Config
from sparselex.base.figures import FIGURES, Figures
from sparselex.base.files import write_json
from sparselex.base.seeds import derive
from sparselex.base.staging import stage
from sparselex.parameters.again import FOUND_FROM, Ranked, Sides, again_figures
from sparselex.parameters.decompose import new_components
from sparselex.parameters.mlp.config import MlpConfig
from sparselex.parameters.mlp.target import MlpTarget
from sparselex.parameters.records import (
    AGAIN,
    AGAIN_FILE,
    AGAIN_FOLDER,
    FOLDER,
    KIND,
    WEIGHTS,
    FoundAgain,
    components_of,
    decompositions_in,
)


class AgainConfig(Config):
    """How two decompositions are held against each other."""

    found_from: float = FOUND_FROM
    """Cosine from which a component counts as found again."""

    seed: int = 0
    """Seed of the null."""


class _Decomposed(NamedTuple):
    """One decomposition, as it is compared."""

    name: str
    manifest: Manifest
    config: MlpConfig
    sides: Mapping[str, Sides]
    """By matrix the components that are live."""


def find_again(workspace: Path, name: str, target: MlpTarget) -> list[FoundAgain]:
    """Hold the decomposition `name` against every other of the same matrices on the same text, and each of these
    against it; what was held before is not held again.

    Args:
        workspace: folder of the workspace in which they lie.
        target: the MLP that they are of, on that text.

    Returns what came of `name`. Raises `UserError` for a decomposition that is not as it was written.
    """
    made = open_artifact(workspace / FOLDER / name, KIND)
    others = [other for other in decompositions_in(workspace) if other != name and _is_alike(workspace, other, made)]
    if not others:
        return []
    own, found = _opened(workspace, name, target), list[FoundAgain]()
    for other in others:
        there = _opened(workspace, other, target)
        found.append(_held(workspace, own, there))
        _held(workspace, there, own)
    return found


def _is_alike(workspace: Path, other: str, made: Manifest) -> bool:
    """Whether another decomposition is of the same MLP of the same model, on the same text."""
    manifest = open_artifact(workspace / FOLDER / other, KIND)
    same = all(manifest.inputs.get(role) == made.inputs[role] for role in ("model", "corpus"))
    return same and manifest.config.get("layer") == made.config["layer"]


def _opened(workspace: Path, name: str, target: MlpTarget) -> _Decomposed:
    folder = workspace / FOLDER / name
    manifest, table = open_artifact(folder, KIND), components_of(folder).matrices
    config, tensors = MlpConfig.parse(manifest.config, str(folder)), load_file(verified(folder, WEIGHTS, manifest))
    live = {matrix: torch.tensor([one.live for one in those]) for matrix, those in table.items()}
    # As `decompose` begins: the same draws give the same components.
    generator = torch.Generator().manual_seed(derive(config.spd.seed, "components"))
    inputs = partial(target.draw, target.corpus.row_ranges["train"])
    begun = new_components(target, inputs, config.spd, generator)
    sides = {}
    for matrix, those in live.items():
        ended = Ranked(tensors[f"{matrix}.U"], tensors[f"{matrix}.V"])
        sides[matrix] = Sides(ended.at(those), Ranked(begun[matrix].U.detach(), begun[matrix].V.detach()).at(those))
    return _Decomposed(name, manifest, config, sides)


def _held(workspace: Path, own: _Decomposed, other: _Decomposed) -> FoundAgain:
    config, to = AgainConfig(), workspace / AGAIN_FOLDER / own.name / other.name
    generator = torch.Generator().manual_seed(derive(config.seed, "found again"))
    with stage(to, AGAIN, config, {"own": own.manifest.id, "other": other.manifest.id}) as staging:
        if staging.made:
            return FoundAgain.from_file(verified(to, AGAIN_FILE, staging.made))
        figures = [
            figure
            for matrix, those in own.sides.items()
            for figure in again_figures(matrix, those, other.sides[matrix], generator)
        ]
        found = FoundAgain(name=own.name, other=other.name, differs=_differing(own, other), figures=figures)
        write_json(staging.folder / AGAIN_FILE, found.to_json())
        Figures(figures=figures).write(staging.folder)
        staging.finish(files=dict.fromkeys([AGAIN_FILE, FIGURES]))
    return found


def _differing(own: _Decomposed, other: _Decomposed) -> str:
    """The settings of training that the other has otherwise, in words."""
    mine, theirs = own.config.spd.to_json(), other.config.spd.to_json()
    said = [f"{key.replace('_', ' ')} {theirs[key]}" for key in mine if mine[key] != theirs[key]]
    return ", ".join(said) or "the same settings"
