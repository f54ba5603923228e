"""How code looks, held by numbers: short files, functions and lines, and a formatter never told to look away."""

import ast
import re
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parent.parent
SRC = sorted((ROOT / "src").rglob("*.py"))
WRITTEN = [
    *SRC,
    *(path for folder in ("tests", "benchmarks", "docs") for path in sorted((ROOT / folder).rglob("*.py"))),
]

LONGEST_FILE, MEDIAN_FILE = 400, 120
LONG_FUNCTION, LONG_SHARE = 25, 0.1
LONGEST_LINE = 120
LAYOUT = re.compile(r"# fmt: (skip|off)|# noqa: (E1|E2|E3|E5|E70|W)")
"""Remarks that switch off the formatter or a rule about layout."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def functions(path: Path) -> list[tuple[str, int]]:
    """Every function of a file with its length in lines, signature and docstring included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(f"{name(path)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1) for node in found]


def test_no_file_is_long():
    assert not [(name(path), n) for path in SRC if (n := len(lines(path))) > LONGEST_FILE]


def test_files_are_short_in_the_median():
    assert median(len(lines(path)) for path in SRC if path.name != "__init__.py") <= MEDIAN_FILE


def test_nine_functions_in_ten_are_short():
    found = [item for path in SRC for item in functions(path)]
    long = sorted((item for item in found if item[1] >= LONG_FUNCTION), key=lambda item: -item[1])
    assert len(long) <= LONG_SHARE * len(found), long


def test_no_line_is_long_and_none_escapes_the_formatter():
    written = [(f"{name(path)}:{number}", line) for path in WRITTEN for number, line in enumerate(lines(path), 1)]
    assert not [place for place, line in written if len(line) > LONGEST_LINE or LAYOUT.search(line)]


def test_no_statement_is_nothing_but_words():
    """A string put together and thrown away: the rest of a sentence that was to be shown."""
    assert not [(name(path), number) for path in WRITTEN for number in thrown_away(path.read_text(encoding="utf-8"))]


def thrown_away(code: str) -> list[int]:
    statements = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Expr)]
    return [node.lineno for node in statements if isinstance(node.value, ast.JoinedStr)]


def test_a_planted_statement_of_words_is_seen():
    assert thrown_away('words = "it is: "\nf"{words} times."') == [2]


@pytest.mark.parametrize("remark", ["fmt: skip", "fmt: off", "noqa: E501"])
def test_a_planted_remark_is_seen(remark):
    assert LAYOUT.search(f"x = [1,2]  # {remark}")
    assert not LAYOUT.search("sparselex.nonsense  # noqa: B018")


def test_tensors_are_written_so_that_a_full_disk_can_be_told():
    """`save_file` hides why the disk refused: what `save` gives is written as any file is."""
    assert not [name(path) for path in SRC if re.search(r"import .*\bsave_file\b", path.read_text(encoding="utf-8"))]
