"""What a labelled task consists of: fillings, prompts, and prompts as rows of tokens with their labels. NumPy only."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Part = Literal["fit", "evaluate"]
"""Which prompts: those that dictionaries are made of, or those that they are tested on. No prompt is of both."""

Filling = Mapping[str, str]
"""What a prompt is made of: a word for each slot, the name of its template among them."""

END = "end"
"""The role that every prompt has: its last token, behind which the answer comes."""


class Prompt(NamedTuple):
    """A text whose continuation is known."""

    text: str
    """What the model reads."""

    attributes: Mapping[str, str]
    """The value of every attribute."""

    roles: Mapping[str, tuple[int, int]]
    """Named parts of the text, [start, end) in characters; a role is the last token of its part. `end` is there in any
    case."""

    answer: str
    """The right continuation, one token."""

    other: str
    """The wrong one that it is held against, one token."""

    variables: Mapping[str, str] = MappingProxyType({})
    """Further variables by which it can be described, and their values: those of the task's `parametrisations`."""


@runtime_checkable
class Task(Protocol):
    """A task: data plus a metric. The metric is the difference of two logits, that of the answer less that of the
    other. A filling is enough to write a prompt, and another with one attribute changed."""

    name: str
    """Its name."""

    id: str
    """What tells it from another one of its name: the name itself, or a hash of what it is made of, where that can
    change. What is measured is measured anew where this is another."""

    words: str
    """What it asks, in one sentence."""

    attributes: tuple[str, ...]
    """Variables that describe a prompt."""

    roles: tuple[str, ...]
    """Tokens that have a name in every prompt, `end` among them."""

    corruptions: Mapping[str, str]
    """Ways to lose the answer, by name, in words: each shows other parts of a circuit."""

    parametrisations: Mapping[str, tuple[str, ...]]
    """Other ways to describe a prompt than by its attributes: by name the variables of each, attributes or such as
    stand in `Prompt.variables`. Which describes what a model computes with is a question that is asked of the model."""

    left_out: Mapping[str, int]
    """What was left out of it, and how many of each: words that a tokenizer cuts, prompts without a counterpart."""

    def fillings(self, n: int, part: Part, chance: np.random.Generator) -> list[Filling]:
        """`n` fillings of one part, drawn independently. Raises `UserError` where there are not as many."""
        ...

    def prompt(self, filling: Filling) -> Prompt:
        """The prompt of a filling."""
        ...

    def changed(self, filling: Filling, attribute: str, chance: np.random.Generator) -> Filling:
        """The filling with another value of one attribute and all else as it was; the prompt has the same length."""
        ...

    def corrupted(self, filling: Filling, way: str, chance: np.random.Generator) -> Filling:
        """The filling with the answer lost, in one of the ways of `corruptions`; the prompt has the same length."""
        ...

    def held_against(self, filling: Filling) -> str:
        """What two fillings must have in common for their prompts to be alike token by token, such as the template."""
        ...


@dataclass(frozen=True)
class LabelledPrompts:
    """Prompts as rows of tokens, those that are shorter filled up behind their ends, where nothing reads."""

    fillings: tuple[Filling, ...]
    """What each was made of."""

    tokens: NDArray[np.int64]
    """`[n, n_ctx]` token ids."""

    roles: Mapping[str, NDArray[np.int64]]
    """Of each role its position in each row."""

    attributes: Mapping[str, NDArray[np.int64]]
    """Of each attribute the number of its value in each row."""

    values: Mapping[str, tuple[str, ...]]
    """What these numbers stand for."""

    answers: NDArray[np.int64]
    """`[n]` the right token."""

    others: NDArray[np.int64]
    """`[n]` the wrong one."""

    variables: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """Of each further variable of the task's parametrisations the number of its value in each row."""

    variable_values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What these stand for; the last, "", for every value that no prompt has of which dictionaries are made."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def ends(self) -> NDArray[np.int64]:
        """`[n]` position of each last token."""
        return self.roles[END]

    def of(self, rows: NDArray[Any] | slice) -> "LabelledPrompts":
        """These rows."""
        numbers = np.arange(len(self))[rows]
        return replace(
            self,
            fillings=tuple(self.fillings[row] for row in numbers),
            tokens=self.tokens[numbers],
            roles={name: places[numbers] for name, places in self.roles.items()},
            attributes={name: labels[numbers] for name, labels in self.attributes.items()},
            variables={name: labels[numbers] for name, labels in self.variables.items()},
            answers=self.answers[numbers],
            others=self.others[numbers],
        )

    def cut(self, n_ctx: int) -> "LabelledPrompts":
        """The first tokens of each row: those behind the longest prompt are nobody's."""
        return replace(self, tokens=self.tokens[:, :n_ctx])


def variables_of(task: Task) -> list[str]:
    """Every variable of a task's parametrisations that is no attribute, once."""
    every = dict.fromkeys(name for names in task.parametrisations.values() for name in names)
    return [name for name in every if name not in task.attributes]
