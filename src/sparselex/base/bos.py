"""Whether a row of tokens begins with the tokenizer's BOS: one rule, for corpora and for what a person types."""

from typing import Literal, Protocol, get_args, runtime_checkable

from sparselex.base.errors import UserError

Bos = Literal["auto", "always", "never"]
"""`auto` where the tokenizer itself begins a text with it, `always` where it has one, or `never`."""


@runtime_checkable
class HasBos(Protocol):
    """What the rule asks of a tokenizer."""

    bos_id: int | None
    """Token that may begin a row, or None."""

    adds_bos: bool
    """Whether the tokenizer itself begins a text with that token, or says that its model was trained so."""


def bos_of(tokenizer: HasBos, bos: Bos) -> int | None:
    """The token with which every row begins; None where rows begin with text. Raises `UserError` for a rule that there
    is not."""
    if bos not in get_args(Bos):
        raise UserError(f"{bos!r} was given for bos.", "auto, always or never", "leave it out for the tokenizer's own.")
    is_wanted = {"auto": tokenizer.adds_bos, "always": True, "never": False}[bos]
    return tokenizer.bos_id if is_wanted else None
