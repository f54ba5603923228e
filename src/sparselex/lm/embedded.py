"""The two models we ship, and what they learned; `recipes/embedded_lm.py` says how they were made."""

from pathlib import Path
from typing import NamedTuple

_WEIGHTS = Path(__file__).parent / "weights"

EMBEDDED: dict[str, Path] = {"embedded": _WEIGHTS / "seed-0", "embedded-b": _WEIGHTS / "seed-1"}
"""Names under which the shipped models are loaded, and their folders."""


class Learned(NamedTuple):
    """What a model was trained on: a text but for a share of its documents, which a draw by their names held out."""

    text: str
    """The text's source."""

    held_out_share: float
    """Share of its documents held out."""

    seed: int
    """Seed of the draw."""


LEARNED: dict[str, Learned] = dict.fromkeys(EMBEDDED, Learned("stdlib", 0.05, 0))
"""What the shipped models were trained on, by their names: 1,652 of the 1,758 modules that Python 3.11.7 has, as the
card in each folder says; the draw is `text.splits.is_held_out`."""
