"""Indirect object identification: which of two names comes next (Wang et al. 2022, arXiv:2211.00593; attributes and
counterfactuals as in Makelov, Lange and Nanda 2024, arXiv:2405.08366, section 3)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from sparselex.tasks.ioi_words import NAMES, OBJECTS, PLACES
from sparselex.tasks.records import END, Filling, Part, Prompt
from sparselex.tasks.words import one_of, one_token_words
from sparselex.text.tokenizer import Tokenizer

TEMPLATES = {
    "store": ("Then,", " {1} and", " {2} had a long day at the {place}, and", " {3} gave the {object} to"),
    "walk": ("After", " {1} and", " {2} went to the {place},", " {3} handed the {object} to"),
    "found": ("When", " {1} and", " {2} found the {object} at the {place},", " {3} decided to give the {object} to"),
    "friends": ("The friends", " {1} and", " {2} were working at the {place}, and", " {3} offered the {object} to"),
}
"""Prompts in four parts: each of the last three begins with a name, and what is behind a name is one part with it."""

PATTERNS = ("ABB", "BAB")
"""Orders of the names, of which the one that comes twice is the subject. ABB: the indirect object comes first."""

_LEAST_NAMES, _MOST_NAMES = 8, 64
"""Each name needs prompts of its own in what dictionaries are made of."""


class Ioi:
    """Two names, one of them twice: the other one comes next.

    Names are in two halves: prompts that are tested have those of the first, and what is put in their place when an
    attribute is changed is of the second, so that no name that a model is brought to say stands in any tested prompt.
    Prompts that dictionaries are made of have all names, and other objects and places than those that are tested.

    Args:
        names, objects, places: words that are one token behind a space.
        split: names that were left out since the tokenizer cuts them.
    """

    name = id = "ioi"
    words = "Two people are named, one of them again as the one who gives: the other one is given to."
    attributes = ("IO", "S", "Pos")
    roles = ("IO", "S1", "S1+1", "S2", END)
    corruptions: Mapping[str, str] = MappingProxyType(
        {"names": "two other names", "repeat": "the other one of the two comes again"}
    )

    parametrisations: Mapping[str, tuple[str, ...]] = MappingProxyType(
        {"coupled": ("IO and Pos", "S and Pos"), "names": ("first name", "second name", "third name")}
    )

    def __init__(self, names: Sequence[str], objects: Sequence[str], places: Sequence[str], split: Sequence[str] = ()):
        self.names, self.objects, self.places = tuple(names), tuple(objects), tuple(places)
        self.pool, self.reserve = self.names[::2], self.names[1::2]
        self.split = tuple(split)
        self.left_out: Mapping[str, int] = {"names of several tokens": len(split)} if split else {}

    def fillings(self, n: int, part: Part, chance: np.random.Generator) -> list[Filling]:
        """`n` prompts, names and patterns independent of each other but that two names differ."""
        names = self.names if part == "fit" else self.pool
        half = slice(0, None, 2) if part == "fit" else slice(1, None, 2)
        return [self._filling(names, half, chance) for _ in range(n)]

    def prompt(self, filling: Filling) -> Prompt:
        """The text, in which the names are looked up."""
        io, s, pattern = filling["IO"], filling["S"], filling["Pos"]
        first, second = (io, s) if pattern == "ABB" else (s, io)
        parts = TEMPLATES[filling["template"]]
        filled = [
            part.format(None, first, second, s, place=filling["place"], object=filling["object"]) for part in parts
        ]
        starts = [sum(map(len, filled[:number])) for number in range(len(filled))]
        spans = [(start, start + 1 + len(name)) for start, name in zip(starts[1:], (first, second, s), strict=True)]
        text = "".join(filled)
        subject = 1 if pattern == "ABB" else 0
        behind = spans[subject][1]
        roles = {
            "IO": spans[1 - subject],
            "S1": spans[subject],
            "S1+1": (behind, behind + _length_of_word(text[behind:])),
            "S2": spans[2],
            END: (len(text) - 1, len(text)),
        }
        variables = {"IO and Pos": f"{io} {pattern}", "S and Pos": f"{s} {pattern}"}
        variables |= {"first name": first, "second name": second, "third name": s}
        return Prompt(text, {name: filling[name] for name in self.attributes}, roles, f" {io}", f" {s}", variables)

    def changed(self, filling: Filling, attribute: str, chance: np.random.Generator) -> Filling:
        """A name of the reserve in the place of one, wherever it stands; or the first two names in the other order."""
        if attribute == "Pos":
            return {**filling, "Pos": PATTERNS[1 - PATTERNS.index(filling["Pos"])]}
        taken = {filling["IO"], filling["S"]}
        return {**filling, attribute: one_of([name for name in self.reserve if name not in taken], chance)}

    def corrupted(self, filling: Filling, way: str, chance: np.random.Generator) -> Filling:
        """`names`: two other names; what is left says who came twice. `repeat`: the same two in the same places, and
        the other one of them comes again; what is left says who they are."""
        if way == "repeat":
            pattern = PATTERNS[1 - PATTERNS.index(filling["Pos"])]
            return {**filling, "IO": filling["S"], "S": filling["IO"], "Pos": pattern}
        io, s = chance.permutation(self.reserve)[:2]
        return {**filling, "IO": str(io), "S": str(s)}

    def held_against(self, filling: Filling) -> str:
        """The template: all else is one token each."""
        return filling["template"]

    def _filling(self, names: Sequence[str], half: slice, chance: np.random.Generator) -> Filling:
        io, s = chance.choice(len(names), size=2, replace=False)
        return {
            "template": one_of(tuple(TEMPLATES), chance),
            "IO": names[io],
            "S": names[s],
            "Pos": one_of(PATTERNS, chance),
            "place": one_of(self.places[half], chance),
            "object": one_of(self.objects[half], chance),
        }


def make_ioi(tokenizer: Tokenizer) -> Ioi:
    """The task in words that this tokenizer has as one token. Raises `UserError` where it has too few."""
    names = one_token_words(NAMES, tokenizer, kind="names", least=_LEAST_NAMES)
    objects = one_token_words(OBJECTS, tokenizer, kind="objects", least=2)
    places = one_token_words(PLACES, tokenizer, kind="places", least=2)
    step = max(1, len(names.kept) / _MOST_NAMES)  # spread over the alphabet
    kept = [names.kept[int(number * step)] for number in range(min(len(names.kept), _MOST_NAMES))]
    return Ioi(kept, objects.kept, places.kept, names.split)


def _length_of_word(text: str) -> int:
    """Characters of the first word, the space before it among them, or of a sign right at the beginning."""
    rest = text[1:] if text[0] == " " else text
    n = len(rest) - len(rest.lstrip("abcdefghijklmnopqrstuvwxyz")) if text[0] == " " else 0
    return 1 + n if text[0] == " " else 1
