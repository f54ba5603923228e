"""What came of holding a run's explanations against those of its controls, as it lies on disk. No tensors here: command
line and browser read it."""

from pathlib import Path
from typing import Literal

from sparselex.base.artifacts import record_of
from sparselex.base.config import Config
from sparselex.base.figures import Figure, Figures
from sparselex.base.files import write_json

KIND = "controls"
"""Kind and name of the artifact."""

AGAINST = "against.json"
"""Its file that holds the `AgainstControls`."""

Side = Literal["run", "control", "neither"]
"""Whose latents have the higher scores beyond doubt."""


class Measured(Config):
    """A run that was held against another, or that other."""

    run: str
    """Name of the run."""

    n_latents: int
    """Latents of its dictionary."""

    n_alive: int
    """Latents that are active on any counted token."""

    l0: float
    """Latents active on a counted token, on the mean."""


class Control(Measured):
    """One control."""

    words: str
    """What it is."""


class Against(Config):
    """One measure of explanations, of the run and of a control."""

    control: str
    """Which control."""

    explainer: str
    """Who explained both."""

    scorer: str
    """Who scored both."""

    metric: str
    """By which measure."""

    headline: bool
    """Whether it is the foremost measure of that scorer."""

    better: str
    """Which values of the measure are better; `higher` or `lower`."""

    n: int
    """Latents of the run that have this score."""

    n_control: int
    """Latents of the control that have it."""

    n_asked: int
    """Latents of the run that were to be explained: those without a score among them."""

    n_asked_control: int
    """Latents of the control that were."""

    median: float | None
    """Of the run's scores; None where there is none."""

    median_control: float | None
    """Of the control's."""

    superiority: Figure
    """The chance that a random explained latent of the run has a better score than a random one of the control."""

    superiority_of_all: Figure
    """The same of all latents that were to be explained: one that has no score counts as worse than any score."""

    difference: Figure
    """The median of the run's scores less that of the control's."""

    @property
    def higher(self) -> Side:
        """Whose explained latents score better beyond doubt."""
        return side(self.superiority)

    @property
    def higher_of_all(self) -> Side:
        """Whose latents do, where each one counts."""
        return side(self.superiority_of_all)


def side(superiority: Figure) -> Side:
    """Whose scores are higher beyond doubt: the interval does not reach a half, or all of the one lie above all of the
    other, where there is no interval and there are latents enough for that to be no accident."""
    value, low, high = superiority.value, superiority.ci_low, superiority.ci_high
    if value is None:
        return "neither"
    if low is None or high is None:
        apart = value in (0, 1) and (superiority.n_effective or 0) >= _APART
        return "neither" if not apart else "run" if value == 1 else "control"
    return "run" if low > _EVEN else "control" if high < _EVEN else "neither"


_EVEN = 0.5

_APART = 5
"""Latents of either: of ten that do not differ, all five of the one are above all others once in 126 times or below as
often."""


class Explained(Config):
    """How many latents have an explanation."""

    control: str
    """Which control."""

    explainer: str
    """Who explained both."""

    run_share: Figure
    """Share of the run's latents that were to be explained and are."""

    control_share: Figure
    """The same of the control."""


class AgainstControls(Config):
    """A run's explanations against those of its controls."""

    run: Measured
    """The run."""

    controls: dict[str, Control]
    """The controls, by what they are called."""

    explained: list[Explained]
    """Shares of latents explained, by control and explainer."""

    rows: list[Against]
    """Every measure of every scorer, by control; the foremost ones first."""

    missing: dict[str, str]
    """What was not held against each other, and why."""

    @classmethod
    def read(cls, folder: Path) -> "AgainstControls":
        """That of the artifact `folder`. Raises `UserError` if it is missing or damaged."""
        return record_of(cls, folder, AGAINST)

    def write(self, folder: Path) -> None:
        """Put it and its figures into the folder of an artifact in progress."""
        write_json(folder / AGAINST, self.to_json())
        Figures(figures=self.figures()).write(folder)

    def figures(self) -> list[Figure]:
        """What the report takes up: the foremost measure of each scorer, and what was not measured."""
        found = [share.control_share for share in self.explained]
        for row in self.rows:
            if row.headline:
                found += [row.superiority, row.superiority_of_all, row.difference]
        words = "chance that a random latent of the run has a better score than one of the control"
        not_made = [
            Figure(name=f"controls/{name}/superiority", failure=why, definition=words) for name, why in self._not_made
        ]
        return [*sorted(found, key=lambda figure: figure.name.rpartition("/")[0]), *not_made]

    @property
    def _not_made(self) -> list[tuple[str, str]]:
        return [(name, why) for name, why in self.missing.items() if name not in self.controls]
