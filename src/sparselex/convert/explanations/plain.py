"""A table of one's own: JSON lines, JSON or CSV with `latent` and `text`, `title` and `explainer` where there are such.
What `sparselex explanations --export` writes as JSON lines is such a table too."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparselex.convert.checked import Row
from sparselex.convert.explanations.numbers import latent_of
from sparselex.convert.explanations.rows import damaged, rows_in, whole_text
from sparselex.convert.explanations.told import LeftOut, Ours, ReadExplanations, Told

FORMAT = "plain"
DEFINITION = "a score that the file says"

EXPORTED = "explanations.jsonl"
"""What the file is called that we write."""

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_USED = ("latent", "text", "title", "status", "explainer")


def files_of(source: Path) -> list[Path]:
    """The table that `--export` leaves in its folder."""
    return [path for path in (source / EXPORTED,) if path.is_file()]


def claims(row: Row) -> bool:
    """Whether a row is of such a table."""
    return "latent" in row.values and "text" in row.values


def is_table(path: Path) -> bool:
    """Whether a file has rows of cells, by the ending of its name."""
    return path.suffix.lower() in _SEPARATORS


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a table. Raises `UserError` for what is damaged."""
    return _cells(path) if is_table(path) else rows_in(path)


def read(files: list[Path]) -> ReadExplanations:
    """Read all rows of these files. Raises `UserError` for what is damaged."""
    left_out, told = LeftOut(), list[Told]()
    for path in files:
        for row in rows_of(path):
            latent = latent_of(row, "latent")
            if row.text("status", "explained") != "explained":
                left_out.add("abstentions and failures", f"latent {latent}")
                continue
            told.append(Told(latent, row.text("text", ""), row.text("title", ""), method=row.text("explainer", "")))
            for name in row.values.keys() - _USED:
                left_out.add(f"fields {name!r}", f"latent {latent}")
    return ReadExplanations(FORMAT, told, left_out, files)


def _cells(path: Path) -> Iterator[Row]:
    """The rows of a CSV file, whose first names the columns."""
    text = whole_text(path)
    reader = csv.reader(io.StringIO(text), delimiter=_SEPARATORS[path.suffix.lower()], strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if len(set(names)) != len(names) or not {"latent", "text"} <= set(names):
            raise damaged(path, f"its first line is {', '.join(names)[:100]}", "a first line with latent and text")
        for cells in reader:
            if len(cells) > len(names):
                raise damaged(
                    path, f"line {reader.line_num} has {len(cells)} cells", f"{len(names)} cells in each line"
                )
            if any(cells):
                yield Row(dict(zip(names, cells, strict=False)), f"{path}, line {reader.line_num}")
    except csv.Error as error:
        raise damaged(
            path, f"line {reader.line_num}: {error}", "comma-separated cells, those with commas in quotes"
        ) from None


def written(explanations: list[Ours]) -> Iterator[dict[str, Any]]:
    """A row for each, with every score beside its interval, its null, n, and what it is."""
    for one in explanations:
        row: dict[str, Any] = {name: getattr(one, name) for name in ("latent", "explainer", "status", "title", "text")}
        row["scores"] = [score._asdict() for score in one.scores]
        yield row | ({"imported": dict(one.imported)} if one.imported else {})
