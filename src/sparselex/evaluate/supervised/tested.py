"""The three tests of dictionaries at one place: approximation, control and interpretability, each beside the supervised
dictionary, its shuffled labels, and no edit at all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparselex.base.figures import Figure
from sparselex.evaluate.supervised.approximation import (
    Approximated,
    approximated,
    approximated_by,
    necessity,
    sufficiency,
)
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.edited import edit_of, edits_of
from sparselex.evaluate.supervised.firing import firing_of
from sparselex.evaluate.supervised.labels import MADE, Supervised, shuffled
from sparselex.evaluate.supervised.meanings import meanings_of
from sparselex.evaluate.supervised.nodes import Node, Said, Values
from sparselex.evaluate.supervised.pairs import labels_of, n_values_of
from sparselex.evaluate.supervised.place import AtPlace, Coded, coded_by, generator_of
from sparselex.evaluate.supervised.records import DECIDED, LABELS, SHUFFLED, SUPERVISED, Edit, Gate, Row
from sparselex.evaluate.supervised.rows import Contestant
from sparselex.evaluate.supervised.splits import splits_of


class Labelled(NamedTuple):
    """Dictionaries that are made of labels."""

    name: str
    """What they are."""

    names: Sequence[str]
    """The variables whose values have vectors."""

    groups: Sequence[Mapping[Node, Supervised]]
    """One for each node; of shuffled labels for every seed."""


def supervised_rows(
    at: AtPlace, config: TaskConfig, parametrisations: Mapping[str, Sequence[str]]
) -> tuple[list[Row], dict[str, list[Gate]]]:
    """The supervised dictionary of the attributes, the same made in the other way and of other variables, and that of
    shuffled labels; and of each but the last whether it is a yardstick."""
    attributes = list(at.prompts.fit.attributes)
    other = next(way for way in MADE if way != config.supervised)
    shuffles = [
        _made(at, config.supervised, shuffled(labels_of(at.prompts.fit), generator_of(config.seed, "shuffled", seed)))
        for seed in range(config.n_seeds)
    ]
    made = [
        Labelled(SUPERVISED, attributes, [_made(at, config.supervised, labels_of(at.prompts.fit))]),
        Labelled(f"{SUPERVISED}, {other}", attributes, [_made(at, other, labels_of(at.prompts.fit))]),
    ]
    for name, names in parametrisations.items():
        labels = labels_of(at.prompts.fit, names)
        made.append(Labelled(f"{SUPERVISED}, {name}", names, [_made(at, config.supervised, labels)]))
    rows = [_supervised_row(at, one) for one in made]
    floor = _supervised_row(at, Labelled(SHUFFLED, attributes, shuffles))
    return [*rows, floor], {row.name: _gates(row, floor) for row in rows}


def rows_of(at: AtPlace, contestants: Iterable[Contestant], config: TaskConfig) -> Iterator[Row]:
    """What comes out of each."""
    for one in contestants:
        yield _row(at, one, config)


def _made(at: AtPlace, way: str, labels: Mapping[str, Tensor]) -> dict[Node, Supervised]:
    n_values = n_values_of(at.prompts.fit, list(labels))
    return {node: MADE[way](values, labels, n_values) for node, values in at.fit.items()}


def _supervised_row(at: AtPlace, made: Labelled) -> Row:
    name, names, groups = made
    labels = labels_of(at.prompts.test, names)
    x_hats = [{node: one.reconstruct(labels) for node, one in group.items()} for group in groups]
    found = approximated(at.bench, at.clean, at.ablated, at.there, x_hats, at.means)
    edits = list[Edit]()
    for attribute in at.wanted:
        becomes = labels_of(at.prompts.changed[attribute], names)
        says, removed = list[Said](), list[float]()
        for group in groups:
            values = {node: one.edited(at.there[node], labels, becomes) for node, one in group.items()}
            says.append(at.bench.with_values(values))
            removed.append(float(np.mean([float(o.removed(labels, becomes).mean()) for o in group.values()])))
        n_exchanged = 2 * sum(float((labels[name] != becomes[name]).float().mean()) for name in names)
        edits.append(edit_of(at, name, attribute, LABELS, 2, says, float(np.mean(removed)), n_exchanged))
    path = f"{at.name}/{name}"
    whole = _averaged(found)
    return Row(
        name=name,
        setting="",
        n_seeds=len(groups),
        l0=float(len(labels)),
        fvu=_fvu(at.there, x_hats),
        sufficiency=sufficiency(path, whole),
        necessity=necessity(path, whole),
        edits=edits,
    )


def _row(at: AtPlace, one: Contestant, config: TaskConfig) -> Row:
    path = f"{at.name}/{one.name} {one.setting}"
    coded = [{node: coded_by(dictionary, at.there[node]) for node, dictionary in group.items()} for group in one.groups]
    x_hats = [{node: codes.x_hat for node, codes in group.items()} for group in coded]
    found = approximated(at.bench, at.clean, at.ablated, at.there, x_hats, at.means)
    whole = _averaged(found)
    agreements = [approx.enough.mean() / approx.clean.mean() for approx in found]
    firing = firing_of(at, one, config)
    meanings, f1s = meanings_of(at, one, firing, path, config)
    return Row(
        name=one.name,
        setting=one.setting,
        run=one.run.name if one.run else "",
        dictionary=one.run.id if one.run else "",
        n_seeds=len(one.groups),
        l0=float(np.mean([float((c.acts != 0).sum(-1).float().mean()) for group in coded for c in group.values()])),
        silent=float(np.mean([float((~one.fit.any(0)).float().mean()) for group in firing for one in group.values()])),
        fvu=_fvu(at.there, x_hats),
        sufficiency=sufficiency(path, whole),
        necessity=necessity(path, whole),
        edits=list(edits_of(at, one, coded, f1s, config)),
        meanings=meanings,
        causal=list(_causal(at, path, coded, f1s, config)),
        splits=splits_of(at, firing, path),
        spread={"sufficiency": float(np.std(agreements))} if len(agreements) > 1 else {},
    )


def _causal(
    at: AtPlace,
    path: str,
    coded: Sequence[Mapping[Node, Coded]],
    f1s: Sequence[Mapping[Node, Mapping[str, Tensor]]],
    config: TaskConfig,
) -> Iterator[Figure]:
    """Test 3 by what it does: the latents that stand for no value are subtracted, or those that stand for one."""
    kept, left = list[dict[Node, Tensor]](), list[dict[Node, Tensor]]()
    for group, known in zip(coded, f1s, strict=True):
        kept.append({})
        left.append({})
        for node, codes in group.items():
            best = torch.stack([scores.amax(-1) for scores in known[node].values()]).amax(0)
            means_something = best >= config.known_for
            kept[-1][node] = at.there[node] - (codes.acts * ~means_something) @ codes.W_dec
            left[-1][node] = at.there[node] - (codes.acts * means_something) @ codes.W_dec
    found = approximated_by(at.bench, at.clean, at.ablated, kept, left)
    whole = _averaged(found)
    words = f"latents with an F1 of {config.known_for:g} or more for a value"
    yield sufficiency(f"{path}/known", whole).model_copy(
        update={"definition": f"as sufficiency, with all but {words} subtracted from what is there"}
    )
    yield necessity(f"{path}/known", whole).model_copy(
        update={"definition": f"as necessity, with {words} subtracted from what is there"}
    )


def _gates(supervised: Row, shuffles: Row) -> list[Gate]:
    """Whether the supervised dictionary is a yardstick: it is enough, it leaves out nothing that matters, its edits do
    what the truth does, and those of shuffled labels do nothing."""
    edits = [edit.agreement.value for edit in supervised.edits]
    floor = [(edit.agreement.value or 0.0) - (edit.agreement.null or 0.0) for edit in shuffles.edits]
    return [
        _gate("sufficiency", supervised.sufficiency.value, least=0.9),
        _gate("necessity", supervised.necessity.value, least=0.8),
        _gate(DECIDED, float(len(edits)), least=1.0),
        _gate("edit agreement", min((value or 0.0 for value in edits), default=None), least=0.8),
        _gate("shuffled labels above no edit", max(floor, default=None), most=0.1),
    ]


def _gate(name: str, value: float | None, *, least: float | None = None, most: float | None = None) -> Gate:
    wanted = f"at least {least:g}" if least is not None else f"at most {most:g}"
    passed = value is not None and (value >= least if least is not None else value <= (most or 0.0))
    return Gate(name=name, value=value, wanted=wanted, passed=passed)


def _averaged(found: Sequence[Approximated]) -> Approximated:
    """The mean over seeds, prompt by prompt."""
    return Approximated(*(np.mean(columns, axis=0) for columns in zip(*found, strict=True)))


def _fvu(values: Values, x_hats: Sequence[Values]) -> float | None:
    """Share of the variance that is left out, over all nodes, the mean over seeds; None where nothing varies."""
    whole = sum(float((x - x.mean(0)).square().sum()) for x in values.values())
    left = [sum(float((x - x_hat[node]).square().sum()) for node, x in values.items()) for x_hat in x_hats]
    return float(np.mean(left)) / whole if whole else None
