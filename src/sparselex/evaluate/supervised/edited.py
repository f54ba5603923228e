"""Test 2 at one place: what the model says when latents are exchanged at all nodes at once."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.control import Edited, Exchange, by_meaning, greedy
from sparselex.evaluate.supervised.nodes import Node, Said
from sparselex.evaluate.supervised.pairs import labels_of
from sparselex.evaluate.supervised.place import AtPlace, Coded, agreement, coded_by
from sparselex.evaluate.supervised.records import GREEDY, Edit
from sparselex.evaluate.supervised.rows import Contestant

GREEDILY_ON, BY_MEANING = "greedy without stop", "by meaning"


def edits_of(
    at: AtPlace,
    one: Contestant,
    coded: Sequence[Mapping[Node, Coded]],
    f1s: Sequence[Mapping[Node, Mapping[str, Tensor]]],
    config: TaskConfig,
) -> Iterator[Edit]:
    """Test 2 for every attribute, way and budget: all nodes are edited at once, each by as many latents."""
    labels = labels_of(at.prompts.test)
    for attribute, wanted in at.wanted.items():
        was, becomes = labels[attribute], labels_of(at.prompts.changed[attribute])[attribute]
        exchanges = [
            {
                node: Exchange(
                    codes.acts,
                    coded_by(codes.dictionary, wanted[node]).acts,
                    codes.W_dec,
                    wanted[node] - at.there[node],
                )
                for node, codes in group.items()
            }
            for group in coded
        ]
        ways: dict[str, list[dict[Node, dict[int, Edited]]]] = {
            GREEDY: [{n: dict(greedy(x, config.budgets, stops=True)) for n, x in group.items()} for group in exchanges],
            GREEDILY_ON: [
                {n: dict(greedy(x, config.budgets, stops=False)) for n, x in group.items()} for group in exchanges
            ],
            BY_MEANING: [
                {n: dict(by_meaning(x, known[n][attribute], was, becomes, config.budgets)) for n, x in group.items()}
                for group, known in zip(exchanges, f1s, strict=True)
            ],
        }
        every = [
            (way, k, [{node: budgets[k] for node, budgets in seed.items()} for seed in seeds])
            for way, seeds in ways.items()
            for k in config.budgets
        ]
        says = iter(at.bench.with_each([_put(at, edited) for _, _, seeds in every for edited in seeds]))
        for way, k, seeds in every:
            removed = np.mean([float(e.removed.mean()) for seed in seeds for e in seed.values()])
            n_exchanged = np.mean([float(e.n_exchanged.mean()) for seed in seeds for e in seed.values()])
            said = [next(says) for _ in seeds]
            yield edit_of(at, f"{one.name} {one.setting}", attribute, way, k, said, float(removed), float(n_exchanged))


def _put(at: AtPlace, edited: Mapping[Node, Edited]) -> dict[Node, Tensor]:
    """What is there once it is edited."""
    return {node: at.there[node] + one.change for node, one in edited.items()}


def edit_of(
    at: AtPlace,
    row: str,
    attribute: str,
    way: str,
    k: int,
    says: Sequence[Said],
    removed: float,
    n_exchanged: float,
) -> Edit:
    name = f"{at.name}/{attribute}/{row}/{way.replace(' ', '_')}/k={k}"
    words = f"latents were exchanged ({way}, at most {k} at each node)"
    figure = agreement(name, says, at.truth[attribute], words, at.unedited[attribute].value)
    return Edit(attribute=attribute, way=way, k=k, agreement=figure, removed=removed, n_exchanged=n_exchanged)
