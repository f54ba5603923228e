"""A package of somebody else's that adds to sparselex, installed as pip would leave it."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "library.md"


def install(
    folder: Path,
    package: str,
    module: str | Mapping[str, str],
    entry_points: Mapping[str, Mapping[str, str]],
) -> Path:
    """Put the package called `package` into `folder`, which is then to be on the path.

    Args:
        folder: takes the place of `site-packages`; several packages may be put there.
        package: the name under which it is installed; its module has underscores for dashes.
        module: the source of that module; or, for a package of several files, each file's place in it with its text.
        entry_points: for each group (`sparselex.metric`) the names it adds, with what each stands for (`module:name`).
    """
    name = package.replace("-", "_")
    files = {f"{name}.py": module} if isinstance(module, str) else {f"{name}/{at}": text for at, text in module.items()}
    sections = [f"[{group}]\n" + "".join(_rows(names)) for group, names in entry_points.items()]
    metadata = f"{name}-1.0.dist-info"
    files[f"{metadata}/METADATA"] = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
    files[f"{metadata}/entry_points.txt"] = "\n".join(sections)
    for at, text in files.items():
        (folder / at).parent.mkdir(parents=True, exist_ok=True)
        (folder / at).write_text(text, encoding="utf-8")
    return folder


def install_log_relu(folder: Path, *, target: str = "") -> Path:
    """Put the dictionary type of docs/library.md into `folder`, by the entry point that the page names.

    `target` names another object than the documented one for the entry point.
    """
    entries = {"sparselex.dictionary": {"log_relu": target}} if target else documented_entries("sparselex.dictionary")
    return install(folder, "log-relu", documented("class LogReLU("), entries)


def documented(mark: str) -> str:
    """The block of docs/library.md that has `mark`, without the lines that try it out."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    (block,) = [block for block in blocks if mark in block]
    return block.partition("\ncheck_")[0]


def documented_entries(*groups: str) -> dict[str, dict[str, str]]:
    """The entry points of these groups as docs/library.md has them in a `pyproject.toml`."""
    rows = re.findall(r'\[project.entry-points."(.*)"\]\n(\w+) = "(.*)"\n', PAGE.read_text(encoding="utf-8"))
    return {group: {name: address} for group, name, address in rows if group in groups}


def _rows(names: Mapping[str, str]) -> Iterable[str]:
    return (f"{name} = {target}\n" for name, target in names.items())
