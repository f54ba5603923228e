"""Packages that other people bring: those of docs/library.md, installed as pip would leave them."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "library.md"


def install(folder: Path, *, target: str = "") -> Path:
    """Put the package `log-relu` into `folder`, which is then to be on the path: its module, and the metadata with its
    entry points.

    `target` names another object than the documented one for the entry point.
    """
    text = module_with("class LogReLU(").partition("\ncheck_dictionary(")[0]
    found = entry_points()["sparselex.dictionary"]
    if target:
        found = {"log_relu": target}
    return install_package(folder, "log_relu", text, {"sparselex.dictionary": found})


def install_package(folder: Path, module: str, text: str, entries: dict[str, dict[str, str]]) -> Path:
    """Put a package of one module into `folder`, with entry points by group and name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(text)
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    name = module.replace("_", "-")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [line for group, named in entries.items() for line in (f"[{group}]", *map(" = ".join, named.items()))]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def module_with(words: str) -> str:
    """The one block of code on the page that holds these words."""
    text = PAGE.read_text(encoding="utf-8")
    (module,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if words in block]
    return module


def entry_points() -> dict[str, dict[str, str]]:
    """What the page says of `pyproject.toml`: entry points by group and name."""
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r'\[project.entry-points."(.*)"\]\n(\w+) = "(.*)"\n', text)
    return {group: {name: target} for group, name, target in named}
