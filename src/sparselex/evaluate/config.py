"""What is measured, on how much: a configuration that can be read without loading PyTorch."""

from functools import lru_cache
from typing import Annotated

from pydantic import Field, model_validator

from sparselex.base.bounds import BatchRows, Count, Listed, Once
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.registry import summary
from sparselex.dictionaries.kinds import CONTROLS, Control
from sparselex.evaluate.model_features.records import SHUFFLED
from sparselex.evaluate.probes.records import NO_DICTIONARIES

TOKEN_LOOKUP = "token_lookup"
"""The control that is no dictionary: the mean of the current token over training documents."""

PAIR_LOOKUP = "pair_lookup"
"""The same of the current token and the one before it, which is what rules look at."""

LOOKUPS = (TOKEN_LOOKUP, PAIR_LOOKUP)
"""Controls that know the text alone."""

FAR_OFF = 0.1
"""Share by which an L0 may differ from what was asked before it is said."""

_WORDS = {
    TOKEN_LOOKUP: "the mean activation of the current token, without any dictionary",
    PAIR_LOOKUP: "the mean activation of the current token behind the one before it, without any dictionary",
    SHUFFLED: "the latents where they are active, each with the direction of another",
    **NO_DICTIONARIES,
}
"""Controls that are no dictionaries."""


class EvaluateConfig(Config):
    """What is measured, on how much."""

    n_rows: Count = 600
    """Rows of the test split at most, spread over it; of a long document no more than twice its even share."""

    moment_rows: Count = 4096
    """Rows of the training split, spread evenly over it, from which mean, covariance and control dictionaries are
    taken."""

    controls: Annotated[tuple[Control, ...], Once] = ("neurons", "pca", "covariance")
    """Control dictionaries measured in the dictionary's place, with as many active latents on each token. `kmeans` and
    `ica` take minutes."""

    explained_controls: Annotated[tuple[Control, ...], Once] | None = None
    """Which of them are explained as well, by the search for rules; left out, `neurons` and `pca`. Those whose
    directions overlap take minutes."""

    explained_latents: Listed = 256
    """Directions of each that are drawn for that."""

    explained_rows: Count | None = None
    """Rows of each split, spread over it, that these are looked for and scored on at most; `none`, those that the
    dictionary's own rules come from."""

    pursuit_steps: Listed = 8
    """Steps in which a control whose directions overlap takes those of a token; more are stronger and slower."""

    batch_rows: BatchRows | None = None
    """Rows in a forward pass; left out, as many as there is memory for, 32 at most."""

    dense_above: float = Field(default=0.1, ge=0, le=1)
    """Density above which a latent counts as dense."""

    @property
    def controls_explained(self) -> tuple[Control, ...]:
        """The controls that are explained as well."""
        if self.explained_controls is None:
            return tuple(name for name in _EXPLAINED if name in self.controls)
        return self.explained_controls

    @model_validator(mode="after")
    def _measured(self) -> "EvaluateConfig":
        if other := [name for name in self.controls_explained if name not in self.controls]:
            raise UserError(
                f"{', '.join(other)} {'is' if len(other) == 1 else 'are'} to be explained, and not to be measured.",
                f"explained controls among those measured ({', '.join(self.controls) or 'none'})",
                "name them in --controls too (from Python: controls), or leave them out of --explained-controls.",
            )
        return self


_EXPLAINED = ("neurons", "pca")


@lru_cache(maxsize=64)
def control_words(name: str) -> str:
    """What a control is, within a sentence: the first line that its maker says of itself. Looked up once:
    that reads the maker's source, and of one in another package the list of packages."""
    if name in _WORDS:
        return _WORDS[name]
    try:
        said = summary(CONTROLS.address(name)).partition("\n")[0]
    except UserError:  # measured with a package that is here no more
        said = ""
    return said[:1].lower() + said[1:].rstrip(".") or "a control dictionary"
