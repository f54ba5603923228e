"""Figures of toys, whose mechanisms are known."""

from collections.abc import Iterator

from torch import Tensor

from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.parameters.figures import PREFIX
from sparselex.parameters.toys.known import Nearness

_WORDS = {
    "cosine": (
        "mmcs",
        "mean over features of the largest cosine between the feature's column of the matrix that reads and the same "
        "column of any live component",
    ),
    "length_ratio": (
        "length_ratio",
        "mean over features of the length of that column of the component, the matrix's own being 1",
    ),
    "whole_cosine": (
        "whole_cosine",
        "mean over features of the largest cosine between the matrix with the feature's column alone and a live "
        "component as a whole",
    ),
}


def known_figures(found: Nearness, random: Nearness) -> Iterator[Figure]:
    """How near live components come to the mechanisms; null: as many components drawn at random."""
    for field, (name, words) in _WORDS.items():
        values: Tensor = getattr(found, field)
        null = float(getattr(random, field).mean()) if field != "length_ratio" else None
        said = words if null is None else f"{words}; null: as many components drawn at random"
        cosine = field != "length_ratio"
        yield mean_figure(f"{PREFIX}embed/{name}", values.numpy(), said, over="features", null=null, share=cosine)
