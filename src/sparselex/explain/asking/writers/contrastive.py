"""An explanation from what a latent is active on beside what is easily mistaken for it."""

import numpy as np
from numpy.typing import NDArray

from sparselex.base.seeds import generator
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.words import fenced, prompt, variant
from sparselex.explain.asking.writers.examples import NOTHING_SHOWN
from sparselex.explain.asking.writers.passages import WITH_STRENGTHS, Passages
from sparselex.explain.asking.writers.sentences import THOUGHTS, asking, said_of, unsaid
from sparselex.explain.evidence import Evidence
from sparselex.llm.records import Capabilities, Request, Talk

VERSION = "contrastive.v1"
"""The prompt."""

_SHARE = 3
"""As many active windows go on one silent window (15 on 5 in delphi's contrastive explainer)."""

_OFTEN, _NEAR = 5, 3
"""Tokens on which a latent is active most often, and latents with the nearest directions, whose windows are shown."""


class Contrastive:
    """One sentence for each latent, from windows in which it is active and windows of the same training documents in
    which it is silent, though they hold its tokens, or latents with near directions are active there."""

    explained = "an explanation by a language model that has seen what is easily mistaken"

    def __init__(self, evidence: Evidence, config: AskConfig, subject: Opens | None = None):
        self.passages, self.config, self.train = Passages(evidence.train, config), config, evidence.train

    def talk(self, latent: int, can: Capabilities) -> Talk[Told]:
        """Asks, and once more where the answer cannot be read."""
        silent = self.silent(latent)
        first, said = self._request(latent, silent, can), f"{variant(VERSION, can)}, {len(silent)} silent windows"
        if first is None:
            return unsaid(latent, NOTHING_SHOWN, said)
        return (yield from said_of(latent, first, said))

    def silent(self, latent: int) -> list[int]:
        """Numbers of the silent windows that are shown: half of them hold its tokens, half are those of its neighbours;
        where there are too few, any."""
        n, rng = max(2, self.config.examples // _SHARE), generator(self.config.seed, "mistaken", latent)
        column, windows = self.train.column(latent), self.passages.grid
        kinds = (self._at_tokens(latent), self._at_neighbours(latent))
        found = list[int]()
        for ranks, wanted in zip(kinds, (n - n // 2, n // 2), strict=True):
            there = np.setdiff1d(windows.silent_at(column, ranks), found)
            found += rng.permutation(there)[:wanted].tolist()
        rest = np.setdiff1d(windows.silent(column), found)
        return found + rng.permutation(rest)[: n - len(found)].tolist()

    def _at_tokens(self, latent: int) -> NDArray[np.int64]:
        """Ranks of the tokens on which it is active most often, wherever they stand."""
        tokens = self.train.tokens.tokens
        counts = np.bincount(tokens[self.train.column(latent).ranks], minlength=1)
        often = np.argsort(-counts, kind="stable")[:_OFTEN]
        return np.flatnonzero(np.isin(tokens, often[counts[often] > 0]))

    def _at_neighbours(self, latent: int) -> NDArray[np.int64]:
        """Ranks at which latents with near directions are active."""
        near = self.train.neighbours(latent)[:_NEAR]
        return np.concatenate([*(self.train.column(other).ranks for other in near), np.empty(0, dtype=np.int64)])

    def _request(self, latent: int, silent: list[int], can: Capabilities) -> Request | None:
        passages, config = self.passages, self.config
        if not (windows := passages.active(latent)):
            return None
        pair = passages.pair(windows)
        active = [passages.text(window, pair) for window in windows]
        others = [passages.plain(passages.tokens(passages.grid.ranks(number))) for number in silent]
        system = prompt(VERSION).substitute(
            opening=pair[0],
            closing=pair[1],
            strengths=WITH_STRENGTHS if config.strengths else "",
            thoughts=THOUGHTS if config.thoughts else "",
        )
        groups = f"Active:\n{fenced(active, ''.join(others))}"
        if others:
            groups += f"\n\nSilent:\n{fenced(others, ''.join(active))}"
        return asking(system, groups, config, can)
