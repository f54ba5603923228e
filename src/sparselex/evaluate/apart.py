"""Figures of a run that lie outside of its folder: those of the pair that its dictionary came of, and of decompositions
of its model's MLP or of whose components its latents are. No tensors here."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sparselex.base.artifacts import Manifest, read_manifest
from sparselex.base.figures import Figure, Figures
from sparselex.base.workspace import Workspace
from sparselex.evaluate.pairs.records import CARD, PAIR, PENALISED, pair_card, pairs_of
from sparselex.evaluate.pairs.records import FOLDER as PAIRS
from sparselex.parameters.records import (
    AGAIN_FOLDER,
    COMPONENTS_OF,
    again_of,
    decomposition_of,
    decompositions_of,
    default_name,
)
from sparselex.parameters.records import FOLDER as DECOMPOSITIONS

_OF_MODEL = ("model", "corpus")
"""Inputs that a decomposition has in common with the run of whose model it is."""


def artifacts_apart(workspace: Workspace, run: str) -> dict[str, Path]:
    """The folders of those artifacts, of whatever they were made, by the beginning of their figures' names, such as
    `pairs/main-jacobian`.

    Runs whose types and sizes a pair took have other dictionaries than the pair, and no part in its figures. Raises
    `UserError` for a record that is not as it was written.
    """
    pairs = [name for name in pairs_of(workspace, run) if run in pair_card(workspace, name).runs]
    found = {f"{PAIRS}/{name}": workspace.path / PAIRS / name / CARD for name in pairs}
    for name in decompositions_of(workspace, run):
        found[f"{DECOMPOSITIONS}/{name}"] = workspace.path / DECOMPOSITIONS / name
        for other in again_of(workspace.path, name):
            found[f"{DECOMPOSITIONS}/{name}/again/{other}"] = workspace.path / AGAIN_FOLDER / name / other
    return found


def figures_apart(workspace: Workspace, run: str) -> tuple[dict[str, Figures], dict[str, str]]:
    """Their figures under names that begin with the artifact's, each with its own controls; and the artifacts that are
    left out, with the reasons. Raises like `artifacts_apart`."""
    artifacts, found, stale = workspace.artifacts(run), dict[str, Figures](), dict[str, str]()
    for name, folder in artifacts_apart(workspace, run).items():
        why = _why_of_pair if name.startswith(f"{PAIRS}/") else _why_of_decomposition
        made = "/".join(name.split("/")[:2])
        if said := why(workspace, run, made.partition("/")[2], artifacts):
            stale[made] = said
        else:
            found[name] = Figures(figures=_named(name, _of_run(workspace, run, name, Figures.read(folder).figures)))
    return found, stale


def is_apart(figure: str) -> bool:
    """Whether a figure of that name lies outside of its run's folder, and brings its own controls."""
    return figure.startswith((f"{PAIRS}/", f"{DECOMPOSITIONS}/"))


def parted(figures: Sequence[Figure]) -> tuple[list[Figure], dict[str, list[Figure]]]:
    """The figures of a run's own folder, and the others by the artifact that they are of."""
    own, found = [], dict[str, list[Figure]]()
    for figure in figures:
        if is_apart(figure.name):
            found.setdefault("/".join(figure.name.split("/")[:2]), []).append(figure)
        else:
            own.append(figure)
    return own, found


def control_names(figures: Sequence[Figure]) -> list[str]:
    """What the controls that figures bring are called, in their order."""
    return list(dict.fromkeys(name for figure in figures for name in figure.controls))


def _named(name: str, figures: Sequence[Figure]) -> list[Figure]:
    """Figures under the artifact's name in the place of their kind's."""
    return [one.model_copy(update={"name": f"{name}/{one.name.partition('/')[2]}"}) for one in figures]


def _of_run(workspace: Workspace, run: str, name: str, figures: Sequence[Figure]) -> list[Figure]:
    """Those that speak of a run: of components of one matrix, not those of the others."""
    if not name.startswith(f"{DECOMPOSITIONS}/"):
        return list(figures)
    matrices = decomposition_of(workspace.path / "/".join(name.split("/")[:2])).matrices
    others = [one.name for one in matrices if one.run != run] if run in [one.run for one in matrices] else []
    return [one for one in figures if one.name.split("/")[1] not in others]


def _why_of_pair(workspace: Workspace, run: str, name: str, artifacts: Mapping[str, Manifest]) -> str:
    """Why a pair is not of the dictionary that the run has now; empty if it is."""
    measured = read_manifest(workspace.path / PAIRS / name / CARD).inputs.get(PENALISED)
    made = artifacts.get("dictionary")
    told = made.config.get(PAIR) if made else None
    if isinstance(told, dict) and told.get("id") == measured:
        return ""
    parents = pair_card(workspace, name).parents
    return (
        f"{'of another dictionary than the run has now' if made else 'its dictionary is gone'}, and `sparselex pair "
        f"--run {parents[0]} --into {parents[1]}` trains it again"
    )


def _why_of_decomposition(workspace: Workspace, run: str, name: str, artifacts: Mapping[str, Manifest]) -> str:
    """Why a decomposition is not of the model and the text that the run has now, or its latents not its components;
    empty if they are."""
    folder = workspace.path / DECOMPOSITIONS / name
    found, manifest, made = decomposition_of(folder), read_manifest(folder), artifacts.get("dictionary")
    called = "" if name == default_name(found.run, found.layer or 0) else f" --name {name}"
    mended = f"`sparselex decompose --run {found.run} --layer {found.layer}{called}"
    if run == found.run:
        now = made.inputs if made else {}
        other = [role for role in _OF_MODEL if now.get(role, manifest.inputs.get(role)) != manifest.inputs.get(role)]
        return (
            f"of another {' and '.join(other)} than the run has now, and {mended} --replace` mends it" if other else ""
        )
    told = made.config.get(COMPONENTS_OF) if made else None
    if isinstance(told, dict) and told.get("id") == manifest.id:
        return ""
    return f"of other components than the run has now, and {mended}` makes these again"
