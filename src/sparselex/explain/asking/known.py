"""A judge tried on what is known: whether windows hold a word. One that cannot tell this can tell nothing."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

from sparselex.base.estimates import figure_of
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats, Statistic, share_interval
from sparselex.base.seeds import generator
from sparselex.explain.asking.judging import Item, Judged, Kind, Weigh, auroc_of
from sparselex.explain.asking.known_words import Word, Words
from sparselex.explain.asking.mistaken import some
from sparselex.llm.records import Capabilities, Talk

EACH = 5
"""Of each description: windows that hold its word and as many that do not, or questions."""

_OF_WINDOWS = "whether validation windows hold a word, of which half do"

JUDGE = "explain/llm/judge"
"""The figure of those who vote; that of others has their word behind it."""

Result = TypeVar("Result")


@runtime_checkable
class Trial(Protocol[Result]):
    """How one way of judging does on descriptions whose truth is known."""

    measure: str
    """What is measured, with its article, in words that go on `this judge reaches …`."""

    chance: str
    """What is had without knowing anything, in words that go on `where …` and are followed by the value."""

    each: int
    """Observations behind the figure for each description, at most."""

    def talks(self, can: Capabilities) -> list[Talk[Result]]:
        """What is asked, one talk for each description."""
        ...

    def figure(self, tried: Sequence[Result]) -> Figure:
        """What came of it, with its interval over descriptions and its null; a failure where nothing could be read."""
        ...


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
        words: the words, with windows.
        kind: by what is judged, a word for the figure's name.
        weigh: what is tried.
        votes: whether what it says has a half above which a description fits; else its order alone is tried.
    """

    chance, each = "guessing gives", 2 * EACH

    def __init__(self, words: Words, kind: str, weigh: Weigh, *, votes: bool):
        self.words, self.kind, self.weigh, self.votes = words, kind, weigh, votes
        self.measure = "a balanced accuracy" if votes else "an AUROC"

    def talks(self, can: Capabilities) -> list[Talk[Tried]]:
        """Of each description whether it fits its windows."""
        return [self._talk(description, items, can) for description, items in self._descriptions()]

    def figure(self, tried: Sequence[Tried]) -> Figure:
        """The judge's balanced accuracy, or its AUROC where it has no half, with its interval over descriptions."""
        if not self.votes:
            return auroc_figure(self.kind, tried)
        sums = np.array([one.counts for one in tried], dtype=float).reshape(-1, 4)
        if not (sums[:, 1].any() and sums[:, 3].any()):
            sums = sums[:0]
        statistic = lambda s: (s[..., 0] / s[..., 1] + s[..., 2] / s[..., 3]) / 2
        what, whys = "balanced accuracy of the judge", [one.why for one in tried]
        return known_figure(JUDGE, sums, statistic, what, _OF_WINDOWS, whys, null=0.5)

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
        rng = generator(self.words.config.seed, "known")
        return [(word.description, self._items(word, rng)) for word in self.words.drawn(rng)]

    def _items(self, word: Word, rng: np.random.Generator) -> list[Item]:
        """Windows of both kinds, in a drawn order."""
        kinds: tuple[tuple[Kind, np.ndarray], ...] = (("active", word.holding), ("silent", word.lacking))
        drawn = [(number, kind) for kind, among in kinds for number in some(among, EACH, rng).tolist()]
        items = [self.words.item(number, kind) for number, kind in drawn]
        return [items[place] for place in rng.permutation(len(items)).tolist()]


def auroc_figure(kind: str, tried: Sequence[Tried]) -> Figure:
    """The mean AUROC over descriptions of a judge whose order alone tells something."""
    values = np.array([one.auroc for one in tried if np.isfinite(one.auroc)])
    sums = np.stack([values, np.ones(len(values))], axis=1)
    what, whys = f"mean AUROC of {kind}", [one.why for one in tried]
    return known_figure(f"{JUDGE}_{kind}", sums, lambda s: s[..., 0] / s[..., 1], what, _OF_WINDOWS, whys, null=0.5)


def known_figure(
    name: str,
    sums: Floats,
    statistic: Statistic,
    what: str,
    known: str,
    whys: Sequence[str],
    *,
    null: float | None,
    undefined: str = "",
) -> Figure:
    """The figure of a trial.

    Args:
        name: path of the figure.
        sums: `[n, m]` sums of each description of which anything could be read.
        statistic: maps summed columns to values.
        what: what was measured.
        known: what is known, in words that go on `descriptions whose truth is known: …`.
        whys: of each description that was tried why something could not be read; empty where all was.
        null: the value without knowing anything.
        undefined: why the value means nothing; empty where it means something.
    """
    nothing = next((why for why in whys if why), "nothing was said")
    n_lacking = sum(map(bool, whys))
    few = len(sums) < len(whys) / 2
    silent = f"of {len(whys)} descriptions {len(sums)} could be read: {nothing}" if few else ""
    lacking = f"; of {n_lacking} of {len(whys)} not all was read: {nothing}" if n_lacking else ""
    return figure_of(
        name,
        sums,
        statistic,
        f"{what} on descriptions whose truth is known: {known}{lacking}",
        over="descriptions",
        share=True,
        null=null,
        better="higher",
        n=len(sums) or len(whys),
        empty="the text has no word by which the judge could be tried",
        undefined=silent or undefined,
    )


def doubt(trial: Trial[Result], figure: Figure) -> str:
    """Why a judge is not to be believed whose trial came to this; empty where it does better than its null."""
    if figure.value is None:  # without a single word in the text nothing is known of the judge
        return f"the judge could not be tried: {figure.failure}" if figure.n else ""
    null, n = figure.null or 0.0, figure.n * trial.each
    low = figure.ci_low if figure.ci_low is not None else share_interval(round(figure.value * n), n).low
    if low > null:
        return ""
    return (
        f"on {figure.n} descriptions whose truth is known this judge reaches {trial.measure} of {figure.value:.2f}, "
        f"where {trial.chance} {null:.2g}"
    )
