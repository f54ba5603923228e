"""Over-splitting at one place: planted values, of whose attribute of two one value is split, and the other not."""

import pytest
import torch

from sparselex.dictionaries.controls.neurons import neurons
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.firing import firing_of
from sparselex.evaluate.supervised.nodes import Node
from sparselex.evaluate.supervised.pairs import drawn, labels_of
from sparselex.evaluate.supervised.place import AtPlace
from sparselex.evaluate.supervised.rows import Contestant
from sparselex.evaluate.supervised.splits import splits_of
from tests.support.copier import copier, task

CONFIG = TaskConfig(n_fit=400, n_test=120)
NODE = Node.parse("blocks.0.hook_resid_post@end")
N_PARTS = 20


def planted(prompts) -> torch.Tensor:
    """One coordinate for the first value of Pos, and of the other one for every twentieth prompt."""
    second, x = labels_of(prompts)["Pos"] == 1, torch.zeros(len(prompts), N_PARTS + 1)
    x[~second, 0] = 1.0
    x[second, 1 + torch.arange(int(second.sum())) % N_PARTS] = 1.0
    return x


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    prompts = drawn(task(), copier(tmp_path_factory.mktemp("copier")).tokenizer, CONFIG)
    fit, there = ({NODE: planted(part)} for part in (prompts.fit, prompts.test))
    return AtPlace("x", None, prompts, fit, there, {}, None, None, {}, {}, {})


def test_the_value_that_is_split_is_told_from_the_one_that_is_not(at):
    coordinates = neurons(torch.zeros(N_PARTS + 1), 1)
    whole, split = splits_of(at, firing_of(at, Contestant("mine", "", [{NODE: coordinates}]), CONFIG), "x/mine")
    first, second = at.prompts.test.values["Pos"]
    assert (whole.title, split.title) == (f"Pos = {first}", f"Pos = {second}")
    assert split.n_latents.value == N_PARTS and split.jaccard.value == 0 and split.recall.value == 1
    assert split.is_split.value == 1 and whole.n_latents.value == 0 and whole.is_split.value == 0
    for figure in (*whole.figures, *split.figures):
        assert figure.null is not None and figure.definition and figure.name.startswith("x/mine/Pos=")
    assert split.is_split.null == 0, "directions at random that fire as often are no split"
    has = labels_of(at.prompts.test)["Pos"] == 1
    assert split.recall.n == int(has.sum()) and split.n_latents.n == 1


def test_figures_are_means_over_seeds(at):
    silent = neurons(torch.zeros(N_PARTS + 1), 1)
    silent.b_dec[:] = planted(at.prompts.fit)[0]
    both = [{NODE: neurons(torch.zeros(N_PARTS + 1), 1)}, {NODE: silent}]
    split = splits_of(at, firing_of(at, Contestant("mine", "", both), CONFIG), "x/mine")[1]
    assert split.n_latents.n == 2 and split.n_latents.value <= N_PARTS and 0.5 <= split.recall.value <= 1
