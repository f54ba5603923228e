"""AbsTopK dictionaries: the k largest latents of each token in size, whatever their sign."""

from typing import Literal

from sparselex.dictionaries.config import KConfig
from sparselex.dictionaries.types.topk import TopK


class AbsTopKConfig(KConfig):
    """Configuration of `AbsTopK`."""

    kind: Literal["abstopk"] = "abstopk"
    """Type of dictionary."""

    rank_by: Literal["contribution", "activation"] = "contribution"
    """What is compared in size, as in `topk`."""


class AbsTopK(TopK):
    """TopK by absolute value with signed activations (arXiv:2510.00404): one latent serves a direction and its
    opposite.

    Active means different from zero, not positive.
    """

    config: AbsTopKConfig  # type: ignore[assignment]
    signed = True
