"""What was reproduced, as it lies on disk and as it is shown. No tensors here: command line and browser read these."""

from pathlib import Path
from typing import Literal

from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "monosemanticity"
"""Kind and name of the artifact of a workspace."""

FILE = "monosemanticity.json"
"""Its `Replication`."""

Reproduced = Literal["yes", "partly", "no", "open"]
"""Whether our figures bear a claim out; `open` where they were not measured."""


class Roles(Config):
    """Which run is what in the paper."""

    narrow: str
    """A/0: as many latents as there are neurons."""

    main: str
    """A/1: the dictionary that is looked at."""

    wide: str
    """A/2."""

    other_narrow: str
    """The narrow dictionary of the other model."""

    other: str
    """B/1: that of the other model which is compared with A/1."""

    other_wide: str
    """The wide dictionary of the other model."""

    @property
    def of_a(self) -> tuple[str, str, str]:
        """Runs of model A, the narrow one first."""
        return self.narrow, self.main, self.wide

    @property
    def of_b(self) -> tuple[str, str, str]:
        """Runs of model B."""
        return self.other_narrow, self.other, self.other_wide

    @property
    def every(self) -> tuple[str, ...]:
        """All of them."""
        return *self.of_a, *self.of_b


class Replication(Config):
    """What was made, and of what."""

    roles: Roles
    """Which runs."""

    models: tuple[str, str]
    """Models A and B."""

    text: str
    """The text of both."""

    l1: float
    """The coefficient of all widths."""

    train_tokens: tuple[int, int, int]
    """Tokens that each width was trained on."""

    shortened: list[str]
    """What was less than by default: then it is a first look."""

    left_out: dict[str, str]
    """Stages that could not be taken, as `run: verb`, and why."""


class Beside(Config):
    """One figure of ours beside the paper's."""

    words: str
    """What it is."""

    run: str
    """The run that it is of."""

    figure: Figure | None
    """Ours; None where it was not made, or of something else than the run has now."""

    paper: str
    """What the paper has for it; empty where it gives no number."""


class ClaimFound(Config):
    """One claim of the paper, and what came of it here."""

    name: str
    """Short name, used in addresses."""

    title: str
    """What it is about."""

    claim: str
    """What the paper says."""

    rows: list[Beside]
    """Figures."""

    reproduced: Reproduced
    """Whether they bear it out."""

    verdict: str
    """What they say."""

    why: str
    """Why they may differ from the paper's."""

    pages: list[str]
    """Pages of runs that show more of it, as `run/page`."""


def replication_folder(workspace: Path) -> Path:
    """Where the artifact lies."""
    return workspace / KIND
