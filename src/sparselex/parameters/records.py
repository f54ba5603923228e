"""A decomposition as it lies on disk. No tensors here: command line and browser read these."""

from pathlib import Path

from sparselex.base.artifacts import MANIFEST, read_manifest, record_of
from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.base.workspace import Workspace

KIND = "decomposition"
"""Kind of the artifact."""

FOLDER = "decompositions"
"""Folder of a workspace in which they lie, by their names."""

REPORT = "decomposition.json"
"""Its `Decomposition`."""

WEIGHTS = "components.safetensors"
"""Its components, by matrix: `<matrix>.V [n_components, d_in]`, `<matrix>.U [n_components, d_out]` and the networks of
importances."""

CONTROL_WEIGHTS = "control.safetensors"
"""Those of the control in the same form, of a language model."""

COMPONENTS = "components.json"
"""Its `ComponentTable`, of a language model."""

COMPONENTS_OF = "components"
"""Field of the configuration of a dictionary that was made of components: of which matrix of what decomposition."""

AGAIN, AGAIN_FOLDER, AGAIN_FILE = "found again", "found-again", "again.json"
"""Kind of artifact, folder of a workspace and file of a `FoundAgain`: those of a decomposition lie in a folder of its
name, by the name of the other one."""

LIVE_IMPORTANCE, LIVE_SHARE = 0.1, 1e-3
"""A component is live where its importance is above the first on more than the second of all inputs."""


class Matrix(Config):
    """One matrix and its components."""

    name: str
    """What it is called in its model."""

    d_out: int
    """Numbers that it writes."""

    d_in: int
    """Numbers that it reads."""

    n_components: int
    """Components that it was given."""

    n_live: int
    """Those that are important on some inputs."""

    hook: str = ""
    """Where in a language model its inputs are read."""

    writes: str = ""
    """Where what it gives is found."""

    run: str = ""
    """The run whose latents are its components."""


class Together(Config):
    """Another component that is important on the same inputs."""

    matrix: str
    """Its matrix."""

    number: int
    """Its number there."""

    n: int
    """Inputs on which both are important."""

    expected: float
    """As many as there would be by chance: the product of both shares."""


class Component(Config):
    """One component of a matrix, measured on the inputs that figures are over."""

    number: int
    """Its number."""

    share: float
    """Share of inputs on which its importance is above `LIVE_IMPORTANCE`."""

    mean: float
    """Mean importance."""

    histogram: list[int]
    """Inputs by importance: none at all, then ten equal ranges up to 1."""

    size: float
    """Length of what it writes for an activation of 1, `|U_c|`."""

    together: list[Together] = []
    """Components of the other matrices that are most often important where it is, beyond chance."""

    @property
    def live(self) -> bool:
        """Whether it is important on some inputs."""
        return self.share > LIVE_SHARE


class ComponentTable(Config):
    """The components of every matrix."""

    n_inputs: int
    """Inputs that they were measured on."""

    matrices: dict[str, list[Component]]
    """By matrix, in the order of their numbers."""


class Decomposition(Config):
    """The matrices of one model as sums of components, and how far that may be believed."""

    name: str
    """Its name."""

    target: str
    """What was decomposed, in words."""

    n_inputs: int
    """Inputs that figures are over."""

    n_steps: int
    """Steps of training."""

    matrices: list[Matrix]
    """Matrices in the order in which they are read."""

    control: str
    """What the same recipe was used on as a control, in words."""

    control_matrices: list[Matrix]
    """What came of it there."""

    run: str = ""
    """The run whose model and text these are of; empty for a toy."""

    layer: int | None = None
    """The block, of a language model."""

    figures: list[Figure]
    """What was measured; of the control under its name in `controls`."""

    def figure(self, name: str) -> Figure | None:
        """One figure by the end of its path."""
        return next((one for one in self.figures if one.name == name or one.name.endswith(f"/{name}")), None)


class FoundAgain(Config):
    """The live components of one decomposition among those of another of the same matrices."""

    name: str
    """The one."""

    other: str
    """The other."""

    differs: str
    """What the other's training had otherwise, such as its seed."""

    figures: list[Figure]
    """By matrix how near they come, both ways, beside the null and the same components before training."""


def default_name(run: str, layer: int) -> str:
    """What the decomposition of a block of a run's model is called where no name was given."""
    return f"{run}-mlp-{layer}"


def decomposition_of(folder: Path) -> Decomposition:
    """What was found, in the folder of an artifact. Raises `UserError` if it is not there, or not as it was written."""
    return record_of(Decomposition, folder, REPORT)


def decompositions_in(workspace: Path) -> list[str]:
    """Names of the decompositions of a workspace that are finished, in order."""
    folder = workspace / FOLDER
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(one.name for one in inside if not one.name.startswith(".") and (one / MANIFEST).is_file())


def decompositions_of(workspace: Workspace, run: str) -> list[str]:
    """Names of those of a run's model on its text, and of that whose components the run's latents are. Raises
    `UserError` like `decomposition_of`."""
    found = {name: decomposition_of(workspace.path / FOLDER / name) for name in decompositions_in(workspace.path)}
    return [name for name, one in found.items() if run in (one.run, *(each.run for each in one.matrices)) and run]


def again_of(workspace: Path, name: str) -> dict[str, FoundAgain]:
    """What is known of a decomposition among others, by their names: of what either is now. Raises `UserError` for a
    record that is not as it was written."""
    made, found = _id(workspace, name), dict[str, FoundAgain]()
    for other in decompositions_in(workspace):
        folder = workspace / AGAIN_FOLDER / name / other
        if not (folder / MANIFEST).is_file():
            continue
        if read_manifest(folder).inputs == {"own": made, "other": _id(workspace, other)}:
            found[other] = record_of(FoundAgain, folder, AGAIN_FILE)
    return found


def _id(workspace: Path, name: str) -> str:
    return read_manifest(workspace / FOLDER / name).id


def components_of(folder: Path) -> ComponentTable:
    """The components one by one. Raises `UserError` like `decomposition_of`."""
    return record_of(ComponentTable, folder, COMPONENTS)
