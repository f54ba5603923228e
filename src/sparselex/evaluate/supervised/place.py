"""All that is measured once at one place, before any dictionary."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.base.seeds import derive
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.supervised.nodes import Bench, Node, Said, Values, read_nodes
from sparselex.evaluate.supervised.pairs import Prompted
from sparselex.evaluate.supervised.records import Place
from sparselex.lm.subject import SubjectModel

MOST_UNEDITED = 0.7
"""Agreement without any edit above which a place says too little of an attribute for edits to be told apart."""

FIT, TEST = "to fit", "tested"
"""Names of the prompts whose values are read, beside those with an attribute changed."""


def changed_part(attribute: str) -> str:
    """The name of the tested prompts with an attribute changed."""
    return f"changed: {attribute}"


def part_files(attributes: Iterable[str]) -> dict[str, str]:
    """Of each part whose values are read the file that holds them: by number, whatever attributes are called."""
    changed = {changed_part(name): f"changed-{number}.safetensors" for number, name in enumerate(attributes)}
    return {FIT: "to-fit.safetensors", TEST: "tested.safetensors", **changed}


_FIRES = 1e-6
"""What is less than this is rounding."""


class AtPlace(NamedTuple):
    """All that is measured once at one place, before any dictionary."""

    name: str
    """Path of its figures."""

    bench: Bench
    """The model on the tested prompts."""

    prompts: Prompted
    """The prompts."""

    fit: Values
    """What is there on the prompts that dictionaries are made of."""

    there: Values
    """What is there on tested prompts."""

    wanted: Mapping[str, Values]
    """Of each attribute that the place decides what is there when it is changed."""

    clean: Said
    """What the model says."""

    ablated: Said
    """With the mean in place of all values."""

    truth: Mapping[str, Said]
    """Of each attribute, with the true values of the changed prompt."""

    unedited: Mapping[str, Figure]
    """Of each attribute how often the model as it is says the same."""

    undecided: Mapping[str, str]
    """Attributes that were left out, and why."""

    @property
    def means(self) -> Values:
        """The mean of what is there, at each node."""
        return {node: values.mean(0).expand_as(self.there[node]) for node, values in self.fit.items()}


def read_all(model: SubjectModel, prompts: Prompted, nodes: Sequence[Node]) -> Iterator[tuple[str, Values]]:
    """What is at some nodes: of the prompts to fit, of those that are tested, and of these with each attribute changed
    (`changed_part`)."""
    changed = {changed_part(name): some for name, some in prompts.changed.items()}
    for part, some in {FIT: prompts.fit, TEST: prompts.test, **changed}.items():
        yield part, read_nodes(model, some, nodes)


def at_place(model: SubjectModel, prompts: Prompted, place: Place, name: str, read: Mapping[str, Values]) -> AtPlace:
    """What is at a place, of what was `read` of all prompts (`read_all`), and what the model says with the truth
    patched in."""
    nodes = [Node.parse(node) for node in place.nodes]
    bench = Bench(model, prompts.test, nodes)
    fit, there = ({node: read[part][node] for node in nodes} for part in (FIT, TEST))
    clean = bench.clean
    ablated = bench.with_values({node: values.mean(0).expand_as(there[node]) for node, values in fit.items()})
    wanted, truth = dict[str, Values](), dict[str, Said]()
    unedited, undecided = dict[str, Figure](), dict[str, str]()
    for attribute, changed in prompts.changed.items():
        moved = [node.role for node in nodes if (prompts.test.roles[node.role] != changed.roles[node.role]).any()]
        if moved:
            undecided[attribute] = f"{moved[0]} stands elsewhere when it is changed"
            continue
        values = {node: read[changed_part(attribute)][node] for node in nodes}
        says = bench.with_values(values)
        unedited[attribute] = agreement(f"{name}/{attribute}/unedited", [clean], says, "nothing is edited", None)
        if (unedited[attribute].value or 0.0) > MOST_UNEDITED:
            undecided[attribute] = (
                f"the model as it is says what it says with the true values on {unedited[attribute].value:.0%} of the "
                "prompts, so that nothing could be told"
            )
            continue
        wanted[attribute], truth[attribute] = values, says
    return AtPlace(name, bench, prompts, fit, there, wanted, clean, ablated, truth, unedited, undecided)


class Coded(NamedTuple):
    """What a dictionary makes of values at one node."""

    acts: Float[Tensor, "n d_sae"]
    x_hat: Float[Tensor, "n d"]
    W_dec: Float[Tensor, "d_sae d"]
    dictionary: Dictionary


@torch.no_grad()
def coded_by(dictionary: Dictionary, x: Float[Tensor, "n d"]) -> Coded:
    acts = dictionary.encode(x)
    acts = torch.where(acts.abs() > _FIRES, acts, 0.0)
    return Coded(acts, dictionary(x), dictionary.W_dec.detach(), dictionary)


def agreement(name: str, says: Sequence[Said], truth: Said, words: str, null: float | None) -> Figure:
    """Share of prompts with the token that the true values give: a mean over seeds, prompt by prompt."""
    each = np.mean([one.token == truth.token for one in says], axis=0)
    values: NDArray[np.bool_] | NDArray[np.float64] = each.astype(bool) if len(says) == 1 else each
    more = "" if len(says) == 1 else f", the mean over {len(says)} seeds"
    return mean_figure(
        name,
        values,
        f"share of prompts on which the most likely token is that of the run with the true values, when {words}{more}",
        over="prompts",
        share=True,
        null=null,
        better="higher",
    )


def generator_of(seed: int, *purpose: str | int) -> torch.Generator:
    """A generator for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *purpose))
