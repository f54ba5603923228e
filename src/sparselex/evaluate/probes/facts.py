"""Questions about cities as prompts of a model, and which of them it answers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sparselex.base.bos import bos_of
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.evaluate.probes.asked import Ints
from sparselex.evaluate.probes.coded import Judged
from sparselex.evaluate.supervised.nodes import Bench, Node
from sparselex.tasks.cities import PREFIX, QUESTIONS, City, cities
from sparselex.tasks.records import END, LabelledPrompts

CITY = "city"
"""The role of a city's last token."""


class Facts(NamedTuple):
    """Cities of which a model knows all attributes, and the questions about them."""

    known: list[City]
    """The cities."""

    prompts: Mapping[str, LabelledPrompts]
    """Of each attribute a question about each of them; its answer is the first token of the right one."""

    able: dict[str, Figure]
    """Of each attribute on how many of all cities the right answer is the most likely token."""

    def of(self, attribute: str, rows: Ints) -> LabelledPrompts:
        """The questions about some of them."""
        return self.prompts[attribute].of(rows)


def facts_of(judged: Judged) -> Facts:
    """What the model knows of every city. One that its tokenizer joins with what follows is left out, as is one with a
    value whose answer begins like another's: its first token would not tell them apart."""
    alike = {attribute: _alike(judged, attribute) for attribute in QUESTIONS}
    every = [
        city
        for city in cities()
        if _is_apart(judged, city) and all(city.value(name) not in some for name, some in alike.items())
    ]
    prompts = {attribute: _prompts(judged, every, attribute) for attribute in QUESTIONS}
    node = Node(judged.hook, CITY)
    right = {
        name: Bench(judged.model, rows, [node]).clean.token == rows.answers if len(every) else np.zeros(0, dtype=bool)
        for name, rows in prompts.items()
    }
    able = {
        name: mean_figure(
            f"probes/ravel/{name}/known",
            flags,
            f"share of cities whose {name} is the most likely token behind {QUESTIONS[name]!r}",
            over="cities",
            share=True,
        )
        for name, flags in right.items()
    }
    rows = np.flatnonzero(np.all(list(right.values()), axis=0))
    return Facts([every[row] for row in rows], {name: one.of(rows) for name, one in prompts.items()}, able)


def _tokens(judged: Judged, text: str) -> list[int]:
    begins = bos_of(judged.model.tokenizer, judged.bos)
    return [*([] if begins is None else [begins]), *judged.model.tokenizer.encode_batch([text])[0]]


def _alike(judged: Judged, attribute: str) -> set[str]:
    """The values of an attribute whose answers begin with the token of another's."""
    by_token: dict[int, set[str]] = {}
    for value in {city.value(attribute) for city in cities()}:
        by_token.setdefault(_begins(judged, value), set()).add(value)
    return {value for values in by_token.values() if len(values) > 1 for value in values}


def _begins(judged: Judged, value: str) -> int:
    """The token with which an answer begins."""
    return judged.model.tokenizer.encode_batch([f" {value}"])[0][0]


def _is_apart(judged: Judged, city: City) -> bool:
    """Whether the tokens of a question begin with those of what stands up to the city's name."""
    before = PREFIX.format(city=city.name)
    begins = _tokens(judged, before)
    return all(_tokens(judged, before + question)[: len(begins)] == begins for question in QUESTIONS.values())


def _prompts(judged: Judged, every: Sequence[City], attribute: str) -> LabelledPrompts:
    before = [PREFIX.format(city=city.name) for city in every]
    rows = [_tokens(judged, text + QUESTIONS[attribute]) for text in before]
    n_ctx = max(map(len, rows))
    answers = np.array([_begins(judged, city.value(attribute)) for city in every])
    return LabelledPrompts(
        fillings=tuple({CITY: city.name} for city in every),
        tokens=np.array([[*row, *[row[-1]] * (n_ctx - len(row))] for row in rows]),
        roles={
            CITY: np.array([len(_tokens(judged, text)) - 1 for text in before]),
            END: np.array([len(row) - 1 for row in rows]),
        },
        attributes={},
        values={},
        answers=answers,
        others=answers,
    )
