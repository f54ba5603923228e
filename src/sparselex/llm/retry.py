"""When a question is asked again."""

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

LONGEST_S = 300.0
"""The longest wait before a question is asked again, whatever a server says."""

_LONGEST_GUESS_S = 30.0


def hint_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server wants to be left alone, by `retry-after-ms` or `Retry-After` (seconds or a date); None if
    it does not say. At most `LONGEST_S`."""
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        if (seconds := _seconds(headers.get(name, ""), unit_s)) is not None:
            return min(max(seconds, 0.0), LONGEST_S)
    return None


def wait_s(attempt: int, first_s: float, hint: float | None, rng: random.Random) -> float:
    """Seconds before attempt number `attempt` (the first repetition is 1): doubled each time, and spread at random by
    half so that many do not come back at once; never before the server's hint is over."""
    guess_s = min(first_s * 2 ** min(attempt - 1, 30), max(_LONGEST_GUESS_S, first_s))
    spread_s = guess_s * rng.uniform(0.5, 1.0)
    return spread_s if hint is None else hint + min(spread_s, 0.1 * hint + first_s) * rng.random()


def _seconds(text: str, unit_s: float) -> float | None:
    try:
        seconds = float(text) * unit_s
        return seconds if seconds == seconds else None  # "nan" is a float as well
    except ValueError:
        return _until(text)


def _until(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
