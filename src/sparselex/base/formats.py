"""Numbers and tokens as people read them."""

import json
import math
import unicodedata
from functools import lru_cache


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


def percent(share: float) -> str:
    """A share as a percentage with three significant figures."""
    return f"{number(100 * share, 3)} %"


def pretty(value: object) -> str:
    """A JSON value over several lines."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def visible(text: str, *, active: bool = True) -> str:
    """Text in which nothing lies hidden.

    Line ends and control characters become signs everywhere, so that an example stays on its lines and no
    bidirectional mark can reorder its neighbours. Where the token is `active` and has nothing to see, its
    spaces become signs as well: heat must not lie on nothing.
    """
    blank = active and not any(map(_has_ink, text))
    return "".join(_sign(char, blank) for char in text)


def token_label(text: str) -> str:
    """A token on its own, in lists: every space a sign, for a leading space is half of what a token is."""
    return visible(text).replace(" ", _SIGNS[" "])


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SIGNS = {"\n": "↵", "\t": "→", " ": "·", "\x7f": "␡"}
_BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@lru_cache(maxsize=4096)
def _has_ink(char: str) -> bool:
    return not char.isspace() and unicodedata.category(char) not in ("Cc", "Cf")


@lru_cache(maxsize=4096)
def _sign(char: str, blank: bool) -> str:
    if char == "\t":
        return _SIGNS[char] if blank else char
    if char in "\n\x7f":
        return _SIGNS[char]
    if unicodedata.category(char) == "Cc":
        return chr(0x2400 + ord(char)) if ord(char) < 32 else _escape(char)
    if char in "\u2028\u2029" or unicodedata.bidirectional(char) in _BIDIRECTIONAL:
        return _escape(char)
    if blank and not _has_ink(char):
        return _SIGNS.get(char) or _escape(char)
    return char


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
