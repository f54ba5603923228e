"""A package of somebody else, laid down as pip would leave it: modules, and the metadata with their entry points."""

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, modules: Mapping[str, str], entry_points: Mapping[str, Mapping[str, str]]) -> Path:
    """Put the package `name` into `folder`, which is then to be on the path.

    `modules` are module names with their source text, `entry_points` groups with their names and addresses
    (`module:object`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [line for group, rows in entry_points.items() for line in (f"[{group}]", *map(" = ".join, rows.items()))]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder
