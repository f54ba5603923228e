"""What came out of probing: plain values, read by pages and reports without PyTorch."""

from pathlib import Path

from sparselex.base.artifacts import record_of
from sparselex.base.config import Config
from sparselex.base.figures import Failure, Figure

KIND, FILE = "probes", "probes.json"
"""Kind of the artifact, and its file of all rows."""

LATENTS = "latents"
"""The row of the dictionary that is judged."""

DENSE = "all activations"
"""The row of a probe that reads whatever is there: what could be read at all."""

NOTHING, SUPERVISED = "nothing", "supervised"
"""Rows of RAVEL that are no dictionary's: nothing exchanged, and means by label."""

NO_DICTIONARIES = {
    DENSE: "a probe that reads all of the site: what could be read at all",
    NOTHING: "nothing exchanged",
    SUPERVISED: "the mean of the value that is wanted put in the place of that of the value that is there",
}
"""Rows that are no dictionary's, in words."""


class ProbeRow(Config):
    """How well `k` coordinates of one kind tell a concept, on words or documents that they were not chosen on."""

    name: str
    """Of what kind: `latents`, `neurons`, `pca`, `random`, a control run, or `all activations`."""

    k: int
    """How many are read; 0 for all."""

    auroc: Figure
    """Chance that a text with the concept is put above one without."""

    accuracy: Figure
    """Share of texts that are told rightly."""

    f1: Figure
    """F1 of having the concept."""


class Concept(Config):
    """One concept, probed."""

    texts: str
    """Kind of texts: a set that is made here, or `code`."""

    name: str
    """The concept and the value that is told from the others."""

    n_fit: int
    """Texts or tokens that probes are made of, in one way to divide them."""

    n_test: int
    """Those that they are tested on."""

    majority: float
    """Accuracy of always giving the more frequent answer."""

    rows: list[ProbeRow]
    """By kind and `k`."""


class AblationRow(Config):
    """What taking out `n` coordinates of one kind does."""

    name: str
    """Of what kind."""

    n: int
    """How many are taken out."""

    score: Figure
    """The score; its null is that of as many others of the kind, drawn, that are active as often."""

    spread: float | None = None
    """Standard deviation over seeds."""


class Ablations(Config):
    """SCR or TPP on one set of texts."""

    metric: str
    """`scr` or `tpp`."""

    texts: str
    """The set."""

    name: str
    """What is told, and for SCR what it hung together with."""

    before: dict[str, Figure] = {}
    """Accuracies with nothing taken out."""

    failure: str = ""
    """Why there is no score; empty where there is one."""

    rows: list[AblationRow] = []
    """By kind and `n`; none where there is no score."""


class RavelRow(Config):
    """What exchanging `n` coordinates of one kind between two entities does, means over pairs of attributes."""

    name: str
    """Of what kind."""

    n: int
    """How many are exchanged; 0 for all."""

    cause: Figure
    """Share of the questions about the attribute whose answer becomes that of the other entity."""

    isolation: Figure
    """Share of the questions about another attribute whose answer stays."""

    disentangled: Figure
    """Mean of both, rescaled so that doing nothing has 0: (D - 0.5) / 0.5."""


class Ravel(Config):
    """RAVEL on cities."""

    able: dict[str, Figure]
    """Of each attribute on how many of the cities the model knows it."""

    n_entities: int
    """Cities of which it knows all attributes."""

    rows: list[RavelRow]
    """By kind and `n`."""


class Probed(Config):
    """All that came out."""

    concepts: list[Concept]
    """Sparse probing."""

    ablations: list[Ablations]
    """SCR and TPP."""

    ravel: Ravel | None = None
    """RAVEL; None where the model does not know the facts."""

    failures: list[Failure]
    """What was not measured, and why."""

    @classmethod
    def read(cls, folder: Path) -> "Probed":
        """What came out, from its artifact. Raises `UserError` if it is missing or damaged."""
        return record_of(Probed, folder, FILE)
