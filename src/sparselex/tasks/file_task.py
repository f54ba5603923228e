"""A person's file as a task: what is changed in a prompt is another prompt of the file."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from sparselex.base.errors import UserError
from sparselex.tasks.counterparts import counterparts, divided, n_of_another_length
from sparselex.tasks.files import Line, lines_of
from sparselex.tasks.records import Filling, Part, Prompt
from sparselex.tasks.words import one_of
from sparselex.text.tokenizer import Tokenizer

LEAST_PROMPTS = 16
"""Prompts of each part: of fewer nothing can be told."""

_LINE = "line"


class FileTask:
    """The prompts of a file. A filling is the number of its line.

    Counterparts are looked for among the prompts to be tested alone, so that nothing that is put into a prompt was
    among those that dictionaries were made of. Prompts that lack a counterpart are left out of what is tested, and
    counted.

    Args:
        name: what it is called.
        id: hash of the file's contents.
        lines: its prompts, each with its tokens.

    Raises `UserError` where fewer than 16 prompts of a part are left, where prompts cannot be divided into parts, and
    for a value that only tested prompts have.
    """

    parametrisations: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    corruptions: Mapping[str, str] = MappingProxyType({"other": "another prompt of the template, with another answer"})
    words = "A text goes on in one way and not in another, as a file says."

    def __init__(self, name: str, id: str, lines: Sequence[Line]):
        self.name, self.id, self.lines = name, id, tuple(lines)
        self.attributes = tuple(lines[0].prompt.attributes)
        self.roles = tuple(lines[0].prompt.roles)
        self.parts = divided(lines)
        everyone = self.parts["evaluate"]
        self._changed = {attribute: counterparts(lines, everyone, attribute) for attribute in self.attributes}
        self._corrupted = _corrupted(lines, everyone)
        lacking = {number: self._lacks(number) for number in everyone}
        self.left_out: Mapping[str, int] = dict(Counter(what for what in lacking.values() if what))
        self._check_lengths(everyone)
        self.parts["evaluate"] = [number for number in everyone if not lacking[number]]
        self._check_numbers()
        self._check_values()

    @property
    def n_prompts(self) -> dict[Part, int]:
        """How many prompts each part has."""
        return {part: len(numbers) for part, numbers in self.parts.items()}

    def fillings(self, n: int, part: Part, chance: np.random.Generator) -> list[Filling]:
        """`n` lines of a part, none of them twice. Raises `UserError` where it has not as many."""
        if n > len(self.parts[part]):
            raise UserError(
                f"The task {self.name!r} has {len(self.parts[part])} prompts to {part}.",
                f"{n}, as many as are wanted",
                "ask for fewer (--n-fit, --n-test), or add prompts.",
            )
        return [{_LINE: str(number)} for number in chance.permutation(self.parts[part])[:n]]

    def prompt(self, filling: Filling) -> Prompt:
        """The prompt of a line."""
        return self._line(filling).prompt

    def changed(self, filling: Filling, attribute: str, chance: np.random.Generator) -> Filling:
        """The nearest line with another value of the attribute, drawn where several are as near."""
        return {_LINE: one_of([str(number) for number in self._changed[attribute][int(filling[_LINE])]], chance)}

    def corrupted(self, filling: Filling, way: str, chance: np.random.Generator) -> Filling:
        """Any other line of its template and length that has another answer."""
        return {_LINE: one_of([str(number) for number in self._corrupted[int(filling[_LINE])]], chance)}

    def held_against(self, filling: Filling) -> str:
        """The template and the number of tokens."""
        line = self._line(filling)
        return f"{line.template}, {len(line.ids)} tokens"

    def _line(self, filling: Filling) -> Line:
        return self.lines[int(filling[_LINE])]

    def _lacks(self, number: int) -> str:
        """What a prompt lacks to be tested; nothing, if nothing."""
        for attribute in self.attributes:
            if not self._changed[attribute][number]:
                return f"prompts that have no counterpart in {attribute!r}"
        return "" if self._corrupted[number] else "prompts of a template and length that have one answer"

    def _check_lengths(self, everyone: Sequence[int]) -> None:
        """Refuse what is left out whole since prompts are of unequal lengths, which has a remedy of its own."""
        if sum(self.left_out.values()) < len(everyone):
            return
        for attribute in self.attributes:
            if n := n_of_another_length(self.lines, everyone, attribute):
                raise UserError(
                    f"Of {len(everyone)} prompts of the task {self.name!r} to be tested none is left: {n} have "
                    f"counterparts in {attribute!r} that are more or fewer tokens only.",
                    "prompts that are alike token by token but for one attribute",
                    "take words that are as many tokens each.",
                )

    def _check_numbers(self) -> None:
        for part, n in self.n_prompts.items():
            if n < LEAST_PROMPTS:
                left_out = "; ".join(f"{n} left out: {what}" for what, n in self.left_out.items())
                raise UserError(
                    f"The task {self.name!r} has {n} prompts to {part}" + (f" ({left_out})." if left_out else "."),
                    f"at least {LEAST_PROMPTS}, each of those to be tested with a counterpart for every attribute: a "
                    "prompt to be tested that is alike but for it",
                    "add prompts, or leave an attribute out.",
                )

    def _check_values(self) -> None:
        for name in self.attributes:
            fitted, tested = (
                {self.lines[number].prompt.attributes[name] for number in self.parts[part]}
                for part in ("fit", "evaluate")
            )
            if unknown := sorted(tested - fitted):
                raise UserError(
                    f"The attribute {name!r} of the task {self.name!r} has the value {unknown[0]!r} in prompts to be "
                    "tested, and in none that dictionaries are made of.",
                    "values that both have",
                    "add prompts with it, and say with `part` in every line which are which.",
                )


def read_task(path: Path, tokenizer: Tokenizer) -> FileTask:
    """The task of a file. Raises `UserError` like `files.lines_of` and `FileTask`."""
    lines, contents = lines_of(path, tokenizer)
    return FileTask(path.stem, contents, lines)


def _corrupted(lines: Sequence[Line], among: Sequence[int]) -> dict[int, list[int]]:
    """Of each prompt the numbers of those of the same template and length that have another answer."""
    groups = defaultdict[tuple[str, int], list[int]](list)
    for number in among:
        groups[lines[number].template, len(lines[number].ids)].append(number)
    return {
        number: [other for other in group if lines[other].prompt.answer != lines[number].prompt.answer]
        for group in groups.values()
        for number in group
    }
