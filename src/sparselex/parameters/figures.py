"""Figures of a decomposition."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.estimates import estimate, figure_of, mean_figure
from sparselex.base.figures import Figure
from sparselex.parameters.measured import MASKS, MODEL, Measured
from sparselex.parameters.records import LIVE_IMPORTANCE, LIVE_SHARE

PREFIX = "parameters/"

LIVE_WORDS = (
    f"share of the components of {{}} that are live: their importance is above {LIVE_IMPORTANCE:g} on more than "
    f"{LIVE_SHARE:.1%} of the inputs"
)


class Units(NamedTuple):
    """What was drawn independently, over which intervals are."""

    name: str
    """What they are, such as `documents`."""

    of: NDArray[np.int64] | None = None
    """`[n]`, the unit of each input; None where inputs themselves are units."""


def figures_of(found: Measured, distance: str, units: Units) -> list[Figure]:
    """What is measured of any target: each matrix's error, live components and L0, and distance and loss by masks.

    Args:
        distance: what the distance is, in words.
    """
    return [*_of_matrices(found, units), *_of_masks(found, distance, units), *_of_losses(found, units)]


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


def _of_matrices(found: Measured, units: Units) -> Iterator[Figure]:
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
        said = f"components of {name} with an importance above 0; null: all of them"
        yield _mean(f"{PREFIX}{name}/l0", active, said, units, float(len(live)))


def _of_masks(found: Measured, distance: str, units: Units) -> Iterator[Figure]:
    zero = float(found.distance["all_zero"].mean())
    for name, words in MASKS.items():
        null = None if name == "all_zero" else zero
        said = f"{distance} between the outputs {words} and of the model itself"
        said += "" if null is None else "; null: all components masked out"
        yield _mean(f"{PREFIX}distance/{name}", found.distance[name], said, _units(found, units, name), null)


def _of_losses(found: Measured, units: Units) -> Iterator[Figure]:
    if not found.loss:
        return
    zero = float(found.loss["all_zero"].nanmean())
    for name, words in {MODEL: "of the model itself", **MASKS}.items():
        null = None if name == "all_zero" else zero
        said = f"cross-entropy of the next token in nats {words}" + (
            "; null: all components masked out" if null else ""
        )
        yield _mean(f"{PREFIX}ce/{name}", found.loss[name], said, _units(found, units, name), null)


def _units(found: Measured, units: Units, masks: str) -> Units:
    """The units of the inputs that a way to mask was tried on."""
    attacked = units.of is not None and masks.startswith("adversarial")
    return units._replace(of=units.of[found.attacked.numpy()]) if attacked and units.of is not None else units


def _mean(name: str, values: Tensor, words: str, units: Units, null: float | None) -> Figure:
    """The mean over inputs of what is finite."""
    each = _array(values)
    if units.of is None:
        return mean_figure(name, each, words, over=units.name, null=null, better="lower")
    there = np.isfinite(each)
    _, unit = np.unique(units.of[there], return_inverse=True)
    sums = np.stack([np.bincount(unit, each[there].astype(np.float64)), np.bincount(unit)], axis=1).astype(np.float64)
    return estimate(
        name,
        sums,
        lambda s: s[..., 0] / s[..., 1],
        f"{words}, mean over tokens",
        over=units.name,
        sizes=sums[:, 1],
        n=int(there.sum()),
        null=null,
        better="lower",
    ).figure


def _array(values: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = values.detach().cpu().numpy()
    return found
