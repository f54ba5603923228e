"""Words for tasks: those that are one token of a tokenizer, and what is to be said of the others."""

from collections.abc import Sequence
from typing import NamedTuple

from sparselex.base.errors import UserError
from sparselex.text.tokenizer import Tokenizer


class Words(NamedTuple):
    """Words of one kind, as a tokenizer has them."""

    kept: tuple[str, ...]
    """Those that are one token behind a space."""

    split: tuple[str, ...]
    """Those that it cuts into several: their logit, and the place where they are known, would be no one token's."""


def one_token_words(words: Sequence[str], tokenizer: Tokenizer, *, kind: str, least: int) -> Words:
    """Words that are one token behind a space. Raises `UserError` where there are fewer than `least` of them."""
    ids = tokenizer.encode_batch([f" {word}" for word in words])
    known = range(len(tokenizer.vocabulary))
    bytes_of = tokenizer.vocabulary.token_bytes
    whole = [
        len(row) == 1 and row[0] in known and bytes_of(row[0]) == f" {word}".encode()
        for word, row in zip(words, ids, strict=True)
    ]
    kept = tuple(word for word, is_whole in zip(words, whole, strict=True) if is_whole)
    split = tuple(word for word, is_whole in zip(words, whole, strict=True) if not is_whole)
    if len(kept) < least:
        raise UserError(
            f"Of {len(words)} {kind} this tokenizer has {len(kept)} as one token; it cuts others, such as {split[:3]}.",
            f"at least {least}",
            "use a model with a larger vocabulary, or a task file of your own with words that it has.",
        )
    return Words(kept, split)
