"""Latents that have rules, of a run and of its controls: what analyses of explanations look at. Nothing here loads
PyTorch."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.base.seeds import generator
from sparselex.explain.rules import Rule, rule_of
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex

LEAST_TOP = 5
"""Top examples from which a latent can be of a single token."""


class Ruled(NamedTuple):
    """A run whose latents have rules."""

    run: str
    """Its name."""

    words: str
    """What it has otherwise than the run that it is a control of; empty for that run itself."""

    features: FeatureIndex
    """Where and how strongly its latents are active."""

    rules: dict[int, Rule]
    """The rule of each latent that has one."""

    def drawn(self, n: int, seed: int) -> NDArray[np.int64]:
        """`n` latents with rules drawn at random, or all, ascending. Raises `UserError` where there are fewer than two:
        each is held against another one's."""
        named = np.array(sorted(self.rules), dtype=np.int64)
        if len(named) < 2:
            raise UserError(
                f"{len(named)} latents of run {self.run!r} have a rule.",
                "2 or more, so that each can be held against the rule of another",
                "explain the run by rules (`sparselex explain`), or index more text.",
            )
        return np.sort(generator(seed, "ruled").choice(named, min(n, len(named)), replace=False))

    @property
    def single_token(self) -> NDArray[np.bool_]:
        """`[d_sae]`, whether all top examples of a latent are on one token, as in Bricken et al. (2023): such latents
        are common in models with random weights, and easily explained."""
        top = np.asarray(self.features.all_top_positions).astype(np.int64)
        tokens = self.features.corpus.tokens.reshape(-1)[top.clip(min=0)]
        there = top >= 0
        return (there.sum(1) >= LEAST_TOP) & np.where(there, tokens == tokens[:, :1], True).all(1)


def ruled(run: str, words: str, index: FeatureIndex, store: ExplanationStore) -> Ruled:
    """The latents of an index with the rules that are in the store. Raises `UserError` for an index that keeps a sample
    of activations."""
    index.check_whole("holding explanations against every activation")
    said = store.all(index.id, "rule")
    return Ruled(run, words, index, {one.latent: rule for one in said if (rule := rule_of(one.predictor))})


def another_of(latents: NDArray[np.int64], seed: int) -> dict[int, int]:
    """For each of two latents or more another one of them, drawn at random, none twice."""
    order = generator(seed, "another").permutation(latents)
    return dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))
