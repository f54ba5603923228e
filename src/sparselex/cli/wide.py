"""Tables that stay readable where they do not fit."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from sparselex.base.formats import plain

_ANY_WIDTH = 10_000
_INDENT = "    "
_BETWEEN = " · "


class WideTable:
    """A table whose first column is text, and whose others are numbers. Where the terminal is too narrow for it, each
    row is a paragraph: its first cell, and under it the others, each behind its head. Broken columns would tear names
    and numbers apart.

    Cells are text as it is: what stands there may come out of other people's files.
    """

    def __init__(self, title: str, columns: Iterable[str]):
        self._title, self._columns = plain(title), [plain(column) for column in columns]
        self._rows: list[list[str]] = []

    def add_row(self, *cells: str) -> None:
        """Add a row. One of two cells, in a table of more, has a remark in place of its numbers."""
        self._rows.append([plain(cell) for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table = self._table()
        if console.measure(table, options=options.update_width(_ANY_WIDTH)).maximum <= options.max_width:
            yield table
            return
        yield Text(self._title, style="table.title")
        for row in self._rows:
            yield Text(row[0], style="bold", overflow="fold")
            for line in _filled(self._said(row), options.max_width - len(_INDENT)):
                yield Text(_INDENT + line, overflow="fold")

    def _table(self) -> Table:
        table = Table(title=Text(self._title, style="table.title"), title_justify="left")
        for place, column in enumerate(self._columns):
            table.add_column(Text(column), justify="right" if place else "left")
        for row in self._rows:
            table.add_row(*map(Text, row))
        return table

    def _said(self, row: Sequence[str]) -> list[str]:
        """What stands behind the first cell, empty cells left out."""
        if len(row) == 2 < len(self._columns):
            return [row[1]]
        return [f"{head} {cell}" for head, cell in zip(self._columns[1:], row[1:], strict=False) if cell]


def _filled(parts: Iterable[str], width: int) -> Iterator[str]:
    """Lines of whole parts; one that is longer than a line is broken between its words."""
    line = ""
    for part in parts:
        if line and len(line) + len(_BETWEEN) + len(part) <= width:
            line += _BETWEEN + part
            continue
        if line:
            yield line
        *before, line = textwrap.wrap(part, max(1, width), break_on_hyphens=False)
        yield from before
    if line:
        yield line
