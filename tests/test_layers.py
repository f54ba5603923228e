"""The import table of the house: who may import whom, checked from the source text."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "sparselex"
FILES = sorted(SRC.glob("*/**/*.py"))
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
    "parameters": {"base", "text", "lm", "dictionaries", "activations"},
    "training": {"base", "activations", "dictionaries", "causal"},
    "features": {"base", "text", "activations", "dictionaries", "lm"},
    "atlas": {"base", "text", "lm", "activations", "dictionaries", "causal", "features"},
    "explain": {"base", "text", "features", "causal", "lm", "dictionaries", "llm"},
    "evaluate": BELOW_EVALUATE,
    "recipes": BELOW_EVALUATE | {"evaluate", "convert"},
    "server": {"base", "text", "parameters", "features", "atlas", "explain", "evaluate"},
    "cli": BELOW_EVALUATE | {"evaluate", "convert", "recipes", "server"},
}
BY_FILE = {"server/live": {"recipes", "causal", "lm", "dictionaries"}}
"""What files whose path begins so may import beside what their room may."""

HIDDEN_ON_PURPOSE = {"cli"}
"""Rooms whose functions import the library when called: `sparselex --help` must not pay for torch."""

ADDRESS = re.compile(r"sparselex(?:\.\w+)+(?::\w+)?")
"""A module of ours written as a string, with or without a name in it: what a registry or a table imports later."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SRC.parent).with_suffix("").parts)


def is_door(path: Path) -> bool:
    """Whole rooms, the table of stages with what they take, and files whose name says that they hold only values."""
    inside = path.relative_to(SRC).parts
    whole = inside[0] in ("base", "server") or inside[:2] == ("recipes", "stages")
    return path.stem not in ("__init__", "live_model", "live_ask_model") and (
        whole or path.stem in ("config", "records", "registry")
    )


DOORS = [
    "sparselex",
    *(module_of(path) for path in FILES if is_door(path)),
    "sparselex.dictionaries.kinds",
    "sparselex.features.counted",
    "sparselex.features.index",
    "sparselex.features.printing",
    "sparselex.features.windows",
    "sparselex.explain.store",
    "sparselex.convert.table",
    "sparselex.recipes.explanations.taking",
    "sparselex.recipes.explanations.writing",
    "sparselex.recipes.folder",
    "sparselex.evaluate.report",
    "sparselex.cli.main",
]
"""What is read without PyTorch: nouns, configurations, records, tables of names, and all that the browser opens."""

TRY_DOORS = """
import importlib, sys
seen = set()
for door in sys.argv[1:]:
    importlib.import_module(door)
    heavy = {"torch", "transformers"} & set(sys.modules)
    print(door, *sorted(heavy - seen))
    seen |= heavy
"""
"""One interpreter opens them all: what the first of them loads would be loaded for the others as well."""


def room_of(module: str) -> str:
    return module.split(".")[1] if module.startswith("sparselex.") else ""


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> list[tuple[str, bool]]:
    """Every `sparselex` module imported in a file, with whether the import hides inside a function."""
    tree = parsed(path)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    hidden = {id(node) for function in functions for node in ast.walk(function)}
    return [(name, id(node) in hidden) for node in ast.walk(tree) for name in names_of(node)]


def names_of(node: ast.AST) -> list[str]:
    """The modules of ours that an import statement names. `from package import module` names the module."""
    if isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")  # a relative name fits no room: refused
        full = [f"{module}.{alias.name}" for alias in node.names]
        names = [name if file_of(name).exists() else module for name in full]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = []
    return [name for name in names if name.split(".")[0] in ("sparselex", "")]


def file_of(module: str) -> Path:
    """The file of a module, or of a package."""
    path = SRC.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def addresses(path: Path) -> Iterator[str]:
    """Every module of ours that a file names in a string, to be imported later."""
    written = [node.value for node in ast.walk(parsed(path)) if isinstance(node, ast.Constant)]
    for text in written:
        if isinstance(text, str) and ADDRESS.fullmatch(text) and room_of(text.partition(":")[0]) in ROOMS:
            yield text


