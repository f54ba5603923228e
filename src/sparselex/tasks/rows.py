"""Prompts of a task as rows of tokens: where its roles lie is looked up in each prompt."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparselex.base.bos import Bos, bos_of
from sparselex.base.errors import UserError
from sparselex.tasks.records import Filling, LabelledPrompts, Prompt, Task, variables_of
from sparselex.text.documents import Document
from sparselex.text.roles import Spans, token_spans
from sparselex.text.tokenizer import Tokenizer


def rows_of(
    task: Task,
    fillings: Sequence[Filling],
    tokenizer: Tokenizer,
    like: LabelledPrompts | None = None,
    *,
    bos: Bos = "auto",
) -> LabelledPrompts:
    """The prompts of some fillings, the values of attributes and variables numbered as in those of `like`; left out,
    what occurs. `bos` says whether they begin with the tokenizer's BOS.

    Raises `UserError` for a role that is no part of its prompt, for an answer that is not one token, for a value that
    those of `like` do not have, and where there are no fillings."""
    if not fillings:
        raise UserError(f"No prompts of the task {task.name!r} were drawn.", "at least one", "ask for more prompts.")
    prompts = [task.prompt(filling) for filling in fillings]
    values = _values(prompts, task.attributes) if like is None else like.values
    further = _further(task, prompts) if like is None else like.variable_values
    begins = bos_of(tokenizer, bos)
    before = [] if begins is None else [begins]
    ids = tokenizer.encode_batch([prompt.text for prompt in prompts])
    spans = [_spans(task, prompt, row, tokenizer) for prompt, row in zip(prompts, ids, strict=True)]
    continued = [*tokenizer.encode_batch([text for prompt in prompts for text in (prompt.answer, prompt.other)])]
    answers = [_one_token(task, prompt.answer, row) for prompt, row in zip(prompts, continued[::2], strict=True)]
    others = [_one_token(task, prompt.other, row) for prompt, row in zip(prompts, continued[1::2], strict=True)]
    return LabelledPrompts(
        fillings=tuple(fillings),
        tokens=_filled_up([[*before, *row] for row in ids]),
        roles={name: np.array([len(before) + found[name][1] - 1 for found in spans]) for name in task.roles},
        attributes={name: _numbers(task, name, prompts, values[name]) for name in task.attributes},
        values=dict(values),
        variables={name: _or_none(name, prompts, values) for name, values in further.items()},
        variable_values=further,
        answers=np.array(answers),
        others=np.array(others),
    )


def _spans(task: Task, prompt: Prompt, ids: Sequence[int], tokenizer: Tokenizer) -> Spans:
    """Where the roles of a prompt are among its tokens."""
    document = Document(f"{task.name}: {prompt.text}", prompt.text, roles=dict(prompt.roles))
    found = token_spans(document, ids, tokenizer.vocabulary)
    if missing := [name for name in task.roles if name not in found]:
        raise UserError(
            f"The prompt {prompt.text!r} of the task {task.name!r} has no role {missing[0]!r}.",
            "every role of the task in every prompt",
            "add it, or leave it out of the task.",
        )
    return found


def _one_token(task: Task, text: str, ids: Sequence[int]) -> int:
    if len(ids) != 1:
        raise UserError(
            f"The answer {text!r} of the task {task.name!r} is {len(ids)} tokens of this model.",
            "one token",
            "leave it out: a logit is one token's.",
        )
    return ids[0]


def _filled_up(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """`[n, n_ctx]`; behind its end a row has its own last token again, which nothing before it sees."""
    n_ctx = max(map(len, rows))
    return np.array([[*row, *[row[-1]] * (n_ctx - len(row))] for row in rows], dtype=np.int64)


def _numbers(task: Task, name: str, prompts: Sequence[Prompt], values: tuple[str, ...]) -> NDArray[np.int64]:
    numbers = {value: number for number, value in enumerate(values)}
    found = [prompt.attributes[name] for prompt in prompts]
    if unknown := sorted(set(found) - set(numbers)):
        raise UserError(
            f"The attribute {name!r} of the task {task.name!r} has the value {unknown[0]!r} in prompts to be tested, "
            "and in none that dictionaries are made of.",
            "values that both have",
            "draw more prompts to fit.",
        )
    return np.array([numbers[value] for value in found], dtype=np.int64)


def _values(prompts: Sequence[Prompt], attributes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The values that each attribute has, sorted."""
    return {name: tuple(sorted({prompt.attributes[name] for prompt in prompts})) for name in attributes}


def _further(task: Task, prompts: Sequence[Prompt]) -> dict[str, tuple[str, ...]]:
    """The values of each further variable, and one for all that do not occur."""
    return {name: (*sorted({prompt.variables[name] for prompt in prompts}), "") for name in variables_of(task)}


def _or_none(name: str, prompts: Sequence[Prompt], values: tuple[str, ...]) -> NDArray[np.int64]:
    """The number of a variable's value in each prompt; the last where it is none of these."""
    numbers = {value: number for number, value in enumerate(values)}
    return np.array([numbers.get(prompt.variables[name], len(values) - 1) for prompt in prompts], dtype=np.int64)
