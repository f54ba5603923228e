"""What rules can tell tokens apart by: for each kind, a key of every token and the words of a key.

A rule that lies in a database keeps the name of its kind and its keys: both must go on meaning the same.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sparselex.explain.shapes import N_SHAPES, NONE, affix_text, shape_words
from sparselex.explain.surroundings import LAST_PLACE, WITHIN, Keys, Surroundings
from sparselex.features.printing import TokenPrinter, quoted

Kind = str
"""Name of a kind, in `KINDS`."""


class Naming(NamedTuple):
    """How tokens are written, and how many there are."""

    printer: TokenPrinter
    n_vocab: int

    def token(self, token: int) -> str:
        """A token, or what stands where a row has none."""
        return self.printer.quoted(token) if token < self.n_vocab else "the start of a row"


class KeyKind(NamedTuple):
    """One way to tell tokens apart."""

    lead: str
    """What goes before the words of its keys: `on`, `after`."""

    keys: Callable[[Surroundings], Keys]
    """The key of every token, `[n]`; negative for one that has none. Of `RECENT` several, `[n, WITHIN]`."""

    words: Callable[[int, Naming], str]
    """A key in words, none of which another key of the kind has."""


def _token(key: int, names: Naming) -> str:
    return names.token(key)


def _pair(key: int, names: Naming) -> str:
    before, token = divmod(key, names.n_vocab)
    return f"{names.token(token)} after {names.token(before)}"


def _next(key: int, names: Naming) -> str:
    return names.token(key) if key < names.n_vocab else "the end of a row"


def _affix(key: int, names: Naming) -> str:
    return quoted(affix_text(key))


def _shape(key: int, names: Naming) -> str:
    return shape_words(key)


def _token_after_shape(key: int, names: Naming) -> str:
    shape, token = divmod(key, names.n_vocab)
    return f"{names.token(token)} after {shape_words(shape)}"


def _shape_after_token(key: int, names: Naming) -> str:
    before, shape = divmod(key, N_SHAPES)
    return f"{shape_words(shape)} after {names.token(before)}"


def _gap_pair(key: int, names: Naming) -> str:
    before, token = divmod(key, names.n_vocab)
    return f"{names.token(token)} two tokens after {names.token(before)}"


def _line(key: int, names: Naming) -> str:
    return f"{key + 1}" + (" or later" if key == LAST_PLACE else "")


def _indent(key: int, names: Naming) -> str:
    return f"{key}"


def _column(key: int, names: Naming) -> str:
    return f"{key}" if key < 8 else f"{key} to {2 * key - 1}"


def _both(first: Keys, second: Keys, n: int) -> Keys:
    """One key of two, the second of which is below `n`."""
    return np.where((first < 0) | (second < 0), NONE, first * n + second)


def _rounded(column: Keys) -> Keys:
    """Columns of a row: the first eight by themselves, then twice as many together each time."""
    return np.where(column < 8, column, 2 ** np.log2(np.maximum(column, 1)).astype(np.int64))


def _shape_before(at: Surroundings) -> Keys:
    return at.classes.shape[at.at(-1)]


RECENT: Kind = "recent"
"""The one kind of which a token has several keys: the first entry that holds counts."""

KINDS: dict[Kind, KeyKind] = {
    "token": KeyKind("on", lambda at: at.at(0), _token),
    "previous": KeyKind("after", lambda at: at.at(-1), _token),
    "pair": KeyKind("on", lambda at: at.at(-1) * at.n_vocab + at.at(0), _pair),
    "spelling": KeyKind("on any case or spacing of", lambda at: at.classes.spelling[at.at(0)], _token),
    "spelling before": KeyKind("after any case or spacing of", lambda at: at.classes.spelling[at.at(-1)], _token),
    "prefix of 2": KeyKind("on words that begin with", lambda at: at.classes.affix[2][at.at(0)], _affix),
    "prefix of 3": KeyKind("on words that begin with", lambda at: at.classes.affix[3][at.at(0)], _affix),
    "suffix of 2": KeyKind("on words that end in", lambda at: at.classes.affix[-2][at.at(0)], _affix),
    "suffix of 3": KeyKind("on words that end in", lambda at: at.classes.affix[-3][at.at(0)], _affix),
    "shape": KeyKind("on tokens of", lambda at: at.classes.shape[at.at(0)], _shape),
    "shape before": KeyKind("after tokens of", _shape_before, _shape),
    "token after shape": KeyKind("on", lambda at: _both(_shape_before(at), at.at(0), at.n_vocab), _token_after_shape),
    "shape after token": KeyKind(
        "on", lambda at: _both(at.at(-1), at.classes.shape[at.at(0)], N_SHAPES), _shape_after_token
    ),
    "gap of 2": KeyKind("two tokens after", lambda at: at.before(2), _token),
    "gap of 3": KeyKind("three tokens after", lambda at: at.before(3), _token),
    "gap of 4": KeyKind("four tokens after", lambda at: at.before(4), _token),
    "token after gap": KeyKind("on", lambda at: _both(at.before(2), at.at(0), at.n_vocab), _gap_pair),
    "next": KeyKind("where the next token is", lambda at: at.at(1), _next),
    "place in line": KeyKind("on tokens of a line by number:", lambda at: at.place_in_line, _line),
    "indentation": KeyKind("in lines indented by columns:", lambda at: at.indentation, _indent),
    "place in row": KeyKind("on tokens of a row by number:", lambda at: _rounded(at.column), _column),
    RECENT: KeyKind(f"within {WITHIN} tokens after", lambda at: at.recent.astype(np.int64), _token),
}
"""Every kind. The first three come first: of equally good rules the simplest is taken."""

PARTED: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != RECENT)
"""Kinds of which a token has one key at most, so that no two entries meet."""

SIMPLEST: tuple[Kind, ...] = ("token", "previous", "pair")
"""Kinds that know the token and the one before it, and nothing else."""
