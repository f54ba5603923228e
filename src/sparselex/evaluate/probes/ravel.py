"""RAVEL (Huang et al. 2024, arXiv:2402.17700): whether one attribute of an entity can be exchanged and the others left.

Of two cities the latents that are chosen for an attribute get, at the last token of the first one's name, what they are
at the second one's. *Cause*: the question about the attribute is then answered as for the second. *Isolation*: a
question about another attribute is still answered as for the first. The mean of both is 0.5 when nothing is done, and
when everything is exchanged: it is rescaled so that these have 0.

Other than there, latents are not chosen by a mask that is learnt: by what exchanging each would do to first order for
the attribute, less what it would do for the others, on cities that are not tested."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparselex.base.estimates import figure_of
from sparselex.base.figures import Failure, Figure
from sparselex.base.seeds import generator
from sparselex.causal.edits import bound, put
from sparselex.causal.where import at
from sparselex.evaluate.probes.asked import Ints
from sparselex.evaluate.probes.attributed import others_alike
from sparselex.evaluate.probes.coded import Columns, Judged, Site, latents_of
from sparselex.evaluate.probes.config import ProbesConfig
from sparselex.evaluate.probes.facts import CITY, Facts, facts_of
from sparselex.evaluate.probes.logistic import Floats
from sparselex.evaluate.probes.records import LATENTS, NOTHING, SUPERVISED, Ravel, RavelRow
from sparselex.evaluate.supervised.nodes import Bench, Node, read_nodes
from sparselex.tasks.cities import QUESTIONS

LEAST_CITIES = 16
"""Cities that a model must know for some to be chosen on and others to be tested on."""

_PAIRS = 16
"""Pairs of cities for each seed."""

_MOST_NS = 3


class Fold(NamedTuple):
    """One way to divide the cities, and pairs of tested ones, by number."""

    fit: Ints
    base: Ints
    source: Ints
    benches: Mapping[str, Bench]
    """Of each attribute the questions about the first city of each pair."""


class Outcome(NamedTuple):
    """What exchanges did, pair by pair: means over attributes."""

    cause: Floats
    isolation: Floats
    base: Ints
    """The first city of each pair."""


def ravel(judged: Judged, config: ProbesConfig) -> tuple[Ravel | None, list[Failure]]:
    """RAVEL at the dictionary's site; nothing where the model does not know the facts, and why."""
    facts = facts_of(judged)
    folds = list(_folds(judged, facts, config)) if len(facts.known) >= LEAST_CITIES else []
    if not folds:
        told = ", ".join(f"{name} {figure.value or 0:.2f}" for name, figure in facts.able.items())
        why = f"the model knows all attributes of {len(facts.known)} cities (share that is known: {told})"
        return None, [Failure(subject="ravel", reason=f"{why}, and {LEAST_CITIES} of several kinds are needed")]
    rows = [_row(name, n, made, null) for name, n, made, null in _exchanged(judged, facts, folds, config)]
    return Ravel(able=facts.able, n_entities=len(facts.known), rows=rows), []


