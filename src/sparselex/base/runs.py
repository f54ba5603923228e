"""What a run is, said by the run itself and readable without PyTorch."""

from typing import Annotated

from pydantic import Field

from sparselex.base.config import Config
from sparselex.base.sites import Sites

RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""What a run may be called."""

RunName = Annotated[str, Field(pattern=f"^{RUN_NAME}$")]
"""The name of a run."""


class StageCard(Config):
    """One stage that a run can go through."""

    verb: str
    """Its name on the command line."""

    makes: str
    """Kind of the artifact it leaves in the run's folder."""

    expected: bool
    """Whether a run without it is unfinished; others are made on request."""


class RunCard(Config):
    """What a run reads, and what it is a control of."""

    name: str
    """Name of the run."""

    model: str
    """The model read."""

    second_model: str | None = None
    """The model read beside it; None for a run on one model."""

    twin: str = "none"
    """Which random-weight twin of the model is read in its place; `none` for the model itself."""

    twin_of: str | None = None
    """The run that this one is a control of: the same recipe on the model as it was trained; None for a run that is no
    control."""

    sites: Sites | None = None
    """Where the model is read; None until the model has been asked for its default."""

    corpus: str | None = None
    """Folder of its token corpus among the workspace's corpora; None until there is one."""

    stages: tuple[StageCard, ...] = Field(default=())
    """The stages known when the run was last written, in the order in which they are taken."""

    @property
    def has_random_weights(self) -> bool:
        """Whether what it reads has weights that were not learned: every twin but one whose tokens are noise."""
        return self.twin not in ("none", "redrawn")

    @property
    def twin_words(self) -> str:
        """What the model has otherwise than it was learned, in two words; empty for the model itself."""
        if self.twin == "none":
            return ""
        return f"{self.twin} weights" if self.has_random_weights else f"{self.twin} tokens"
