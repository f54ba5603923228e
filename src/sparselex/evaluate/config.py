"""What is measured, on how much: a configuration that can be read without loading PyTorch."""

from functools import lru_cache

from pydantic import Field

from sparselex.base.bounds import BatchRows, Count, Listed
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.registry import summary
from sparselex.dictionaries.kinds import CONTROLS, Control

TOKEN_LOOKUP = "token_lookup"
"""The control that is no dictionary: the mean of the current token over training documents."""

_WORDS = {TOKEN_LOOKUP: "the mean activation of the current token, without any dictionary"}
"""Controls that are no dictionaries."""


class EvaluateConfig(Config):
    """What is measured, on how much."""

    n_rows: Count = 600
    """Rows of the test split at most, spread over it; of a long document no more than twice its even share."""

    moment_rows: Count = 4096
    """Rows of the training split, spread evenly over it, from which mean, covariance and control dictionaries are
    taken."""

    controls: tuple[Control, ...] = ("neurons", "pca", "covariance")
    """Control dictionaries measured in the dictionary's place, with as many active latents on each token. `kmeans` and
    `ica` take minutes."""

    explained_controls: tuple[Control, ...] = ("neurons", "pca")
    """Which of them are explained as well, by the search for rules; those whose directions overlap take minutes."""

    explained_latents: Count = 256
    """Directions of each that are drawn for that."""

    explained_rows: Count = 1024
    """Rows of each split, spread over it, that these are looked for and scored on."""

    pursuit_steps: Listed = 8
    """Steps in which a control whose directions overlap takes those of a token; more are stronger and slower."""

    batch_rows: BatchRows = 16
    """Rows in a forward pass; logits of all of them are in memory several times."""

    dense_above: float = Field(default=0.1, ge=0, le=1)
    """Density above which a latent counts as dense."""


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
