"""What was found on a set of known features, as it lies on disk. No tensors here: the browser reads it."""

import re
from pathlib import Path

from sparselex.base.artifacts import record_of
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.figures import Failure, Figure
from sparselex.base.runs import RUN_NAME
from sparselex.base.workspace import Workspace

KIND = "synthetic"
"""Kind of the artifact."""

RANKING = "ranking.json"
"""Its `SyntheticReport`."""

HEADLINE = "f1"
"""The measure that types are ranked by."""

SHOWN = ("f1", "matched_cosine", "correlation", "precision", "recall", "unique", "shrinkage", "l0", "fvu", "dead")
"""Measures that tables show, in their order."""


class TypeRow(Config):
    """One dictionary type, or a control, against the known features."""

    kind: str
    """Its name."""

    coefficient: str
    """What makes it sparse, such as `k=8`."""

    n_seeds: int
    """Dictionaries behind the figures."""

    figures: dict[str, Figure]
    """Its measures: `f1`, `matched_cosine` and so on, as `synthetic/<name>`."""

    by_seed: list[float] = []
    """F1 of each seed."""

    failures: list[Failure] = []
    """Dictionaries that could not be trained."""


class SyntheticReport(Config):
    """All types on one set."""

    name: str
    """Its name in the workspace."""

    n_features: int
    """Known features."""

    n_seen: int
    """Those that are active in the held-out samples."""

    n_held_out: int
    """Held-out tokens."""

    n_tokens: int
    """Tokens that each dictionary was trained on."""

    d_in: int
    """Width of the activations."""

    d_sae: int
    """Latents of each dictionary."""

    l0: float
    """Features that are active in a token, as the set states them."""

    recoverable: bool
    """Whether the true directions find the features: where not, types are in the order of their names and not
    ranked."""

    least_oracle: float
    """F1 of the true directions from which it is."""

    types: list[TypeRow]
    """Trained types, the best first."""

    oracle: TypeRow
    """The true directions, coded by pursuit with as many features as each token has."""

    controls: list[TypeRow]
    """Dictionaries that nothing was trained to find, coded by pursuit at the same L0."""

    concordance: dict[str, Figure]
    """Kendall's W of the seeds' orders, by measure."""

    @property
    def verdict(self) -> str:
        """What may be said of the set, in a sentence."""
        oracle = self.oracle.figures[HEADLINE].value or 0.0
        reached = f"The true directions reach F1 {oracle:.3f} by pursuit at the true L0"
        if self.recoverable:
            return f"{reached}: the set is recoverable."
        return f"{reached}, below {self.least_oracle:g}: the set is not recoverable, and nothing is ranked."


def synthetic_folder(workspace: Workspace, name: str) -> Path:
    """Folder of what belongs to the set of that name. Raises `UserError` for a name that is no plain word."""
    if not re.fullmatch(RUN_NAME, name):
        raise UserError(
            f"{name!r} cannot be the name of a synthetic set.",
            "letters, digits, '.', '_' and '-', at most 64, starting with a letter or digit",
            "choose a plainer name.",
        )
    return workspace.path / "synthetic" / name


def ranking_of(folder: Path) -> SyntheticReport:
    """What was found, in the folder of a set. Raises `UserError` if it is not there, or not as it was written."""
    return record_of(SyntheticReport, folder / "ranking", RANKING)
