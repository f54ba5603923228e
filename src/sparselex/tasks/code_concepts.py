"""Concepts that stand in text by rule: what Python's own tokenizer says of every character of a program."""

import ast
import io
import tokenize
import warnings
from collections.abc import Sequence
from token import tok_name

import numpy as np
from numpy.typing import NDArray

CODE_CONCEPTS = {
    "comment": "inside a comment",
    "string": "inside a string",
    "bracket": "between brackets, in no string and no comment",
    "indented": "in an indented line of code",
}
"""Concepts of source text, in words."""

CODE_KINDS = ("comment", "string", "bracket")
"""Those of which no two hold at once."""

CODE_CROSSED = ("comment", "indented")
"""Two that go together in all four ways."""


def code_labels(source: str) -> dict[str, NDArray[np.bool_]] | None:
    """Of each concept whether it holds for each byte of the source as UTF-8; None for what is no Python."""
    if "\r" in source or "\f" in source:  # which Python counts as ends of lines, or not at all
        return None
    found = {name: np.zeros(len(source.encode()), dtype=np.bool_) for name in CODE_CONCEPTS}
    try:
        with warnings.catch_warnings():  # of escapes in strings, which are the author's
            warnings.simplefilter("ignore")
            ast.parse(source)  # the tokenizer alone reads much that is no program
        _mark(source, found)
    except (tokenize.TokenError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return found


def _mark(source: str, found: dict[str, NDArray[np.bool_]]) -> None:
    """Set what holds, token by token. The parts of an f-string are marked together when it ends. A comment that has a
    line to itself is as indented as it stands: the tokenizer gives it before it opens or closes a block."""
    lines = source.split("\n")
    starts = np.concatenate([[0], np.cumsum([len(line.encode()) + 1 for line in lines])])
    depth, indents, strings = 0, 0, list[int]()
    for kind, text, start, end, _ in tokenize.generate_tokens(io.StringIO(source).readline):
        name, where = tok_name[kind], slice(_byte(lines, starts, start), _byte(lines, starts, end))
        if name in _LAYOUT:
            indents += (name == "INDENT") - (name == "DEDENT")
            continue
        if name.endswith("STRING_START"):
            strings.append(where.start)
        elif name.endswith("STRING_END"):
            where = slice(strings.pop(), where.stop)
        alone = name == "COMMENT" and not depth and not lines[start[0] - 1][: start[1]].strip()
        found["indented"][where] = start[1] > 0 if alone else indents > 0
        if name == "STRING" or name.endswith("STRING_END"):
            found["string"][where] = True
        elif name == "COMMENT":
            found["comment"][where] = True
        elif not strings and kind == tokenize.OP:
            depth += (text in _OPENING) - (text in _CLOSING)
        if not strings and name not in ("STRING", "COMMENT") and not name.endswith("STRING_END"):
            found["bracket"][where] = depth > 0 and text not in _OPENING


_LAYOUT = ("NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER")
_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")


def _byte(lines: Sequence[str], starts: NDArray[np.int64], place: tuple[int, int]) -> int:
    """Where a place, by line and column in characters, lies in the source."""
    row, column = place
    if row > len(lines):
        return int(starts[-1])
    return int(starts[row - 1]) + len(lines[row - 1][:column].encode())
