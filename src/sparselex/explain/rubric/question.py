"""What a person is asked: windows of held-out text in which activations of one latent lie in one interval, and the
tokens that it raises.

All of it follows from an id that is drawn for each question, as for ratings: nothing that is sent, here or back, says
whether it is a feature, a neuron, or of a model with random weights.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.config import Config
from sparselex.base.files import fingerprint
from sparselex.base.seeds import generator
from sparselex.explain.evidence import HeldOut
from sparselex.explain.ratings.question import Part, parts
from sparselex.explain.rubric.records import N_INTERVALS
from sparselex.explain.windows import TokenWindows
from sparselex.features.counted import Column
from sparselex.features.index import FeatureIndex

WINDOW, N_WINDOWS, LEAST = 32, 8, 3
"""Tokens of a window, windows of a question at most, and at least."""

N_RAISED = 12
"""Raised tokens that are shown."""

_TRIES = 200
"""Latents that are drawn at most until one has an interval with windows enough."""


class Subject(NamedTuple):
    """Something whose latents are asked about."""

    kind: str
    """What it is."""

    features: FeatureIndex
    """Its activations and logit weights."""


class Raised(Config):
    """A token that is made more likely."""

    token: str
    """The token."""

    share: float
    """Its logit weight as a share of the largest."""


class AskedInterval(NamedTuple):
    """A question, and what is not said of it."""

    kind: str
    of: str
    latent: int
    interval: int
    positions: list[int]
    windows: list[list[Part]]
    raised: list[Raised]

    @property
    def shown(self) -> str:
        """Fingerprint of what a person sees, and of nothing else."""
        windows = [[part.to_json() for part in window] for window in self.windows]
        return fingerprint([windows, [one.to_json() for one in self.raised]])


class AskingIntervals:
    """Draws questions about a run and its controls: each kind is as likely as any other.

    Args:
        run: id of the run's own index.
        subjects: the run itself and what it is held against, over one text.
    """

    def __init__(self, run: str, subjects: Sequence[Subject]):
        self._run, self._subjects = run, sorted(subjects, key=lambda one: (one.kind, one.features.id))
        self._has_logits = all(one.features.all_promoted is not None for one in subjects)
        self._held_out: dict[str, tuple[HeldOut, TokenWindows]] = {}

    def of(self, id: str) -> AskedInterval | None:
        """The question with an id, the same as long as the run and its controls are; None where no latent that is drawn
        has an interval with three windows of held-out text."""
        rng, kinds = generator(0, "rubric", self._run, id), sorted({one.kind for one in self._subjects})
        kind = kinds[int(rng.integers(len(kinds)))]
        mine = [one for one in self._subjects if one.kind == kind]
        subject = mine[int(rng.integers(len(mine)))]
        alive = np.flatnonzero(np.asarray(subject.features.table["n_active"]) > 0)
        for _ in range(_TRIES if len(alive) else 0):
            latent = int(alive[rng.integers(len(alive))])
            if (found := self._asked(subject, latent, rng)) is not None:
                return found
        return None

    def _asked(self, subject: Subject, latent: int, rng: np.random.Generator) -> AskedInterval | None:
        held_out, windows = self._read(subject.features)
        column = held_out.column(latent)
        interval = intervals_of(column)
        numbers = windows.of(column.ranks)
        usable = windows.usable[numbers]
        there = [np.unique(numbers[usable & (interval == one)]) for one in range(N_INTERVALS)]
        enough = [one for one, found in enumerate(there) if len(found) >= LEAST]
        if not enough:
            return None
        chosen = enough[int(rng.integers(len(enough)))]
        drawn = rng.permutation(there[chosen])[:N_WINDOWS]
        ranges = [windows.ranks(int(number)) for number in drawn]
        inside = column.ranks[interval == chosen]
        tokens = held_out.tokens
        shown = [
            list(
                parts(
                    held_out.vocabulary,
                    tokens.tokens[ranks.start : ranks.stop].tolist(),
                    np.isin(np.arange(ranks.start, ranks.stop), inside).astype(np.float64),
                )
            )
            for ranks in ranges
        ]
        begin = [int(tokens.positions[ranks.start]) for ranks in ranges]
        raised = self._raised(subject.features, held_out, latent)
        return AskedInterval(subject.kind, subject.features.id, latent, chosen, begin, shown, raised)

    def _read(self, index: FeatureIndex) -> tuple[HeldOut, TokenWindows]:
        if index.id not in self._held_out:
            held_out = HeldOut(index)
            self._held_out[index.id] = held_out, held_out.windows(WINDOW)
        return self._held_out[index.id]

    def _raised(self, index: FeatureIndex, held_out: HeldOut, latent: int) -> list[Raised]:
        """Tokens that are raised most; of no latent where some subject has none, which would tell it."""
        found = index.record(latent).logits_top[:N_RAISED] if self._has_logits else []
        largest = max((one.value for one in found), default=0.0)
        scale = largest if largest > 0 else 1.0
        return [Raised(token=held_out.texts.label(one.token), share=round(one.value / scale, 2)) for one in found]


def intervals_of(column: Column) -> NDArray[np.int64]:
    """`[n]`, in which of eleven equal parts of the way from zero to the largest activation each lies."""
    largest = float(column.values.max(initial=0.0))
    if largest <= 0:
        return np.zeros(len(column.values), dtype=np.int64)
    return np.clip(np.ceil(column.values / largest * N_INTERVALS).astype(np.int64) - 1, 0, N_INTERVALS - 1)
