"""Over-splitting at one place, of every attribute of two values, beside random directions that fire as often."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sparselex.base.estimates import mean_figure
from sparselex.evaluate.supervised import splitting
from sparselex.evaluate.supervised.firing import Firing
from sparselex.evaluate.supervised.nodes import Node
from sparselex.evaluate.supervised.pairs import labels_of
from sparselex.evaluate.supervised.place import AtPlace
from sparselex.evaluate.supervised.split_records import Splitting
from sparselex.evaluate.supervised.splitting import SplitLatents, split_latents


def splits_of(at: AtPlace, firing: Sequence[Mapping[Node, Firing]], path: str) -> list[Splitting]:
    """Of each value of each attribute that has two, over how many latents it is spread; latents are chosen on the
    prompts that dictionaries are made of, and their union is counted on tested ones."""
    two = {name: values for name, values in at.prompts.test.values.items() if len(values) == 2}
    if not two:
        return []
    active = [fires for group in firing for fires in group.values()]
    return [
        _splitting(path, name, value, *_found(at, active, name, number))
        for name, values in two.items()
        for number, value in enumerate(values)
        if _both(at, name, number)
    ]


def _both(at: AtPlace, attribute: str, number: int) -> bool:
    """Whether both kinds of prompts have some with the value, and those to fit some without it."""
    fit, test = (labels_of(prompts)[attribute] == number for prompts in (at.prompts.fit, at.prompts.test))
    return bool(fit.any() and not fit.all() and test.any())


def _found(
    at: AtPlace, active: list[Firing], attribute: str, number: int
) -> tuple[list[SplitLatents], list[SplitLatents]]:
    fit, test = (labels_of(prompts)[attribute] == number for prompts in (at.prompts.fit, at.prompts.test))
    found = [split_latents(one.fit.float(), fit, tested=(one.there.float(), test)) for one in active]
    return found, [split_latents(one.null_fit.float(), fit, tested=(one.null_there.float(), test)) for one in active]


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
