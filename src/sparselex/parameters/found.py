"""What came of a target, as it is written."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.staging import finished
from sparselex.parameters.losses import Parts
from sparselex.parameters.measured import Measured
from sparselex.parameters.records import KIND, Matrix
from sparselex.parameters.target import Target


class Found(NamedTuple):
    """One target with its components."""

    target: Target
    parts: Parts
    measured: Measured
    figures: list[Figure]

    def matrices(self) -> list[Matrix]:
        """Each matrix, and how many of its components are live."""
        return [
            Matrix(
                name=name,
                d_out=weight.shape[0],
                d_in=weight.shape[1],
                n_components=len(self.measured.live[name]),
                n_live=int(self.measured.live[name].sum()),
            )
            for name, weight in self.target.weights.items()
        ]

    def tensors(self) -> dict[str, Tensor]:
        """The components, and what they are components of."""
        target = {f"target.{name}": weight for name, weight in self.target.weights.items()}
        parts = {f"{name}.{key}": value for name, one in self.parts.items() for key, value in one.state_dict().items()}
        return {name: value.detach().contiguous() for name, value in {**parts, **target}.items()}


def check_replaced(to: Path, about: str, config: Config, inputs: dict[str, str], *, replace: bool) -> None:
    """Raise `UserError` where another decomposition would be lost."""
    if replace or not (to / "manifest.json").is_file() or finished(to, KIND, config, inputs):
        return
    raise UserError(
        f"{about[:1].upper()}{about[1:]} was decomposed already, with other settings.",
        "the settings that it was decomposed with",
        "give the options that were given then, or --replace.",
    )
