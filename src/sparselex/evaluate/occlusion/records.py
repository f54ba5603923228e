"""What came of taking a strong attribute out by degrees: plain values, read by pages without PyTorch."""

from pathlib import Path

from sparselex.base.artifacts import MANIFEST, open_artifact, record_of
from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.evaluate.supervised.records import SUMMARY, Place

OCCLUSION, SWEEPS = "occlusion", "occlusion sweeps"
"""Kinds of artifacts: the sweep at one place, and all of them."""

OCCLUSION_FILE, SWEEPS_FILE = "occlusion.json", "sweeps.json"

STRONG, RANDOM = "strong", "random"
"""What is subtracted: the strong attribute's own vectors, or random ones of the same lengths."""


class OcclusionPoint(Config):
    """One kind of dictionary, trained on what one subtraction leaves."""

    removed: str
    """`strong` or `random`."""

    alpha: float
    """How much of it."""

    l0: float
    """Latents active on a tested prompt."""

    weak: Figure
    """Share of the weak attribute's values that are found."""

    strong: Figure
    """Share of the strong attribute's."""


class OcclusionRow(Config):
    """One kind of dictionary at one sparsity."""

    name: str
    """What it is."""

    setting: str
    """How sparse it was asked to be."""

    n_seeds: int
    """Dictionaries at each point, for each node."""

    points: list[OcclusionPoint]
    """By what is subtracted and how much of it."""

    weak_slope: Figure
    """By how much more of the weak attribute is found for each strong vector that is taken out; null: for each random
    one."""

    weak_excess: Figure
    """The slope less that of the null, value by value: above 0 where the strong attribute hid the weak one."""

    strong_slope: Figure
    """The slope of the strong attribute's values, which goes down where they are taken out."""

    def of(self, removed: str) -> list[OcclusionPoint]:
        """The points of one subtraction, by how much."""
        return sorted((one for one in self.points if one.removed == removed), key=lambda one: one.alpha)


class Occlusion(Config):
    """The sweep at one place."""

    place: Place
    """Where."""

    strong: str
    """The attribute with the longest vectors."""

    weak: str
    """The one with the next longest."""

    lengths: dict[str, float]
    """Of each attribute that is there the mean length of its values' vectors."""

    there: dict[str, float]
    """Of each the share of the variance that its vectors account for, on tested prompts."""

    decided: list[str]
    """Attributes that the place decides."""

    rows: list[OcclusionRow]
    """What was trained."""


class Sweeps(Config):
    """Every place of a task."""

    found: list[Occlusion]
    """Where the sweep was done."""

    left_out: dict[str, str]
    """Other places, and why not there."""

    def at(self, place: str) -> Occlusion | None:
        """The sweep at a place of that name."""
        return next((one for one in self.found if one.place.name == place), None)


def sweeps_of(task: Path) -> Sweeps | None:
    """The sweeps in the folder of a task; None where there are none of the result that is there now. Raises `UserError`
    where they are damaged."""
    folder = task / "occlusion" / "summary"
    if not (folder / MANIFEST).is_file():
        return None
    of = open_artifact(folder, SWEEPS).inputs["task tests"]
    return record_of(Sweeps, folder, SWEEPS_FILE) if of == open_artifact(task / "summary", SUMMARY).id else None
