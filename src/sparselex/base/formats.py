"""Numbers as people read them."""

import json
import math
import re


def number(value: float | None, digits: int = 4) -> str:
    """A value with `digits` significant figures, thousands in groups; an en dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    if value and (abs(value) >= 1e7 or abs(value) < 1e-4):
        mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
        return f"{mantissa} × 10{str(int(exponent)).translate(_RAISED)}".replace("-", "−")
    places = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{places}f}".replace("-", "−")


def fixed(value: float, places: int = 3) -> str:
    """A value with so many decimal places, for columns of scores."""
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", "−")  # the sum turns -0.0 into 0.0


def count(value: int) -> str:
    """A whole number, thousands in groups."""
    return f"{value:,}"


def counted(n: int, what: str) -> str:
    """So many of what is named in the singular: `1 feature`, `4,096 features`."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def plain(text: str) -> str:
    """Text for a terminal: what could move its cursor, change its title or hide what stands there is written out."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def percent(share: float) -> str:
    """A share as a percentage with three significant figures."""
    return f"{number(100 * share, 3)} %"


def guarded(text: str) -> str:
    """A text as a cell of a table that is read by spreadsheets: with an apostrophe before what they would take for a
    formula and run."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """The text that `guarded` made the cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def pretty(value: object) -> str:
    """A JSON value over several lines."""
    return json.dumps(value, indent=2, ensure_ascii=False)


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters but for tabs and line ends, and what turns the direction of text."""

_FORMULA = re.compile("'*[=+\\-@\t\r]")
"""What a formula begins with, behind any number of apostrophes."""

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