def offences(path: Path, room: str) -> list[str]:
    """What a file of `room` imports against the table, in words."""
    inside = path.relative_to(SRC).as_posix() if path.is_relative_to(SRC) else ""
    more = [rooms for begins, rooms in BY_FILE.items() if inside.startswith(begins)]
    allowed = {room, *MAY_IMPORT[room]}.union(*more)
    found = []
    for module, hidden in imports(path):
        if hidden and room not in HIDDEN_ON_PURPOSE:
            found.append(f"{module} is imported inside a function: move it up or split the file")
        if room_of(module) not in allowed:
            found.append(f"room {room!r} may not import {module!r}; it may import {sorted(allowed)}")
    for address in addresses(path):
        if room_of(address.partition(":")[0]) not in allowed:
            found.append(f"room {room!r} may not name {address!r} in a table; it may name {sorted(allowed)}")
    return found


def circle(files: dict[str, set[str]]) -> list[str]:
    """The files of a circle, in order, or nothing."""
    try:
        list(TopologicalSorter(files).static_order())
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_follow_the_table(path):
    assert not offences(path, path.relative_to(SRC).parts[0])


@pytest.mark.parametrize(
    "line",
    [
        "from sparselex.server.app import create_app",
        "def f():\n    from sparselex.base.config import Config",
        "import sparselex",
        "from . import errors",
        "from sparselex import server",
        "TABLE = {'page': 'sparselex.server.app:create_app'}",
        "import importlib\nimportlib.import_module('sparselex.server.app')",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sparselex.server.app import create_app",
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


def test_no_file_leads_back_to_itself():
    """Not inside a room either, nor for types alone (under `TYPE_CHECKING`)."""
    assert not circle({module_of(path): {name for name, _ in imports(path)} for path in FILES})


def test_a_planted_circle_is_seen():
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


@pytest.mark.parametrize("path", [path for path in FILES if next(addresses(path), "")], ids=lambda path: path.stem)
def test_what_a_table_names_is_there(path):
    """A table's address is imported when it is first asked for; a wrong one would be found by a user."""
    for address in addresses(path):
        module, _, wanted = address.partition(":")
        assert file_of(module).exists(), address
        bound = [node for node in parsed(file_of(module)).body if wanted in names_bound(node)]
        assert bound or not wanted, address


def names_bound(node: ast.stmt) -> set[str]:
    """The names that a statement at the top of a file defines."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {getattr(node, "name", ""), *(target.id for target in targets if isinstance(target, ast.Name))}


@pytest.fixture(scope="module")
def heavy_parts() -> dict[str, list[str]]:
    """Each door with the large libraries that opening it alone loads."""
    command = [sys.executable, "-c", TRY_DOORS, *DOORS]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return {words[0]: words[1:] for line in result.stdout.splitlines() if (words := line.split())}


@pytest.mark.parametrize("door", DOORS)
def test_reading_doors_never_import_torch(door, heavy_parts):
    assert heavy_parts[door] == []


def test_a_package_of_an_extra_is_untyped_to_the_type_checker():
    """The linter runs where no extra is installed: what one of them brings has to look the same there as everywhere."""
    project = tomllib.loads((SRC.parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    untyped = {
        module.split(".")[0] for override in project["tool"]["mypy"]["overrides"] for module in override["module"]
    }
    required = {re.split(r"[^\w-]", line)[0].replace("-", "_").lower() for line in project["project"]["dependencies"]}
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SRC.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {
        (node.module or "").split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) if not node.level
    }
    brought = {"sparselex", "starlette", "yaml", "pydantic_core", "markupsafe"}  # the last four by names of others
    assert imported - required - brought - sys.stdlib_module_names <= untyped
    assert {"gguf", "datasets", "sklearn"} <= imported - required
