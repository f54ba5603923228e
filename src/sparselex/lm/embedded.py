"""The two models we ship, and whose name is whose; `recipes/embedded_lm.py` says how they were made."""

from pathlib import Path

_WEIGHTS = Path(__file__).parent / "weights"

EMBEDDED: dict[str, Path] = {"embedded": _WEIGHTS / "seed-0", "embedded-b": _WEIGHTS / "seed-1"}
"""Names under which the shipped models are loaded, and their folders."""


def settled_model(name: str) -> str:
    """The name of a model as it is found from any folder: of a folder its whole path, any other as it is."""
    return str(Path(name).absolute()) if name not in EMBEDDED and Path(name).is_dir() else name
