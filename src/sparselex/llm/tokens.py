"""Where the tokens of a text stand in it, found from what each spells."""

from collections.abc import Sequence


def starts_of(tokens: Sequence[str], text: str) -> list[int] | None:
    """Where each token begins in the text, in characters; None where the tokens do not spell it.

    Tokens that hold part of a character spell no text of their own (a replacement character, or `bytes:` and their
    values): they stand where the one before them ends. A blank that a tokenizer puts before the text is let pass.
    """
    starts, at, is_inside = list[int](), 0, False
    for token in tokens:
        if _is_part(token):
            starts.append(at)
            is_inside = is_inside or bool(token)
            continue
        spelled = token.removeprefix(" ") if not at and not text.startswith(token) else token
        # A part is of one character at least.
        found = text.find(spelled, at + 1) if is_inside else at
        if found < 0 or not text.startswith(spelled, found):
            return None
        starts.append(found)
        at, is_inside = found + len(spelled), False
    return starts if at == len(text) or (is_inside and at < len(text)) else None


def first_behind(starts: Sequence[int], border: int, end: int) -> int:
    """The first of the tokens that reach beyond `border`, a place in a text of `end` characters; their number where
    none does."""
    ends = [*starts[1:], end]
    reaching = (n for n, (start, stop) in enumerate(zip(starts, ends)) if stop > border or start >= border)
    return next(reaching, len(starts))


def _is_part(token: str) -> bool:
    return not token or "\ufffd" in token or token.startswith("bytes:")
