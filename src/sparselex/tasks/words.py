"""Words for tasks: those that are one token of a tokenizer, what is to be said of the others, and prompts of them."""

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import NamedTuple

import numpy as np

from sparselex.base.errors import UserError
from sparselex.text.tokenizer import Tokenizer

BEHIND_A_SPACE = (" {}",)
"""How a word stands in a prompt, where nothing else is said."""


class Words(NamedTuple):
    """Words of one kind, as a tokenizer has them."""

    kept: tuple[str, ...]
    """Those that are one token, in every form in which they stand."""

    split: tuple[str, ...]
    """Those that it cuts into several: their logit, and the place where they are known, would be no one token's."""


def one_token_words(
    words: Sequence[str], tokenizer: Tokenizer, *, kind: str, least: int, forms: Sequence[str] = BEHIND_A_SPACE
) -> Words:
    """Words that are one token in each of the forms in which they stand in prompts, such as `" {}"` and `" {}s"`.
    Raises `UserError` where there are fewer than `least` of them."""
    whole = [_are_whole([form.format(word) for form in forms], tokenizer) for word in words]
    kept = tuple(word for word, is_whole in zip(words, whole, strict=True) if is_whole)
    split = tuple(word for word, is_whole in zip(words, whole, strict=True) if not is_whole)
    if len(kept) < least:
        raise UserError(
            f"Of {len(words)} {kind} this tokenizer has {len(kept)} as one token; it cuts others, such as {split[:3]}.",
            f"at least {least}",
            "use a model with a larger vocabulary, or a task file of your own with words that it has.",
        )
    return Words(kept, split)


def one_of(words: Sequence[str], chance: np.random.Generator) -> str:
    """A word, drawn. Raises `UserError` where there is none."""
    if not words:
        raise UserError("There is no word left to draw.", "more words than one prompt takes", "give the task more.")
    return words[int(chance.integers(len(words)))]


def another(words: Sequence[str], than: str, chance: np.random.Generator) -> str:
    """Another word, drawn. Raises `UserError` where there is none."""
    return one_of([word for word in words if word != than], chance)


def filled(template: str, words: Mapping[str, str]) -> tuple[str, dict[str, tuple[int, int]]]:
    """A template with words in the place of their names in braces, and where each stands in it, [start, end) in
    characters: the last time, where it stands there again."""
    text, spans = "", dict[str, tuple[int, int]]()
    for before, name, _, _ in Formatter().parse(template):
        text += before
        if name:
            spans[name] = (len(text), len(text) + len(words[name]))
            text += words[name]
    return text, spans


def _are_whole(texts: list[str], tokenizer: Tokenizer) -> bool:
    known, bytes_of = range(len(tokenizer.vocabulary)), tokenizer.vocabulary.token_bytes
    return all(
        len(row) == 1 and row[0] in known and bytes_of(row[0]) == text.encode()
        for text, row in zip(texts, tokenizer.encode_batch(texts), strict=True)
    )
