"""Prompts that are alike but for one attribute: which they are, and how all are divided so that none of those that are
tested has its counterparts among those that dictionaries are made of."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint
from sparselex.tasks.files import Line
from sparselex.tasks.records import Part


def counterparts(lines: Sequence[Line], among: Sequence[int], attribute: str) -> dict[int, list[int]]:
    """Of each prompt the numbers of those with another value of one attribute, of the same template, with all other
    attributes and the number of tokens the same. Where there are several, those with the fewest other tokens; of these,
    those that share most characters at both ends, so that `dogs` becomes `dog` and not `cat`."""
    groups = defaultdict[tuple[object, ...], list[int]](list)
    for number in among:
        groups[_key(lines[number], attribute)].append(number)
    found = dict[int, list[int]]()
    for group in groups.values():
        ids = np.array([lines[number].ids for number in group])
        values = np.array([lines[number].prompt.attributes[attribute] for number in group])
        for row, number in enumerate(group):
            others = np.flatnonzero(values != values[row])
            found[number] = _nearest(lines, number, [group[other] for other in others], ids[others] != ids[row])
    return found


def n_of_another_length(lines: Sequence[Line], among: Sequence[int], attribute: str) -> int:
    """How many prompts have counterparts of another number of tokens alone."""
    values = defaultdict[tuple[object, ...], set[str]](set)
    for number in among:
        values[_key(lines[number], attribute)[1:]].add(lines[number].prompt.attributes[attribute])
    alike = counterparts(lines, among, attribute)
    return sum(not alike[number] and len(values[_key(lines[number], attribute)[1:]]) > 1 for number in among)


def divided(lines: Sequence[Line]) -> dict[Part, list[int]]:
    """The numbers of the prompts of each part: as the lines say; where they do not, every other family of counterparts,
    in an order that hangs on their texts alone. Raises `UserError` where all prompts are one family."""
    if lines[0].part:
        return {part: [n for n, line in enumerate(lines) if line.part == part] for part in ("fit", "evaluate")}
    everyone = range(len(lines))
    links = [
        (number, other)
        for attribute in lines[0].prompt.attributes
        for number, others in counterparts(lines, everyone, attribute).items()
        for other in others
    ]
    families = _families(links, len(lines))
    if len(families) < 2:
        raise UserError(
            f"The {len(lines)} prompts of the task are all counterparts of each other, so that they cannot be divided "
            "into those that dictionaries are made of and those that are tested.",
            "a part in every line",
            'write "part": "fit" or "part": "evaluate" in every line.',
        )
    families.sort(key=lambda family: fingerprint(lines[family[0]].prompt.text))
    return {"fit": [*chain(*families[::2])], "evaluate": [*chain(*families[1::2])]}


def _key(line: Line, attribute: str) -> tuple[object, ...]:
    """What a prompt and its counterparts have in common."""
    others: Mapping[str, str] = {name: value for name, value in line.prompt.attributes.items() if name != attribute}
    return len(line.ids), line.template, *sorted(others.items())


def _nearest(lines: Sequence[Line], number: int, others: Sequence[int], differs: NDArray[np.bool_]) -> list[int]:
    """Those of some prompts that are nearest to one; `differs` says at which tokens they are others."""
    if not others:
        return []
    n_other = differs.sum(1)
    closest = [others[row] for row in np.flatnonzero(n_other == n_other.min()).tolist()]
    shared = [_shared(lines[number].prompt.text, lines[other].prompt.text) for other in closest]
    return [other for other, n in zip(closest, shared, strict=True) if n == max(shared)]


def _shared(one: str, other: str) -> int:
    """Characters that two texts have in common at the beginning, and at the end."""
    before = _same_at_first(one, other)
    return before + _same_at_first(one[before:][::-1], other[before:][::-1])


def _same_at_first(one: str, other: str) -> int:
    both = enumerate(zip(one, other, strict=False))
    return next((number for number, (a, b) in both if a != b), min(len(one), len(other)))


def _families(links: Sequence[tuple[int, int]], n: int) -> list[list[int]]:
    """Numbers that hang together, those of each family ascending."""
    rows, columns = np.array(links, dtype=np.int64).reshape(-1, 2).T
    _, labels = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n)), directed=False)
    families = defaultdict[int, list[int]](list)
    for number, label in enumerate(labels.tolist()):
        families[label].append(number)
    return list(families.values())
