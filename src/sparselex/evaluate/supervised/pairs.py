"""Prompts of a task, and what they would be with one attribute changed."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.seeds import generator
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.tasks.records import Filling, LabelledPrompts, Task, variables_of
from sparselex.tasks.rows import rows_of
from sparselex.text.tokenizer import Tokenizer

_TRIES = 50

MEAN, REST = "mean", "rest"
"""What a value is made of beside its variables: what all prompts have, and what no vector says."""


class Prompted(NamedTuple):
    """All prompts of a task; none is both of those that dictionaries are made of and of those that are tested."""

    fit: LabelledPrompts
    """Those that dictionaries are made of."""

    test: LabelledPrompts
    """Those that they are tested on."""

    changed: Mapping[str, LabelledPrompts]
    """Of each attribute the tested prompts with another value of it."""

    corrupted: Mapping[str, LabelledPrompts]
    """By way of corruption the tested prompts with the answer lost."""


def drawn(task: Task, tokenizer: Tokenizer, config: TaskConfig) -> Prompted:
    """The prompts that a configuration asks for, always the same. Raises `UserError` where a changed prompt is longer
    or shorter than it was, so that its tokens are not those of the other, and for an attribute or variable with a name
    that is kept for what is left of a value when all of these are taken away."""
    if kept := sorted({*task.attributes, *variables_of(task)} & {MEAN, REST}):
        raise UserError(
            f"The task {task.name!r} has an attribute or a variable called {kept[0]!r}.",
            f"other names: {MEAN!r} and {REST!r} are what all prompts have and what no variable says",
            "rename it.",
        )
    fillings = task.fillings(config.n_fit, "fit", generator(config.seed, task.name, "fit"))
    fit = rows_of(task, fillings, tokenizer, bos=config.bos)
    chance = generator(config.seed, task.name, "test")
    tested = _others(task, {_key(one) for one in fillings}, config.n_test, chance)
    changes = {name: [task.changed(one, name, chance) for one in tested] for name in task.attributes}
    corrupt = {way: [task.corrupted(one, way, chance) for one in tested] for way in task.corruptions}
    like_fit = partial(rows_of, task, tokenizer=tokenizer, like=fit, bos=config.bos)
    test = like_fit(tested)
    changed = {name: like_fit(others) for name, others in changes.items()}
    corrupted = {way: like_fit(others) for way, others in corrupt.items()}
    for name, others in {**changed, **corrupted}.items():
        _check_alike(task, name, test, others)
    return Prompted(fit, test, changed, corrupted)


def labels_of(prompts: LabelledPrompts, names: Sequence[str] = ()) -> dict[str, Int[Tensor, " n"]]:
    """Of each attribute, or of each of the variables that are named, the number of its value on each prompt."""
    columns = {**prompts.variables, **prompts.attributes}
    return {name: torch.from_numpy(columns[name]) for name in names or prompts.attributes}


def n_values_of(prompts: LabelledPrompts, names: Sequence[str] = ()) -> dict[str, int]:
    """Of each attribute, or of each of the variables that are named, how many values it has."""
    values = {**prompts.variable_values, **prompts.values}
    return {name: len(values[name]) for name in names or prompts.values}


def _others(task: Task, known: set[tuple[tuple[str, str], ...]], n: int, chance: np.random.Generator) -> list[Filling]:
    """Fillings to be tested that are not among those that dictionaries are made of."""
    found = list[Filling]()
    for _ in range(_TRIES):
        found += [one for one in task.fillings(n, "evaluate", chance) if _key(one) not in known]
        if len(found) >= n:
            return found[:n]
    raise UserError(
        f"The task {task.name!r} has {len(found)} prompts that dictionaries are not made of.",
        f"{n} to be tested",
        "ask for fewer prompts, or give the task more words.",
    )


def _key(filling: Filling) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(filling.items()))


def _check_alike(task: Task, name: str, prompts: LabelledPrompts, others: LabelledPrompts) -> None:
    different = prompts.ends != others.ends
    if different.any():
        row = int(different.argmax())
        raise UserError(
            f"A prompt of the task {task.name!r} has {prompts.ends[row] + 1} tokens, and with {name} changed "
            f"{others.ends[row] + 1}.",
            "prompts that are alike token by token",
            "give attributes words that are as many tokens each.",
        )
