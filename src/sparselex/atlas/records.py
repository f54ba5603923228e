"""Relations as they lie on disk. No tensors here: report and browser read these."""

from typing import Any

from sparselex.base.config import Config
from sparselex.base.figures import Figure

POINTS, COVARIANCE, RANDOM = "points", "covariance", "random"
NULLS = {POINTS: "activations", COVARIANCE: "covariance rows", RANDOM: "random rows"}
"""What is found again between two samples though nothing was trained, the strongest first: the null of stability, and
its controls."""


class SweepRow(Config):
    """One dictionary of a sweep."""

    name: str
    """Its name inside the sweep."""

    hook: str
    """Where the model is read."""

    settings: dict[str, Any]
    """Its type, width and sparsity."""

    seed: int
    """Seed of its weights."""

    figures: list[Figure] = []
    """Core figures on test documents, and its share of dead latents."""

    fronts: list[str] = []
    """Figures by which no other setting on this hook is better at the same L0 or less; seeds of one setting are one."""

    failure: str | None = None
    """Why there is no dictionary."""

    def value(self, name: str) -> float | None:
        """The value of a figure, None where it was not measured."""
        return next((figure.value for figure in self.figures if figure.name == name), None)


class SweepReport(Config):
    """What `sweep.json` holds."""

    rows: list[SweepRow]
    """Every dictionary, in the order of the sweep."""

    controls: dict[str, list[Figure]]
    """By `<hook>/pca:<setting>`: principal components with as many coefficients on each token as the first dictionary
    of that setting has active latents."""

    stability: list[Figure]
    """For dictionaries that differ in their seed alone."""

    remarks: list[str] = []
    """What speaks against them, in words: settings that principal components beat."""


DIFF = "diff.json"
"""Summary in the artifact of a comparison of two models."""

LATENTS = "latents.parquet"
"""There too: one row for every latent."""

DIFF_CLASSES = ("only_a", "only_b", "shared", "other")
"""Classes of a crosscoder's latents by where their decoder rows are long; a is the first model, b the second."""


class LatentDifference(Config):
    """One latent of a crosscoder of two models."""

    latent: int
    """Its number."""

    relative_norm: float
    """Norm of its decoder row in the second model over the sum of both, in units of each model's scale."""

    cosine: float
    """Cosine of its two decoder rows."""

    n_active: int
    """Tokens on which it was active."""

    nu_error: float
    """How much of it the crosscoder leaves unexplained in the other model, as a share of what it is in its own."""

    nu_reconstruction: float
    """How much of it other latents write in the other model, as a share of what is written in its own."""


class ModelDiff(Config):
    """What the crosscoder of two models says of their difference."""

    models: tuple[str, str]
    """The first model, a, and the second, b."""

    n_tokens: int
    """Tokens of test documents read."""

    n_latents: dict[str, int]
    """Active latents of each class."""

    n_silent: int
    """Latents active on none of these tokens; they are in no class."""

    figures: list[Figure]
    """Share of each class, and of the latents of one model that are truly specific."""

    most_specific: dict[str, list[LatentDifference]]
    """By class `only_a` and `only_b`: the latents that are least in the other model, by the larger of their two
    ratios."""


SWEEP = "sweep.json"
"""File of a sweep's artifact that holds its `SweepReport`."""
