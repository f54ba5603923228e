"""Named parts of a prompt: from the characters that its record names to the tokens that cover them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.base.vocabulary import Vocabulary
from sparselex.text.documents import Document

Spans = dict[str, tuple[int, int]]
"""Name of a part to [start, end)."""


def token_spans(document: Document, ids: Sequence[int], vocabulary: Vocabulary) -> Spans:
    """The tokens that cover each role of a prompt, [start, end) among its tokens `ids`.

    Raises `UserError` naming the prompt for roles that are no spans of its text, and for tokens that do not give the
    text back.
    """
    if not document.roles:
        return {}
    ends = np.cumsum([len(vocabulary.token_bytes(token)) for token in ids])
    if int(ends[-1]) != len(document.text.encode()):
        raise UserError(
            f"The tokens of the prompt {document.name!r} do not give its text back, so its roles have no place.",
            "a tokenizer that keeps every byte",
            "leave the roles out, or use another model.",
        )
    return {name: _covering(ends, document.text, *span) for name, span in _checked(document).items()}


def role_table(spans: Sequence[Spans], names: Sequence[str]) -> NDArray[np.int32]:
    """`[n_rows, n_roles, 2]` starts and ends by row and role, -1 where a row has no such role."""
    table = np.full((len(spans), len(names), 2), -1, dtype=np.int32)
    numbers = {name: number for number, name in enumerate(names)}
    for row, found in enumerate(spans):
        for name, span in found.items():
            table[row, numbers[name]] = span
    return table


def _covering(ends: NDArray[np.int64], text: str, start: int, end: int) -> tuple[int, int]:
    """Tokens with a byte between these characters; `ends` is where in the text's bytes each token ends."""
    first_byte, end_byte = (len(text[:place].encode()) for place in (start, end))
    return int(np.searchsorted(ends, first_byte, "right")), int(np.searchsorted(ends, end_byte, "left")) + 1


def _checked(document: Document) -> Spans:
    given: Any = document.roles
    if isinstance(given, dict):
        named = {str(name): span for name, span in given.items() if span is not None}  # Parquet fills gaps with null
        if all(_is_span(span, len(document.text)) for span in named.values()):
            return {name: (span[0], span[1]) for name, span in named.items()}
    raise UserError(
        f"The prompt {document.name!r} has the roles {given!r}.",
        f"names with [start, end) in characters, between 0 and {len(document.text)}, the end behind the start",
        'correct the record, for example {"text": "Ann left", "roles": {"subject": [0, 3]}}.',
    )


def _is_span(span: Any, length: int) -> bool:
    if not (isinstance(span, (list, tuple)) and len(span) == 2 and all(type(place) is int for place in span)):
        return False
    return 0 <= span[0] < span[1] <= length
