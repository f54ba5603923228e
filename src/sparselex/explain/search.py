"""The search for a rule: fit on training tokens, choose on validation tokens. Arrays in, rule out."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.intervals import Floats
from sparselex.explain.keys import KINDS, KeyTable, Kind
from sparselex.explain.measures import Confusion, confusion
from sparselex.explain.rules import Rule
from sparselex.features.counted import Column

MOST_KEYS = 32
"""Entries that a rule may have; longer ones are no explanation."""

BITS_COST = 1e-4
"""F1 given up per bit of rule: a token costs log2(vocabulary) bits, a pair twice that, so 32 tokens cost about 0.04."""


class Chosen(NamedTuple):
    """The rule that did best on the validation tokens, and how it did."""

    rule: Rule
    confusion: Confusion


def beats(found: Chosen | None, null: Chosen | None) -> bool:
    """Whether a rule is better beyond doubt, on the validation tokens, than the best one for activations moved
    elsewhere."""
    return found is not None and found.confusion.f1_low > (null.confusion.f1 if null else 0.0)


def search(train: KeyTable, on_train: Column, validation: KeyTable, on_validation: Column) -> Chosen | None:
    """The best rule of any kind and size by validation F1 less a price for its length; None where nothing can be
    fitted."""
    best, best_worth = None, -np.inf
    for kind in KINDS:
        keys, means = ranked_keys(kind, train, on_train)
        worth = _f1_by_size(kind, keys, validation, on_validation)
        worth -= BITS_COST * np.log2(train.n_vocab) * (2 if kind == "pair" else 1) * np.arange(1, len(keys) + 1)
        if len(keys) and worth.max() > best_worth:
            size, best_worth = int(worth.argmax()) + 1, worth.max()
            best = _rule(kind, keys[:size], means[:size])
    return Chosen(best, confusion(best, validation, on_validation)) if best else None


def ranked_keys(kind: Kind, train: KeyTable, column: Column) -> tuple[NDArray[np.int64], Floats]:
    """The keys most worth naming, best first, and the mean activation on each; as many as give the best F1 on training
    tokens.

    Keys are ranked by how often the latent is active on them. Those that matter are few: only the `MOST_KEYS` with the
    most active tokens, weighted by that share, are ranked at all.
    """
    coded = train.coded[kind]
    codes, n_active, mass = _by_code(coded.codes[column.ranks], column.values)
    if not len(codes):
        return np.empty(0, dtype=np.int64), np.empty(0)
    # A key with few of the active tokens can add little: the rest are not looked at.
    often = np.argsort(-n_active, kind="stable")[: 16 * MOST_KEYS]
    codes, n_active, mass = codes[often], n_active[often], mass[often]
    keys, n = coded.distinct[codes], coded.n_of[codes]
    # A key seen once and active once is no evidence of a share of 1: one more token is imagined, at the latent's base
    # rate.
    share = (n_active + len(column.ranks) / train.n) / (n + 1)
    order = np.argsort(-n_active * share, kind="stable")[:MOST_KEYS]
    order = order[np.argsort(-share[order], kind="stable")]
    f1 = 2 * n_active[order].cumsum() / (n[order].cumsum() + len(column.ranks))
    order = order[: int(f1.argmax()) + 1]
    return keys[order], (mass / n)[order]


def _by_code(codes: NDArray[np.int32], values: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """The codes that there are, ascending, how often each is there, and the sum of the values at it."""
    # Sorted with their places in one word: sorting words is ten times as quick as finding their order.
    words = np.sort((codes.astype(np.int64) << 32) | np.arange(len(codes)))
    found, places = words >> 32, words & 0xFFFFFFFF
    new = np.ones(len(found), dtype=bool)
    new[1:] = found[1:] != found[:-1]
    group: NDArray[np.int64] = new.cumsum() - 1
    mass = np.asarray(np.bincount(group, values[places]), dtype=np.float64)
    return found[new], np.bincount(group).astype(np.int64), mass


def _f1_by_size(kind: Kind, keys: NDArray[np.int64], table: KeyTable, column: Column) -> Floats:
    """F1 of the rules that name the first 1, 2, 3 … keys."""
    hits = table.n_active(kind, keys, column.ranks)
    total = table.counts(kind, keys).cumsum() + len(column.ranks)
    return 2 * hits.cumsum() / np.maximum(total, 1)


def _rule(kind: Kind, keys: NDArray[np.int64], means: Floats) -> Rule:
    # Rounded as printed: the text and the predictor must not differ in a digit.
    entries = sorted(zip(keys.tolist(), (float(f"{mean:.4g}") for mean in means), strict=True), key=lambda e: -e[1])
    return Rule(kind, dict(entries))
