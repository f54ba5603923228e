"""Prompts of a task as rows of tokens: where its roles lie is looked up in each prompt."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sparselex.base.bos import bos_of
from sparselex.base.errors import UserError
from sparselex.tasks.records import Filling, LabelledPrompts, Prompt, Task, values_of
from sparselex.text.documents import Document
from sparselex.text.roles import Spans, token_spans
from sparselex.text.tokenizer import Tokenizer


def rows_of(
    task: Task, fillings: Sequence[Filling], tokenizer: Tokenizer, values: Mapping[str, tuple[str, ...]] | None = None
) -> LabelledPrompts:
    """The prompts of some fillings. `values` are those of each attribute by number; left out, what occurs.

    Raises `UserError` for a role that is no part of its prompt, for an answer that is not one token, for a value that
    is not among those given, and where there are no fillings."""
    if not fillings:
        raise UserError(f"No prompts of the task {task.name!r} were drawn.", "at least one", "ask for more prompts.")
    prompts = [task.prompt(filling) for filling in fillings]
    values = values_of(prompts, task.attributes) if values is None else values
    begins = bos_of(tokenizer, "auto")
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