def _folds(judged: Judged, facts: Facts, config: ProbesConfig) -> Iterator[Fold]:
    """Halves of the cities, and pairs of tested ones that differ in every attribute and of whose values all were seen
    in the half to fit; none where there are no such pairs."""
    n, node = len(facts.known), Node(judged.hook, CITY)
    for number in range(config.n_seeds):
        chance = generator(config.seed, "cities", number)
        order = chance.permutation(n)
        fit, test = np.sort(order[: n // 2]), np.sort(order[n // 2 :])
        pairs = [
            (one, other)
            for one in _seen(facts, fit, test)
            for other in _seen(facts, fit, test)
            if _differ(facts, one, other)
        ]
        if not pairs:
            continue
        drawn = np.array([pairs[place] for place in chance.permutation(len(pairs))[:_PAIRS]])
        base, source = drawn[:, 0], drawn[:, 1]
        benches = {name: Bench(judged.model, facts.of(name, base), [node]) for name in QUESTIONS}
        yield Fold(fit, base, source, benches)


def _seen(facts: Facts, fit: Ints, test: Ints) -> list[int]:
    values = {name: {facts.known[row].value(name) for row in fit} for name in QUESTIONS}
    return [row for row in test.tolist() if all(facts.known[row].value(name) in values[name] for name in QUESTIONS)]


def _differ(facts: Facts, one: int, other: int) -> bool:
    return all(facts.prompts[name].answers[one] != facts.prompts[name].answers[other] for name in QUESTIONS)


def _exchanged(
    judged: Judged, facts: Facts, folds: Sequence[Fold], config: ProbesConfig
) -> Iterator[tuple[str, int, Outcome, float | None]]:
    """Every kind of exchange: nothing, some coordinates, all of them, everything, and what labels say."""
    node = Node(judged.hook, CITY)
    x = read_nodes(judged.model, next(iter(facts.prompts.values())), [node])[node]
    kinds = _kinds(judged, x)
    still = {name: [np.zeros((len(fold.base), x.shape[1])) for fold in folds] for name in QUESTIONS}
    yield NOTHING, 0, _outcome(judged, facts, folds, x, still), None
    yield SUPERVISED, 0, _outcome(judged, facts, folds, x, _supervised(facts, folds, x)), None
    slopes = [_slopes(judged, facts, fold, x) for fold in folds]
    for name, columns in kinds.items():
        dense, whole = columns.values.toarray(), np.arange(columns.values.shape[1])
        if name != "pca":  # all of these are all neurons
            every = {one: [_moved(columns, dense, fold, whole) for fold in folds] for one in QUESTIONS}
            yield name, 0, _outcome(judged, facts, folds, x, every), None
        orders = [_chosen(columns, dense, of_fold) for of_fold in slopes]
        for n in _few(config.ns):
            taken = {one: [order[one][:n] for order in orders] for one in QUESTIONS}
            made = _outcome(judged, facts, folds, x, _moves(columns, dense, folds, taken))
            chance = generator(config.seed, "others that are active as often", "ravel", n)
            drawn = {one: [others_alike(columns.rates, some, chance) for some in taken[one]] for one in QUESTIONS}
            null = _outcome(judged, facts, folds, x, _moves(columns, dense, folds, drawn)) if name == LATENTS else None
            yield name, n, made, None if null is None else _rescaled(null)


def _few(ns: Sequence[int]) -> list[int]:
    """The first, the middle and the last: every one takes passes of the model."""
    return list(dict.fromkeys((ns[0], ns[len(ns) // 2], ns[-1])))[:_MOST_NS]


def _kinds(judged: Judged, x: Tensor) -> dict[str, Columns]:
    site = Site(x, torch.arange(len(x)), len(x))
    always = lambda basis: Columns.always((x - x.mean(0)).double().numpy() @ basis.T, basis)
    components = np.linalg.svd((x - x.mean(0)).double().numpy(), full_matrices=False)[2]
    return {
        LATENTS: latents_of(judged.dictionary, site),
        "neurons": always(np.eye(x.shape[1])),
        "pca": always(components),
    }


def _slopes(judged: Judged, facts: Facts, fold: Fold, x: Tensor) -> dict[str, tuple[Ints, Ints, Floats]]:
    """Of each attribute pairs of cities to fit that differ in it, and the slope of the logit of the second one's answer
    less that of the first one's by what is at the first one's last token."""
    found = {}
    for name in QUESTIONS:
        answers = facts.prompts[name].answers
        pairs = np.array([(one, other) for one in fold.fit for other in fold.fit if answers[one] != answers[other]])
        pairs = pairs[generator(len(pairs), "pairs to fit", name).permutation(len(pairs))[: 2 * _PAIRS]]
        found[name] = (pairs[:, 0], pairs[:, 1], _slope(judged, facts, name, pairs, x))
    return found


def _slope(judged: Judged, facts: Facts, name: str, pairs: Ints, x: Tensor) -> Floats:
    prompts = facts.of(name, pairs[:, 0])
    rows = torch.arange(len(prompts))
    there = x[pairs[:, 0]].to(judged.model.device).clone().requires_grad_(True)
    edits = bound(put(judged.hook, there, at(torch.from_numpy(prompts.roles[CITY]))))
    last = judged.model.last(torch.from_numpy(prompts.tokens), edits, grad=True)
    logits = judged.model.predict(last[rows, torch.from_numpy(prompts.ends)], grad=True)
    own, wanted = (torch.from_numpy(facts.prompts[name].answers[side]) for side in pairs.T)
    (logits[rows, wanted] - logits[rows, own]).sum().backward()
    found: Floats = there.grad.double().cpu().numpy() if there.grad is not None else np.zeros(there.shape)
    return found


def _chosen(columns: Columns, dense: Floats, slopes: Mapping[str, tuple[Ints, Ints, Floats]]) -> dict[str, Ints]:
    """Of each attribute all coordinates, the best to exchange first."""
    effect = {
        name: ((dense[source] - dense[base]) * (slope @ columns.directions.T)).mean(0)
        for name, (base, source, slope) in slopes.items()
    }
    size = {name: max(float(np.abs(one).sum()), 1e-12) for name, one in effect.items()}
    shares = {name: one / size[name] for name, one in effect.items()}
    return {
        name: np.argsort(-(one - np.mean([shares[other] for other in shares if other != name], axis=0)), kind="stable")
        for name, one in shares.items()
    }


def _moves(
    columns: Columns, dense: Floats, folds: Sequence[Fold], taken: Mapping[str, Sequence[Ints]]
) -> dict[str, list[Floats]]:
    return {
        name: [_moved(columns, dense, fold, some) for fold, some in zip(folds, of_folds, strict=True)]
        for name, of_folds in taken.items()
    }


def _moved(columns: Columns, dense: Floats, fold: Fold, taken: Ints) -> Floats:
    """`[n_pairs, d]`, by what exchanging these coordinates changes what is at the first city."""
    found: Floats = (dense[fold.source][:, taken] - dense[fold.base][:, taken]) @ columns.directions[taken]
    return found


def _supervised(facts: Facts, folds: Sequence[Fold], x: Tensor) -> dict[str, list[Floats]]:
    """The mean of the value that is wanted less that of the value that is there, over cities to fit."""
    values, found = x.double().numpy(), dict[str, list[Floats]]()
    for name in QUESTIONS:
        answers = facts.prompts[name].answers
        mean = lambda fold, row, labels=answers: values[fold.fit][labels[fold.fit] == labels[row]].mean(0)
        found[name] = [
            np.stack([mean(fold, other) - mean(fold, one) for one, other in zip(fold.base, fold.source, strict=True)])
            for fold in folds
        ]
    return found


def _outcome(
    judged: Judged, facts: Facts, folds: Sequence[Fold], x: Tensor, moves: Mapping[str, Sequence[Floats]]
) -> Outcome:
    """What the model answers when what is at the first city of each pair is moved, attribute by attribute."""
    cause, isolation = list[Floats](), list[Floats]()
    node = Node(judged.hook, CITY)
    for number, fold in enumerate(folds):
        causes, stays = list[Floats](), list[Floats]()
        for name, of_folds in moves.items():
            put_there = {node: x[fold.base] + torch.from_numpy(of_folds[number]).float()}
            for asked, bench in fold.benches.items():
                says, answers = bench.with_values(put_there).token, facts.prompts[asked].answers
                wanted = fold.source if asked == name else fold.base
                (causes if asked == name else stays).append((says == answers[wanted]).astype(np.float64))
        cause.append(np.mean(causes, axis=0))
        isolation.append(np.mean(stays, axis=0))
    return Outcome(np.concatenate(cause), np.concatenate(isolation), np.concatenate([fold.base for fold in folds]))


def _rescaled(made: Outcome) -> float:
    return float((made.cause + made.isolation).mean() - 1)


def _row(name: str, n: int, made: Outcome, null: float | None) -> RavelRow:
    path, exchanged = f"probes/ravel/{name}/n={n}", f"{n} of the {name} are" if n else f"{name} is"
    words = {
        "cause": f"share of questions answered as for the other city when {exchanged} exchanged",
        "isolation": f"share of questions about other attributes answered as before when {exchanged} exchanged",
        "disentangled": f"mean of cause and isolation, less 0.5, over 0.5, when {exchanged} exchanged",
    }
    columns = {"cause": made.cause, "isolation": made.isolation, "disentangled": made.cause + made.isolation - 1}
    figures = {key: _figure(f"{path}/{key}", columns[key], made.base, said) for key, said in words.items()}
    if null is not None and figures["disentangled"].value is not None:
        figures["disentangled"] = figures["disentangled"].model_copy(update={"null": null})
    return RavelRow(name=name, n=n, **figures)


def _figure(name: str, values: Floats, base: Ints, words: str) -> Figure:
    is_share = not name.endswith("/disentangled")
    places = np.unique(base, return_inverse=True)[1]
    sums = np.stack([np.bincount(places, values), np.bincount(places)], axis=1).astype(np.float64)
    mean = lambda s: s[..., 0] / s[..., 1]
    return figure_of(name, sums, mean, words, over="cities", n=len(values), share=is_share, better="higher")
