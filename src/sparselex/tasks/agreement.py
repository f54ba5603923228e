"""Agreement of a verb with its subject, past a noun of either number (Linzen, Dupoux and Goldberg 2016,
arXiv:1611.01368). The tense is that of two sentences before it, which have one verb of either number, so that a form of
`be` comes next, and which form hangs on the subject alone."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from sparselex.tasks.agreement_words import NEAR, SUBJECTS
from sparselex.tasks.records import END, Filling, Part, Prompt
from sparselex.tasks.words import another, filled, one_of, one_token_words
from sparselex.text.tokenizer import Tokenizer

TEMPLATES = {
    "now": "The flower behind the houses now{one} red. The cups on the table now{many} red. "
    "The{subject} near the{attractor} now",
    "over there": "The cups on the table over there{many} big, and the flower behind the houses over there{one} big. "
    "The{subject} near the{attractor} over there",
    "here": "Everyone knows that the lamps under the chair here{many} new and that the flower behind the houses "
    "here{one} new, and that the{subject} near the{attractor} here",
    "corner": "The flower by the houses in the corner{one} small. The cups by the table in the corner{many} small. "
    "The{subject} by the{attractor} in the corner",
}
"""Prompts with a word behind the noun in between, so that the end is a token of its own. The last verb before the
prompt's own is plural in half of them."""

NUMBERS = ("singular", "plural")
VERBS = {"present": (" is", " are"), "past": (" was", " were")}
"""Of each tense the forms by number."""

_LEAST_NOUNS, _MOST_NOUNS = 8, 48


class Agreement:
    """A noun, another one in between, and a verb that has the number of the first.

    Nouns that are subjects are in two halves, as the names of `ioi` are: prompts that are tested have those of the
    first, and what is put in their place is of the second. Prompts that dictionaries are made of have all of them, and
    other nouns in between than those that are tested.

    Args:
        subjects, near: nouns that are one token behind a space, with and without an `s` at the end.
        left_out: how many words were left out, by kind.
    """

    name = id = "agreement"
    words = "A verb comes next that has the number of its subject, not that of the noun in between."
    attributes = ("number", "tense", "attractor", "noun")
    roles = ("verb", "subject", "attractor", END)
    parametrisations: Mapping[str, tuple[str, ...]] = MappingProxyType(
        {"words": ("subject as written", "tense", "attractor"), "answer": ("answer",)}
    )
    corruptions: Mapping[str, str] = MappingProxyType(
        {"anew": "other words, each in a number of its own", "number": "the other number"}
    )

    def __init__(self, subjects: Sequence[str], near: Sequence[str], left_out: Mapping[str, int] | None = None):
        self.subjects, self.near = tuple(subjects), tuple(near)
        self.pool, self.reserve = self.subjects[::2], self.subjects[1::2]
        self.left_out = dict(left_out or {})

    def fillings(self, n: int, part: Part, chance: np.random.Generator) -> list[Filling]:
        """`n` prompts; nouns, numbers, tenses and templates are independent of each other."""
        nouns = self.subjects if part == "fit" else self.pool
        near = self.near[::2] if part == "fit" else self.near[1::2]
        return [self._filling(nouns, near, chance) for _ in range(n)]

    def prompt(self, filling: Filling) -> Prompt:
        """The text: its examples in the tense, its nouns in their numbers."""
        one, many = VERBS[filling["tense"]]
        words = {
            "one": one,
            "many": many,
            "subject": _in(filling["number"], filling["noun"]),
            "attractor": _in(filling["attractor"], filling["near"]),
        }
        text, spans = filled(TEMPLATES[filling["template"]], words)
        roles = {
            "verb": max(spans["one"], spans["many"]),
            "subject": spans["subject"],
            "attractor": spans["attractor"],
            END: (len(text) - 1, len(text)),
        }
        answer, other = (one, many) if filling["number"] == "singular" else (many, one)
        variables = {"subject as written": words["subject"], "answer": answer}
        return Prompt(text, {name: filling[name] for name in self.attributes}, roles, answer, other, variables)

    def changed(self, filling: Filling, attribute: str, chance: np.random.Generator) -> Filling:
        """The other number of the same noun, the other tense, or another noun of the reserve in the same number."""
        choices = {"noun": self.reserve, "tense": tuple(VERBS)}.get(attribute, NUMBERS)
        return {**filling, attribute: another(choices, filling[attribute], chance)}

    def corrupted(self, filling: Filling, way: str, chance: np.random.Generator) -> Filling:
        """`anew`: another subject, in a number of its own, as the noun in between and the tense are. `number`: the same
        subject in the other number."""
        if way == "number":
            return self.changed(filling, way, chance)
        drawn = {"number": NUMBERS, "attractor": NUMBERS, "tense": tuple(VERBS), "noun": self.reserve}
        return {**filling, **{name: one_of(choices, chance) for name, choices in drawn.items()}}

    def held_against(self, filling: Filling) -> str:
        """The template: all else is one token each."""
        return filling["template"]

    def _filling(self, nouns: Sequence[str], near: Sequence[str], chance: np.random.Generator) -> Filling:
        return {
            "template": one_of(tuple(TEMPLATES), chance),
            "noun": one_of(nouns, chance),
            "number": one_of(NUMBERS, chance),
            "tense": one_of(tuple(VERBS), chance),
            "near": one_of(near, chance),
            "attractor": one_of(NUMBERS, chance),
        }


def make_agreement(tokenizer: Tokenizer) -> Agreement:
    """The task in nouns that this tokenizer has as one token in both numbers. Raises `UserError` where it has too
    few."""
    forms = (" {}", " {}s")
    subjects = one_token_words(SUBJECTS, tokenizer, kind="subjects", least=_LEAST_NOUNS, forms=forms)
    near = one_token_words(NEAR, tokenizer, kind="nouns in between", least=4, forms=forms)
    left_out = {"subjects of several tokens": len(subjects.split), "nouns of several tokens": len(near.split)}
    return Agreement(subjects.kept[:_MOST_NOUNS], near.kept, {what: n for what, n in left_out.items() if n})


def _in(number: str, noun: str) -> str:
    return f" {noun}" if number == "singular" else f" {noun}s"
