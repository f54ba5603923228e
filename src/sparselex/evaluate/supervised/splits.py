"""Over-splitting at one place, of every attribute of two values, beside random directions that fire as often."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.estimates import mean_figure
from sparselex.evaluate.supervised import splitting
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.meaning import at_rates, fires_above
from sparselex.evaluate.supervised.pairs import labels_of
from sparselex.evaluate.supervised.place import AtPlace, coded_by, generator_of
from sparselex.evaluate.supervised.rows import Contestant
from sparselex.evaluate.supervised.split_records import Splitting
from sparselex.evaluate.supervised.splitting import SplitLatents, split_latents


class _Active(NamedTuple):
    """What one dictionary makes of both kinds of prompts, and what random directions that fire as often make."""

    fit: Float[Tensor, "n d_sae"]
    there: Float[Tensor, "m d_sae"]
    null_fit: Float[Tensor, "n d_sae"]
    null_there: Float[Tensor, "m d_sae"]


def splits_of(at: AtPlace, one: Contestant, path: str, config: TaskConfig) -> list[Splitting]:
    """Of each value of each attribute that has two, over how many latents it is spread; latents are chosen on the
    prompts that dictionaries are made of, and their union is counted on tested ones."""
    two = {name: values for name, values in at.prompts.test.values.items() if len(values) == 2}
    if not two:
        return []
    active = list(_actives(at, one, config))
    return [
        _splitting(path, name, value, *_found(at, active, name, number))
        for name, values in two.items()
        for number, value in enumerate(values)
        if _both(at, name, number)
    ]


def _actives(at: AtPlace, one: Contestant, config: TaskConfig) -> Iterator[_Active]:
    for number, group in enumerate(one.groups):
        for node, dictionary in group.items():
            fit, there = (coded_by(dictionary, values[node]).acts for values in (at.fit, at.there))
            generator = generator_of(config.seed, "splits", str(node), number)
            rows, thresholds = at_rates(at.fit[node], (fit != 0).float().mean(0), generator)
            mean = at.fit[node].mean(0)
            nulls = (fires_above(values[node], mean, rows, thresholds).float() for values in (at.fit, at.there))
            yield _Active(fit, there, *nulls)


def _both(at: AtPlace, attribute: str, number: int) -> bool:
    """Whether both kinds of prompts have some with the value, and those to fit some without it."""
    fit, test = (labels_of(prompts)[attribute] == number for prompts in (at.prompts.fit, at.prompts.test))
    return bool(fit.any() and not fit.all() and test.any())


def _found(
    at: AtPlace, active: list[_Active], attribute: str, number: int
) -> tuple[list[SplitLatents], list[SplitLatents]]:
    fit, test = (labels_of(prompts)[attribute] == number for prompts in (at.prompts.fit, at.prompts.test))
    found = [split_latents(one.fit, fit, tested=(one.there, test)) for one in active]
    return found, [split_latents(one.null_fit, fit, tested=(one.null_there, test)) for one in active]


def _splitting(path: str, attribute: str, value: str, found: list[SplitLatents], null: list[SplitLatents]) -> Splitting:
    what = f"latents with a precision of {splitting.LEAST_PRECISION:g} or more and a recall of "
    what += f"{splitting.MOST_RECALL:g} or less for {attribute} = {value}, by the prompts that dictionaries are made of"
    fires = "null: random directions that fire as often"
    name = f"{path}/{attribute}={value}"

    def figure(short: str, values: NDArray[np.float64], words: str, by_chance: NDArray[np.float64], over: str):
        is_share, null = short != "split_latents", float(by_chance.mean())
        return mean_figure(f"{name}/{short}", values, f"{words}; {fires}", over=over, null=null, share=is_share)

    each = lambda of, groups: np.array([float(of(one)) for one in groups])
    n, near, is_split = (lambda one: len(one.latents)), (lambda one: one.jaccard), (lambda one: one.is_split)
    covered = lambda groups: np.mean([one.covered.double().numpy() for one in groups], axis=0)
    many = f"share of the dictionaries with {splitting.LEAST_LATENTS} or more {what}, whose active sets have a mean "
    many += f"Jaccard index below {splitting.MOST_JACCARD:g} and cover more than {splitting.LEAST_UNION:.0%} of the "
    many += "tested prompts with the value"
    over = "dictionaries"
    return Splitting(
        attribute=attribute,
        value=value,
        n_latents=figure("split_latents", each(n, found), f"mean number of {what}", each(n, null), over),
        jaccard=figure("jaccard", each(near, found), f"mean Jaccard index of pairs of {what}", each(near, null), over),
        recall=figure(
            "union_recall",
            covered(found),
            f"share of tested prompts with {attribute} = {value} on which one of them is active, of {what}",
            covered(null),
            "prompts",
        ),
        is_split=figure("split", each(is_split, found), many, each(is_split, null), over),
    )
