"""The import table of the house: who may import whom, checked from the source text."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "sparselex"
ROOMS = [path.name for path in SRC.iterdir() if path.is_dir() and path.name != "__pycache__"]
BELOW_EVALUATE = {
    "base",
    "text",
    "lm",
    "dictionaries",
    "llm",
    "activations",
    "causal",
    "tasks",
    "parameters",
    "training",
    "features",
    "atlas",
    "explain",
}
MAY_IMPORT = {
    "base": set(),
    "text": {"base"},
    "lm": {"base"},
    "dictionaries": {"base"},
    "llm": {"base"},
    "convert": {"base", "dictionaries"},
    "activations": {"base", "text", "lm"},
    "causal": {"base", "lm", "dictionaries"},
    "tasks": {"base", "text", "lm"},
    "parameters": {"base", "text", "lm", "activations"},
    "training": {"base", "activations", "dictionaries", "causal"},
    "features": {"base", "text", "activations", "dictionaries", "lm"},
    "atlas": {"base", "text", "lm", "activations", "dictionaries", "causal", "features"},
    "explain": {"base", "text", "features", "causal", "lm", "dictionaries", "llm"},
    "evaluate": BELOW_EVALUATE,
    "recipes": BELOW_EVALUATE | {"evaluate", "convert"},
    "server": {"base", "text", "features", "atlas", "explain", "evaluate"},
    "cli": BELOW_EVALUATE | {"evaluate", "convert", "recipes", "server"},
}
HIDDEN_ON_PURPOSE = {"cli"}
"""Rooms whose functions import the library when called: `sparselex --help` must not pay for torch."""


def room_of(module: str) -> str:
    return module.split(".")[1] if module.startswith("sparselex.") else ""


def imports(path: Path) -> list[tuple[str, bool]]:
    """Every `sparselex` module imported in a file, with whether the import hides inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]  # a relative name fits no room: refused
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found += [(name, id(node) in hidden) for name in names if name.split(".")[0] in ("sparselex", "")]
    return found


def offences(path: Path, room: str) -> list[str]:
    """What a file of `room` imports against the table, in words."""
    allowed = {room, *MAY_IMPORT[room]}
    found = []
    for module, hidden in imports(path):
        if hidden and room not in HIDDEN_ON_PURPOSE:
            found.append(f"{module} is imported inside a function: move it up or split the file")
        if room_of(module) not in allowed:
            found.append(f"room {room!r} may not import {module!r}; it may import {sorted(allowed)}")
    return found


@pytest.mark.parametrize("path", sorted(SRC.glob("*/**/*.py")), ids=lambda path: str(path.relative_to(SRC)))
def test_imports_follow_the_table(path):
    assert not offences(path, path.relative_to(SRC).parts[0])


@pytest.mark.parametrize(
    "line",
    [
        "from sparselex.server.app import create_app",
        "def f():\n    from sparselex.base.config import Config",
        "import sparselex",
        "from . import errors",
    ],
)
def test_a_planted_offence_is_seen(tmp_path, line):
    file = tmp_path / "planted.py"
    file.write_text(line)
    assert offences(file, "text")


def test_every_room_has_a_row_and_the_table_no_circle():
    assert set(ROOMS) <= set(MAY_IMPORT)

    def depth(room, path=()):
        assert room not in path, " -> ".join((*path, room))
        return 1 + max((depth(other, (*path, room)) for other in MAY_IMPORT[room]), default=0)

    for room in MAY_IMPORT:
        depth(room)


@pytest.mark.parametrize(
    "door",
    [
        "sparselex",
        "sparselex.base.artifacts",
        "sparselex.features.index",
        "sparselex.explain.records",
        "sparselex.explain.store",
        "sparselex.evaluate.report",
        "sparselex.server.app",
        "sparselex.cli.main",
    ],
)
def test_reading_doors_never_import_torch(door):
    code = f"import sys, {door}; print(sorted(m for m in ('torch', 'transformers') if m in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
