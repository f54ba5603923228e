"""Figures of a decomposition."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.estimates import figure_of, mean_figure
from sparselex.base.figures import Figure
from sparselex.parameters.measured import MASKS, Measured
from sparselex.parameters.records import LIVE_IMPORTANCE, LIVE_SHARE

PREFIX = "parameters/"

LIVE_WORDS = (
    f"share of the components of {{}} that are live: their importance is above {LIVE_IMPORTANCE:g} on more than "
    f"{LIVE_SHARE:.1%} of the inputs"
)


def figures_of(found: Measured, distance: str, over: str) -> list[Figure]:
    """What is measured of any target: each matrix's error, live components and L0, and the distance by masks.

    Args:
        distance: what the distance is, in words.
        over: what inputs are, such as `inputs`.
    """
    return [*_of_matrices(found, over), *_of_masks(found.distance, distance, over)]


def with_controls(figures: list[Figure], controls: Mapping[str, list[Figure]]) -> list[Figure]:
    """The figures with the same of each control beside them."""
    found = []
    for figure in figures:
        beside = {
            name: one.value
            for name, others in controls.items()
            for one in others
            if one.name == figure.name and one.value is not None
        }
        found.append(figure.model_copy(update={"controls": {**figure.controls, **beside}}))
    return found


def _of_matrices(found: Measured, over: str) -> Iterator[Figure]:
    sums = np.array(list(found.faithful.values()))
    words = "squared difference between the matrices and the sums of their components, as a share of their squared norm"
    yield figure_of(
        f"{PREFIX}faithfulness_error",
        sums,
        lambda s: s[..., 0] / s[..., 1],
        f"{words}; 1 for components of 0",
        over="matrices",
        null=1.0,
        better="lower",
    )
    for name, active in found.active.items():
        live = _array(found.live[name])
        yield mean_figure(f"{PREFIX}{name}/live_share", live, LIVE_WORDS.format(name), over="components", share=True)
        yield mean_figure(
            f"{PREFIX}{name}/l0",
            _array(active),
            f"components of {name} with an importance above 0; null: all of them",
            over=over,
            null=float(len(live)),
            better="lower",
        )


def _of_masks(distances: Mapping[str, Tensor], distance: str, over: str) -> Iterator[Figure]:
    zero = float(distances["all_zero"].mean())
    for name, words in MASKS.items():
        null = None if name == "all_zero" else zero
        said = f"{distance} between the outputs {words} and of the model itself"
        said += "" if null is None else "; null: all components masked out"
        each = _array(distances[name])
        yield mean_figure(f"{PREFIX}distance/{name}", each, said, over=over, null=null, better="lower")


def _array(values: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = values.detach().cpu().numpy()
    return found
