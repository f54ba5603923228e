"""Explanations of other projects, read: of which project a file or a folder is, is told from what it holds."""

from collections.abc import Callable
from pathlib import Path

from sparselex.base.errors import UserError
from sparselex.convert.checked import Row
from sparselex.convert.explanations import delphi, neuronpedia, openai, plain
from sparselex.convert.explanations.told import ReadExplanations

FORMATS = (delphi.FORMAT, neuronpedia.FORMAT, openai.FORMAT, plain.FORMAT)
"""What can be read."""

DEFINITIONS = {part.FORMAT: part.DEFINITION for part in (delphi, neuronpedia, openai, plain)}
"""What the scores in files of each format are."""

_Find = Callable[[Path], list[Path]]
_IN_FOLDERS: dict[str, _Find] = {part.FORMAT: part.files_of for part in (delphi, neuronpedia, openai, plain)}
_BY_ROW: dict[str, Callable[[Row], bool]] = {part.FORMAT: part.claims for part in (neuronpedia, openai, plain)}


def read_explanations(source: Path, *, layout: str = "", hookpoint: str = "") -> ReadExplanations:
    """Read a file or a folder of explanations.

    Args:
        source: a file, or a folder.
        layout: one of `FORMATS`; empty for the one that is found.
        hookpoint: of delphi's results at several places the one that is meant.

    Raises `UserError` where there are none, and for files that are damaged.
    """
    layout, files = _found(source, layout)
    if not files:
        raise UserError(
            f"{source} holds no explanations" + (f" of the format {layout}." if layout else "."),
            "delphi's results, Neuronpedia's explanations, OpenAI's neurons, or a table with latent and text "
            "(JSON lines, JSON or CSV)",
            "check the path, or name the format with --format.",
        )
    if layout == delphi.FORMAT:
        return delphi.read(files, hookpoint)
    if hookpoint:
        raise UserError(
            f"--hookpoint {hookpoint} changes nothing in files of the format {layout}.",
            "the hookpoint of delphi's results",
            "leave it out.",
        )
    return {"neuronpedia": neuronpedia.read, "openai": openai.read, "plain": plain.read}[layout](files)


def _found(source: Path, layout: str) -> tuple[str, list[Path]]:
    """Of which format it is, and its files."""
    if source.is_dir():
        wanted = [layout] if layout else list(_IN_FOLDERS)
        found = {name: _IN_FOLDERS[name](source) for name in wanted if name in _IN_FOLDERS}
        return next(((name, files) for name, files in found.items() if files), (layout, []))
    if layout:
        return layout, [source]
    if source.suffix == ".txt":
        return delphi.FORMAT, [source]
    first = next(plain.rows_of(source), None)
    claimed = [name for name, claims in _BY_ROW.items() if first and claims(first)]
    return (claimed[0], [source]) if claimed else ("", [])
