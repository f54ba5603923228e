"""What a reader types into the search of the list: words, a number, and conditions on columns."""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("latent", "score", "null", "low", "high", "effect", "density", "active", "max", "mean")
"""Columns of numbers, which conditions may be on."""

TEXTS = ("top", "explanation", "label")
"""Columns of texts, which words may be looked for in."""

FLAGS = ("dead", "rare", "dense", "single-token", "duplicate", "used", "explained", "scored", "labelled")
"""What a feature may be asked to be, or not to be."""

_ON_COLUMN = re.compile(rf"({'|'.join(COLUMNS)})(<=|>=|<|>)(-?\d+(?:\.\d*)?(?:e-?\d+)?|-?\.\d+)", re.IGNORECASE)
_ON_TEXT = re.compile(rf"({'|'.join(TEXTS)}):(\S+)", re.IGNORECASE)
_ON_FLAG = re.compile(rf"(is|not):({'|'.join(FLAGS)})", re.IGNORECASE)


class Condition(NamedTuple):
    """A condition on a column."""

    column: str
    sign: str
    value: float

    def holds(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """`[n]`; never for what is not known."""
        with np.errstate(invalid="ignore"):
            match self.sign:
                case "<":
                    return values < self.value
                case "<=":
                    return values <= self.value
                case ">":
                    return values > self.value
            return values >= self.value


class Query(NamedTuple):
    """A search taken apart."""

    words: str
    """What is looked for."""

    conditions: list[Condition]
    """On columns of numbers."""

    texts: list[tuple[str, str]]
    """Columns of texts, and what they have to hold."""

    flags: dict[str, bool]
    """What a feature has to be, and what it must not be."""


def parsed(text: str) -> Query:
    """A search as it is typed. What is no condition on a column that there is are words: code is full of `<`."""
    words, found = list[str](), Query("", [], [], {})
    for part in text.split():
        if on_column := _ON_COLUMN.fullmatch(part):
            found.conditions.append(Condition(on_column[1].lower(), on_column[2], float(on_column[3])))
        elif on_flag := _ON_FLAG.fullmatch(part):
            found.flags[on_flag[2].lower()] = on_flag[1].lower() == "is"
        elif on_text := _ON_TEXT.fullmatch(part):
            found.texts.append((on_text[1].lower(), on_text[2]))
        else:
            words.append(part)
    # Spaces are part of what is looked for, where no condition stands between them.
    whole = " ".join(words) if found.conditions or found.flags or found.texts else text
    return found._replace(words=whole)
