"""Which sparselex this is."""

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CHECKOUT = Path(__file__).parents[3] / "pyproject.toml"


@cache
def own_version() -> str:
    """The version of sparselex: of the package or, where none is installed, of the checkout that it runs from."""
    try:
        return version("sparselex")
    except PackageNotFoundError:
        pass
    try:
        found = tomllib.loads(_CHECKOUT.read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):  # copied somewhere by itself
        return "unknown"
    return str(found["version"]) if found.get("name") == "sparselex" else "unknown"
