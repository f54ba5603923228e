"""Documents that come as something else than text: token ids, checked, and chats, written by the tokenizer's template.

What a tokenizer puts around a text is taken off again, for a corpus has its own: the token at its beginning, if the
tokenizer itself puts one there, and the end-of-text and padding behind it.
"""

import contextlib
from collections.abc import Sequence

from sparselex.base.errors import UserError
from sparselex.text.documents import Document, Message, Skipped
from sparselex.text.fields import SAID_BESIDE
from sparselex.text.tokenizer import ChatTokenizer, Tokenizer

Pair = tuple[Document, list[int]]
"""A document and its tokens."""


def given_ids(document: Document, tokenizer: Tokenizer) -> Pair | Skipped:
    """A document that comes tokenized, with the text that its tokens stand for. Raises `UserError` for an id that is
    no token's."""
    n_tokens, given = len(tokenizer.vocabulary), document.ids or ()
    if strange := [token for token in given if not 0 <= token < n_tokens]:
        raise UserError(
            f"The document {document.name!r} has the token id {strange[0]}, and the tokenizer {n_tokens:,} tokens.",
            f"ids from 0 to {n_tokens - 1}, of the model's own tokenizer",
            "use the model for which the text was tokenized, or a field with the text itself (--text-field).",
        )
    return _bare(document, given, tokenizer, tokenizer.vocabulary.decode(given))


def chat_ids(document: Document, tokenizer: Tokenizer) -> Pair | Skipped:
    """A chat as the tokenizer's template writes it; skipped where the template refuses it or leaves out what is said in
    it beside the contents. Raises `UserError` for a tokenizer without one."""
    if not (isinstance(tokenizer, ChatTokenizer) and tokenizer.has_chat_template):
        raise UserError(
            f"The document {document.name!r} is a chat, and the model's tokenizer has no chat template.",
            "a model made for chats, or text",
            "use such a model (smollm2), or name a field that holds text (--text-field).",
        )
    try:
        ids = tokenizer.encode_chat(document.messages or ())
    except UserError as error:
        return Skipped("chats that the template refuses", f"{document.name}: {error.given}")
    if left_out := _left_out(document.messages or (), ids, tokenizer):
        words = f"{document.name}: it leaves out {', '.join(left_out)}"
        return Skipped("chats that the template does not write whole", words)
    return _bare(document, ids, tokenizer, document.text)


def _left_out(messages: Sequence[Message], ids: Sequence[int], tokenizer: ChatTokenizer) -> list[str]:
    """What messages say beside their contents and a template has no words for: without it, their tokens `ids` are the
    same."""
    found = []
    for name in SAID_BESIDE:
        if not any(name in message for message in messages):
            continue
        without = [{key: value for key, value in message.items() if key != name} for message in messages]
        with contextlib.suppress(UserError):  # refused without it: then it is of use
            found += [name] * (tokenizer.encode_chat(without) == ids)
    return found


def _bare(document: Document, ids: Sequence[int], tokenizer: Tokenizer, text: str) -> Pair | Skipped:
    start, end = 0, len(ids)
    if tokenizer.adds_bos and end and ids[0] == tokenizer.bos_id:
        start = 1
    while end > start and ids[end - 1] in (tokenizer.eos_id, tokenizer.pad_id):
        end -= 1
    if start == end:
        return Skipped("empty documents", document.name)
    return document._replace(text=text, roles=None), list(ids[start:end])
