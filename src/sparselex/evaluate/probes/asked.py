"""What probes are asked: which texts have a concept, and ways to divide them so that no word that tells it stands on
both sides."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.seeds import generator
from sparselex.evaluate.probes.logistic import Bools
from sparselex.tasks.concepts import LabelledText

Ints = NDArray[np.int64]


class Fold(NamedTuple):
    """One way to divide texts, by number."""

    fit: Ints
    test: Ints


class Asked(NamedTuple):
    """One concept of some texts."""

    name: str
    """The concept, and the value that is told from the others."""

    has: Bools
    """`[n]`, which of them have it."""

    units: Ints
    """`[n]`, the word or document that each hangs on."""

    folds: Sequence[Fold]
    """Ways to divide them."""


def asked_of(
    texts: Sequence[LabelledText], concepts: Mapping[str, tuple[str, ...]], n_seeds: int, seed: int
) -> Iterator[Asked]:
    """Every concept of a set: a value of two against the other, of several each against the rest."""
    for concept, values in concepts.items():
        units = units_of(texts, concept)
        folds = [fold(texts, (concept,), derived, seed) for derived in range(n_seeds)]
        for value in values[:1] if len(values) == 2 else values:
            has = np.array([text.values[concept] == value for text in texts])
            yield Asked(f"{concept}: {value}", has, units, folds)


def units_of(texts: Sequence[LabelledText], concept: str) -> Ints:
    """The number of the word that tells a concept, of each text."""
    words = sorted({text.words[concept] for text in texts})
    numbers = {word: number for number, word in enumerate(words)}
    return np.array([numbers[text.words[concept]] for text in texts])


def fold(texts: Sequence[LabelledText], concepts: Sequence[str], number: int, seed: int) -> Fold:
    """Texts of which every word that tells one of the concepts is in the half to fit, and those of which every one is
    in the half to test. Words of one value are divided among themselves."""
    sides = []
    for concept in concepts:
        fits = _words_to_fit(texts, concept, number, seed)
        sides.append([text.words[concept] in fits for text in texts])
    inside = np.array(sides)
    return Fold(np.flatnonzero(inside.all(0)), np.flatnonzero(~inside.any(0)))


def shuffled(asked: Asked, fit: Ints, chance: np.random.Generator) -> Bools:
    """`[len(fit)]` labels of others: whole words exchanged where a word always has one label, else single texts."""
    has, units = asked.has[fit], asked.units[fit]
    names, places = np.unique(units, return_inverse=True)
    shares = np.bincount(places, has) / np.bincount(places)
    if np.isin(shares, (0.0, 1.0)).all():
        mixed: Bools = shares.astype(np.bool_)[chance.permutation(len(names))][places]
        return mixed
    alone: Bools = chance.permutation(has)
    return alone


def _words_to_fit(texts: Sequence[LabelledText], concept: str, number: int, seed: int) -> set[str]:
    values: dict[str, set[str]] = {}
    for text in texts:
        values.setdefault(text.words[concept], set()).add(text.values[concept])
    alike: dict[tuple[str, ...], list[str]] = {}
    for word in sorted(values):
        alike.setdefault(tuple(sorted(values[word])), []).append(word)
    chance = generator(seed, "words to fit", concept, number)
    kept = set[str]()
    for words in alike.values():
        drawn = [words[place] for place in chance.permutation(len(words))]
        kept |= set(drawn[: (len(words) + 1) // 2])
    return kept
