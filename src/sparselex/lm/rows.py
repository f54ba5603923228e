"""A text that a person types, as a row of tokens: what a model reads of it, and what a corpus would hold."""

import torch
from jaxtyping import Int
from torch import Tensor

from sparselex.base.bos import Bos, bos_of
from sparselex.base.errors import UserError, a
from sparselex.lm.tokenizer import ModelTokenizer


def row_of(text: str, tokenizer: ModelTokenizer, n_ctx: int, name: str, bos: Bos) -> Int[Tensor, "1 ctx"]:
    """The tokens of `text`, BOS first by the rule `bos`. Raises `UserError` for what is no text, for a text without
    tokens, and for more than `n_ctx` tokens, which is what the model called `name` reads."""
    if not isinstance(text, str):
        raise UserError(f"What was given is {a(type(text).__name__)}.", "a text", "give one text at a time.")
    ids = tokenizer.encode_batch([text])[0]
    if not ids:
        raise UserError("The prompt has no tokens.", "a text", "write something.")
    first = bos_of(tokenizer, bos)
    row = ids if first is None else [first, *ids]
    if len(row) > n_ctx:
        expected = f"at most {n_ctx}, which is what {name} reads"
        raise UserError(f"The prompt has {len(row)} tokens.", expected, "shorten it.")
    return torch.tensor([row])
