"""Where a task is looked at in a model: sites at named tokens, what is there on each prompt, and what the model says
when something else is there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.causal.edits import put
from sparselex.causal.spliced import first_of
from sparselex.causal.variants import variants
from sparselex.causal.where import at
from sparselex.lm.kept import Kept
from sparselex.lm.subject import SubjectModel
from sparselex.tasks.records import LabelledPrompts

_ROWS = 128
"""Prompts in a pass."""

_AT_ONCE = 16
"""Versions of as many prompts that are computed together."""


class Node(NamedTuple):
    """One site at one token of every prompt."""

    hook: Hook
    """The site, of one head where it has heads."""

    role: str
    """The token, by its role."""

    def __str__(self) -> str:
        return f"{self.hook} @ {self.role}"

    @classmethod
    def parse(cls, text: str) -> "Node":
        """What `str` gave. Raises `UserError` for any other text."""
        hook, sign, role = text.partition("@")
        if not sign or not role.strip():
            said = f"{text!r} names no place in a prompt."
            raise UserError(said, "HOOK@ROLE", "write for example blocks.1.attn.hook_z:3@end.")
        return cls(Hook(hook), role.strip())


Values = Mapping[Node, Float[Tensor, "n d"]]
"""Of each node what is there, or is put there, on each prompt."""


class Said(NamedTuple):
    """What a model says behind each prompt."""

    difference: NDArray[np.float64]
    """`[n]` logit of the answer less that of the other."""

    token: NDArray[np.int64]
    """`[n]` the most likely token."""


def said_by(model: SubjectModel, prompts: LabelledPrompts, last: Float[Tensor, "n d_last"]) -> Said:
    """What the model says, given what its unembedding reads at the ends of the prompts."""
    logits = model.predict(last).float()
    each = torch.arange(len(prompts), device=logits.device)
    answer, other = (logits[each, torch.from_numpy(ids).to(logits.device)] for ids in (prompts.answers, prompts.others))
    return Said((answer - other).double().cpu().numpy(), logits.argmax(-1).cpu().numpy())


def joined(parts: Sequence[Said]) -> Said:
    """One after another."""
    return Said(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@torch.no_grad()
def read_nodes(
    model: SubjectModel, prompts: LabelledPrompts, nodes: Sequence[Node]
) -> dict[Node, Float[Tensor, "n d"]]:
    """What is at each node on each prompt, float32. Raises `UserError` for an unknown site."""
    hooks = list(dict.fromkeys(node.hook for node in nodes))
    found: dict[Node, list[Tensor]] = {node: [] for node in nodes}
    for part in batches(prompts):
        read = model.read(torch.from_numpy(part.tokens), hooks)
        each = torch.arange(len(part))
        for node in nodes:
            found[node].append(read[node.hook][each, torch.from_numpy(part.roles[node.role])].float().cpu())
    return {node: torch.cat(values) for node, values in found.items()}


def batches(prompts: LabelledPrompts) -> Iterator[LabelledPrompts]:
    """Prompts that are run at once, without what stands behind the longest of them."""
    for start in range(0, len(prompts), _ROWS):
        part = prompts.of(slice(start, start + _ROWS))
        yield part.cut(int(part.ends.max()) + 1)


class Bench:
    """A model on some prompts, in which the values at some nodes are replaced: each time only what lies behind them is
    computed.

    Args:
        model: what is edited.
        prompts: what it reads.
        nodes: all places at which something is ever put.
    """

    def __init__(self, model: SubjectModel, prompts: LabelledPrompts, nodes: Sequence[Node]):
        self.model, self.prompts, self.nodes = model, prompts, tuple(nodes)
        first = first_of(model, list(dict.fromkeys(node.hook for node in nodes)))
        if first is None:
            said = "Places that no canonical hook names were to be edited together."
            raise UserError(said, "one module:<path>, or canonical hooks", "leave all but one of them out.")
        self._kept: list[tuple[LabelledPrompts, Kept]] = []
        with torch.no_grad():
            for part in batches(prompts):
                self._kept.append((part, model.keep(torch.from_numpy(part.tokens), first)))

    @property
    def clean(self) -> Said:
        """What it says with nothing replaced."""
        return joined([said_by(self.model, part, _at_ends(part, kept.last)) for part, kept in self._kept])

    def with_values(self, values: Values) -> Said:
        """What it says with these values in the place of what is at their nodes, all at once. Raises `UserError` for a
        node that it was not made for."""
        return self.with_each([values])[0]

    @torch.no_grad()
    def with_each(self, many: Sequence[Values]) -> list[Said]:
        """What it says with each of several such values, at the same nodes, many in a pass: of a small model, and
        where few tokens are computed anew, a pass costs as much whatever it holds. Values that are put on a prompt
        more than once are computed once."""
        for values in many:
            if unknown := [node for node in values if node not in self.nodes]:
                said = f"A value was put at {unknown[0]}."
                raise UserError(said, "a node that was named before", "make the bench with all nodes that are edited.")
        found, start = [list[Said]() for _ in many], 0
        for part, kept in self._kept:
            rows = slice(start, start + len(part))
            put_there = {node: torch.cat([values[node][rows] for values in many]) for node in many[0]}
            says = self._part(part, kept, put_there)
            for place, parts in enumerate(found):
                here = slice(place * len(part), (place + 1) * len(part))
                parts.append(Said(says.difference[here], says.token[here]))
            start += len(part)
        return [joined(parts) for parts in found]

    def _part(self, part: LabelledPrompts, kept: Kept, values: Values) -> Said:
        """What is said of one part of the prompts, each version of it behind the other."""
        once, which = _once([*values.values()], len(part))
        found = list[Said]()
        for numbers in torch.from_numpy(once).split(_AT_ONCE * _ROWS):
            rows = numbers % len(part)
            some = part.of(rows.numpy())
            edits = sum(
                (put(node.hook, value[numbers], at(_positions(some, node))) for node, value in values.items()),
                start=(),
            )
            last, ends = _at_ends(part, kept.last)[rows.to(kept.last.device)], torch.from_numpy(some.ends)
            for made in variants(self.model, kept, rows, edits):
                behind = ends[made.numbers] - made.since
                last[made.numbers.to(last.device)] = made.last[torch.arange(len(behind)), behind.to(made.last.device)]
            for first in range(0, len(rows), _ROWS):
                few = slice(first, first + _ROWS)
                found.append(said_by(self.model, some.of(few), last[few]))
        says = joined(found)
        return Said(says.difference[which], says.token[which])


def _once(values: Sequence[Tensor], n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of versions of `n` prompts, one behind the other, the first of those that are the same on a prompt, and of each
    version its number among those."""
    columns = [np.ascontiguousarray(value.numpy()) for value in values]
    known = dict[tuple[int | bytes, ...], int]()
    first, which = list[int](), list[int]()
    for number in range(len(columns[0])):
        key = (number % n, *(column[number].tobytes() for column in columns))
        if key not in known:
            known[key] = len(first)
            first.append(number)
        which.append(known[key])
    return np.array(first, dtype=np.int64), np.array(which, dtype=np.int64)


def _positions(part: LabelledPrompts, node: Node) -> Int[Tensor, " n"]:
    return torch.from_numpy(part.roles[node.role])


def _at_ends(part: LabelledPrompts, last: Float[Tensor, "n ctx d_last"]) -> Float[Tensor, "n d_last"]:
    return last[torch.arange(len(part)), torch.from_numpy(part.ends).to(last.device)]
