"""The two models we ship; `recipes/embedded_lm.py` says how they were made."""

from pathlib import Path

_WEIGHTS = Path(__file__).parent / "weights"

EMBEDDED: dict[str, Path] = {"embedded": _WEIGHTS / "seed-0", "embedded-b": _WEIGHTS / "seed-1"}
"""Names under which the shipped models are loaded, and their folders."""
