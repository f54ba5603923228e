"""Numbers of latents in strangers' files."""

import re

from sparselex.convert.checked import Row

MOST_FEATURES = 1 << 20
"""Numbers that a latent may have: beyond that a file is damaged, or of no dictionary."""

_DIGITS = re.compile(r"\d{1,9}", re.ASCII)


def latent_of(row: Row, name: str) -> int:
    """The number of a latent, which some files have as text. Raises `UserError` for what is none."""
    given = row.values.get(name)
    if isinstance(given, str) and _DIGITS.fullmatch(given.strip()):
        given = int(given)
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given < MOST_FEATURES:
        raise row.wrong(
            name, "missing" if given is None else given, f"the number of a latent, 0 to {MOST_FEATURES - 1}"
        )
    return given
