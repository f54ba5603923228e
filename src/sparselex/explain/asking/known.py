"""A judge tried on what is known: whether windows hold a word. One that cannot tell this can tell nothing."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sparselex.base.estimates import figure_of
from sparselex.base.figures import Figure
from sparselex.base.seeds import generator
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judging import Item, Judged, Kind, Weigh, auroc_of
from sparselex.explain.asking.mistaken import some
from sparselex.explain.asking.words import plain, quoted
from sparselex.explain.evidence import SplitEvidence
from sparselex.llm.records import Capabilities, Talk

_EACH = 5
"""Windows of each description that hold the word, and as many that do not."""

_SHARE = (0.005, 0.3)
"""Of the windows in which a word stands: neither hardly any nor most."""

_LETTERS = 3
"""Of a word, at least."""


class Tried(NamedTuple):
    """What a judge said of one description's windows."""

    counts: tuple[int, ...]
    """Windows that hold the word and are judged right, those that are judged; the same of those that do not hold it."""

    auroc: float
    """Chance that a window with the word gets more than one without it; NaN where nothing could be read."""

    why: str
    """Why some are not judged; empty where all are."""


class Known:
    """Descriptions whose truth is known by construction, from validation documents: `contains the word "…"`.

    Args:
        evidence: validation documents.
        config: how many descriptions, and of how large windows.
        kind: by what is judged, a word for the figure's name.
        weigh: what is tried.
        votes: whether what it says has a half above which a description fits; else its order alone is tried.
    """

    def __init__(self, evidence: SplitEvidence, config: AskConfig, kind: str, weigh: Weigh, *, votes: bool):
        self.evidence, self.config, self.windows = evidence, config, evidence.windows(config.window)
        self.kind, self.weigh, self.votes = kind, weigh, votes

    def talks(self, can: Capabilities) -> list[Talk[Tried]]:
        """Of each description whether it fits its windows."""
        return [self._talk(description, items, can) for description, items in self._descriptions()]

    def figure(self, tried: Sequence[Tried]) -> Figure:
        """The judge's balanced accuracy, or its AUROC where it has no half, with its interval over descriptions."""
        nothing = next((one.why for one in tried if one.why), "")
        if self.votes:
            sums = np.array([one.counts for one in tried], dtype=float).reshape(-1, 4)
            is_read = bool(sums[:, 1].any() and sums[:, 3].any())
            statistic = lambda s: (s[..., 0] / s[..., 1] + s[..., 2] / s[..., 3]) / 2
            what, name = "balanced accuracy of the judge", "explain/llm/judge"
        else:
            values = np.array([one.auroc for one in tried if np.isfinite(one.auroc)])
            sums, is_read = np.stack([values, np.ones(len(values))], axis=1), bool(len(values))
            statistic = lambda s: s[..., 0] / s[..., 1]
            what, name = f"mean AUROC of {self.kind}", f"explain/llm/judge_{self.kind}"
        silent = f"too little of what it said could be read: {nothing}" if nothing and not is_read else ""
        return figure_of(
            name,
            sums,
            statistic,
            f"{what} on descriptions whose truth is known: whether validation windows hold a word, of which half do",
            over="descriptions",
            share=True,
            null=0.5,
            better="higher",
            n=len(sums) or len(tried),
            empty="the text has no word by which the judge could be tried",
            undefined=silent,
        )

    def _talk(self, description: str, items: Sequence[Item], can: Capabilities) -> Talk[Tried]:
        found, why = yield from self.weigh(description, items, can)
        auroc = auroc_of([item.kind for item in items], found.order)
        settled: Judged = found.settled()
        holds, fits = np.array([item.kind == "active" for item in items]), settled.said > 0.5
        right, there = np.where(holds, fits, ~fits), ~np.isnan(settled.said)
        counts = ((right & there & holds).sum(), (there & holds).sum())
        return Tried((*counts, (right & there & ~holds).sum(), (there & ~holds).sum()), auroc, why)

    def _descriptions(self) -> list[tuple[str, list[Item]]]:
        """Words, and windows with and without them."""
        rng = generator(self.config.seed, "known")
        tokens, found = self.evidence.tokens.tokens, []
        window_of = self.windows.of(np.arange(len(tokens)))
        usable = np.flatnonzero(self.windows.usable)
        for token in some(self._words(window_of), self.config.check, rng).tolist():
            holding = np.unique(window_of[tokens == token])
            kinds: tuple[tuple[Kind, np.ndarray], ...] = (
                ("active", np.intersect1d(holding, usable)),
                ("silent", np.setdiff1d(usable, self._holding_text(token, usable))),
            )
            items = [
                self._item(int(number), kind) for kind, among in kinds for number in some(among, _EACH, rng).tolist()
            ]
            word = plain(self.evidence.vocabulary, [token]).strip()
            order = rng.permutation(len(items)).tolist()
            found.append((f"contains the word {quoted(word)}", [items[place] for place in order]))
        return found

    def _words(self, window_of: np.ndarray) -> np.ndarray:
        """Tokens that are whole words of a few letters, and stand in some windows and not in others."""
        tokens, n = self.evidence.tokens.tokens, max(1, len(self.windows))
        pairs = np.unique(np.stack([tokens, window_of]), axis=1)[0]
        shares = np.bincount(pairs, minlength=self.evidence.tokens.n_vocab) / n
        often = np.flatnonzero((shares >= _SHARE[0]) & (shares <= _SHARE[1])).tolist()
        return np.array([token for token in often if self._is_word(token)], dtype=np.int64)

    def _is_word(self, token: int) -> bool:
        text = plain(self.evidence.vocabulary, [token])
        return text.startswith(" ") and text[1:].isalpha() and len(text) > _LETTERS

    def _holding_text(self, token: int, numbers: np.ndarray) -> np.ndarray:
        """Windows in whose text the word stands, as this token or in others: of these nothing is known."""
        word = plain(self.evidence.vocabulary, [token]).strip().lower()
        return np.array([number for number in numbers.tolist() if word in self._texts[number].lower()], dtype=np.int64)

    def _item(self, number: int, kind: Kind) -> Item:
        ranks = self.windows.ranks(number)
        tokens = tuple(self.evidence.tokens.tokens[ranks.start : ranks.stop].tolist())
        return Item(
            number, kind, False, int(self.evidence.tokens.positions[ranks.start]), 0.0, self._texts[number], tokens
        )

    @cached_property
    def _texts(self) -> dict[int, str]:
        tokens, vocabulary = self.evidence.tokens.tokens, self.evidence.vocabulary
        ranges = ((number, self.windows.ranks(number)) for number in np.flatnonzero(self.windows.usable).tolist())
        return {number: plain(vocabulary, tokens[ranks.start : ranks.stop].tolist()) for number, ranks in ranges}
