"""Texts whose concepts are known: each is told by one word of a sentence that says nothing else about it."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from sparselex.base.errors import a
from sparselex.tasks.concepts_words import FIELDS, JUDGEMENTS, NAMES, NOUNS, THINGS, VERBS


class LabelledText(NamedTuple):
    """A text with the value of each of its concepts."""

    text: str
    """What a model reads."""

    values: Mapping[str, str]
    """Of each concept its value."""

    words: Mapping[str, str]
    """Of each concept the word that tells it: texts of one word are no independent draws."""


class ConceptSet(NamedTuple):
    """Texts of one kind."""

    name: str
    """What they are called."""

    concepts: Mapping[str, tuple[str, ...]]
    """Of each concept its values."""

    draw: Callable[[np.random.Generator], LabelledText]
    """One text, drawn: the values of its concepts are independent of each other and equally likely."""

    crossed: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Two concepts that are told by different words, each with the values that count as having it."""


_SPEECH = (
    "{name} talked about the {field} for a long time.",
    "{name} had a question about the {field} last week.",
    "Later {name} wrote something about the {field} too.",
    "Everybody knew what {name} said about the {field} that day.",
)
_REVIEW = (
    "The {thing} was {judged}, and we said so.",
    "What {so_judged} {thing} this was in the end.",
    "In our opinion the {thing} is really {judged} now.",
    "This {thing} seemed {judged} to all of us.",
)
_NOUN = (
    "The {noun} near the wall had been there for a long time.",
    "We looked at the {noun} behind the house.",
    "Nobody knew about the {noun} until then.",
    "They talked about the {noun} in the morning.",
)
_VERB = (
    "Near the river they {verb} the old house.",
    "With their friends they {verb} the green boat.",
    "They {verb} the same thing together.",
    "My neighbors say that they {verb} the large one.",
)


def _people(chance: np.random.Generator) -> LabelledText:
    gender, field = _one_of(tuple(NAMES), chance), _one_of(tuple(FIELDS), chance)
    words = {"gender": _one_of(NAMES[gender], chance), "field": _one_of(FIELDS[field], chance)}
    text = _one_of(_SPEECH, chance).format(name=words["gender"], field=words["field"])
    return LabelledText(text, {"gender": gender, "field": field}, words)


def _reviews(chance: np.random.Generator) -> LabelledText:
    said, about = _one_of(tuple(JUDGEMENTS), chance), _one_of(tuple(THINGS), chance)
    words = {"sentiment": _one_of(JUDGEMENTS[said], chance), "topic": _one_of(THINGS[about], chance)}
    judged = words["sentiment"]
    text = _one_of(_REVIEW, chance).format(judged=judged, so_judged=a(judged), thing=words["topic"])
    return LabelledText(text, {"sentiment": said, "topic": about}, words)


def _nouns(chance: np.random.Generator) -> LabelledText:
    kind, number = _one_of(tuple(NOUNS), chance), _one_of(("singular", "plural"), chance)
    noun = _one_of(NOUNS[kind], chance)
    form = noun if number == "singular" else _plural(noun)
    text = _one_of(_NOUN, chance).format(noun=form)
    return LabelledText(text, {"number": number, "kind": kind}, {"number": noun, "kind": noun})


def _verbs(chance: np.random.Generator) -> LabelledText:
    tense, verb = _one_of(("present", "past"), chance), _one_of(tuple(VERBS), chance)
    text = _one_of(_VERB, chance).format(verb=verb if tense == "present" else VERBS[verb])
    return LabelledText(text, {"tense": tense}, {"tense": verb})


SETS: tuple[ConceptSet, ...] = (
    ConceptSet(
        "people",
        {"gender": tuple(NAMES), "field": tuple(FIELDS)},
        _people,
        {"gender": ("female",), "field": ("medicine", "law")},
    ),
    ConceptSet(
        "reviews",
        {"sentiment": tuple(JUDGEMENTS), "topic": tuple(THINGS)},
        _reviews,
        {"sentiment": ("positive",), "topic": ("story",)},
    ),
    ConceptSet("nouns", {"number": ("singular", "plural"), "kind": tuple(NOUNS)}, _nouns),
    ConceptSet("verbs", {"tense": ("present", "past")}, _verbs),
)
"""All sets of texts."""


def _one_of(choices: Sequence[str], chance: np.random.Generator) -> str:
    return choices[int(chance.integers(len(choices)))]


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith(("x", "ch", "sh")) else f"{noun}s"
