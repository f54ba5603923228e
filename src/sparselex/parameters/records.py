"""A decomposition as it lies on disk. No tensors here: command line and browser read these."""

from pathlib import Path

from sparselex.base.artifacts import record_of
from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "decomposition"
"""Kind of the artifact."""

REPORT = "decomposition.json"
"""Its `Decomposition`."""

WEIGHTS = "components.safetensors"
"""Its components, by matrix: `<matrix>.V [n_components, d_in]`, `<matrix>.U [n_components, d_out]` and the networks of
importances."""

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

    figures: list[Figure]
    """What was measured; of the control under its name in `controls`."""

    def figure(self, name: str) -> Figure | None:
        """One figure by the end of its path."""
        return next((one for one in self.figures if one.name == name or one.name.endswith(f"/{name}")), None)


def decomposition_of(folder: Path) -> Decomposition:
    """What was found, in the folder of an artifact. Raises `UserError` if it is not there, or not as it was written."""
    return record_of(Decomposition, folder, REPORT)
