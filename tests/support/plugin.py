"""A dictionary type that another package brings: the one of docs/library.md, installed as pip would leave it."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "library.md"


def install(folder: Path, *, target: str = "") -> Path:
    """Put the package `log-relu` into `folder`, which is then to be on the path: its module, and the metadata with its
    entry points.

    `target` names another object than the documented one for the entry point.
    """
    text = PAGE.read_text(encoding="utf-8")
    (module,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "class LogReLU(" in block]
    (named,) = re.findall(r'\[project.entry-points."(.*)"\]\n(.*)\n', text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log_relu.py").write_text(module.partition("\ncheck_dictionary(")[0])
    metadata = folder / "log_relu-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: log-relu\nVersion: 1.0\n")
    line = f"log_relu = {target}" if target else named[1].replace('"', "")
    (metadata / "entry_points.txt").write_text(f"[{named[0]}]\n{line}\n")
    return folder
