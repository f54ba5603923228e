"""Hugging Face tokenizers as the text room wants them: ids out, and the true bytes of every token."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from sparselex.base.errors import UserError
from sparselex.base.vocabulary import Vocabulary

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class ModelTokenizer:
    """A fast Hugging Face tokenizer, made lossless where it can be.

    A prefix that some tokenizers put before the first word (SentencePiece's dummy space) is switched off, and so is the
    collapsing of spaces: a corpus must give its documents back byte for byte. Names of special tokens inside a text are
    ordinary text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise UserError(
                f"The tokenizer {type(tokenizer).__name__} is a slow one without a tokenizer.json.",
                "a fast Hugging Face tokenizer",
                "save it once with `AutoTokenizer.from_pretrained(NAME, use_fast=True).save_pretrained(FOLDER)`.",
            )
        spec = json.loads(backend.to_str())
        if spec["model"]["type"] == "WordPiece":
            raise UserError(
                f"The tokenizer {type(tokenizer).__name__} is of the kind WordPiece.",
                "byte-level BPE, SentencePiece or Unigram: tokens of which a text can be put together again",
                "use another model; WordPiece does not keep the spaces of a text.",
            )
        spec = _lossless(spec)
        self._backend = Tokenizer.from_str(json.dumps(_without_special(spec)))
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True
        self.bos_id: int | None = tokenizer.bos_token_id
        self.eos_id: int | None = tokenizer.eos_token_id
        self.pad_id: int | None = tokenizer.pad_token_id
        self.adds_bos = _adds_bos(tokenizer, backend)
        self.has_chat_template = bool(tokenizer.chat_template)
        self._writer = tokenizer
        self._chats = Tokenizer.from_str(json.dumps(spec))  # a template writes special tokens by their names
        self._chats.no_truncation()
        self._chats.no_padding()
        self.vocabulary = _vocabulary(spec, self._chats, tokenizer.all_special_ids)
        self.id = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, no special tokens added. Raises `UserError` for a text that the tokenizer refuses."""
        try:
            return [encoding.ids for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False)]
        except Exception as error:  # a door: the library raises nothing more special
            raise UserError(
                f"The tokenizer refuses a text: {error}.",
                "text that it has tokens for, or a tokenizer with a token for what it does not know",
                "use another text or another model.",
            ) from None

    def encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Token ids of a chat as the tokenizer's template writes it; names of special tokens in it, also inside a
        message, are special tokens. Raises `UserError` for messages that the template refuses."""
        try:
            text = self._writer.apply_chat_template(list(messages), tokenize=False)
            return self._chats.encode(str(text), add_special_tokens=False).ids
        except Exception as error:  # a door: a template is a program of the model's makers, and refuses as it likes
            raise UserError(
                f"The chat template refuses these messages: {error}.",
                f"roles and an order that it takes, not {', '.join(message['role'] for message in messages)}",
                "correct the chat, or leave it out.",
            ) from None

    def encode_question(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Token ids of a chat up to where the model is to answer. Other than in `encode_chat` what stands in a message
        is text, also names of special tokens: nothing in it can end its turn. Without a template, messages follow one
        another, a blank line between them. Raises `UserError` for messages that the template refuses."""
        contents = [str(message["content"]) for message in messages]
        if not self.has_chat_template:
            return self.encode_batch(["".join(f"{content}\n\n" for content in contents)])[0]
        held = [{**message, "content": _HELD.format(n)} for n, message in enumerate(messages)]
        try:
            text = self._writer.apply_chat_template(held, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a door, as above
            raise UserError(
                f"The chat template refuses these messages: {error}.",
                f"roles and an order that it takes, not {', '.join(message['role'] for message in messages)}",
                "ask another model.",
            ) from None
        parts, found = _OF_HELD.split(str(text)), list[int]()
        for place, part in enumerate(parts):
            if place % 2:
                found += self.encode_batch([contents[int(part)]])[0]
            elif part:
                found += self._chats.encode(part, add_special_tokens=False).ids
        return found


_HELD, _OF_HELD = "\ue000{}\ue001", re.compile("\ue000(\\d+)\ue001")
"""What stands for a message while a template is filled in: characters that are for private use."""

ROWS_BEGIN_WITH_BOS = "rows_begin_with_bos"
"""Field of `tokenizer_config.json` by which the models that we ship say that they were trained with a BOS before every
row, which their tokenizer does not add."""


def _adds_bos(tokenizer: PreTrainedTokenizerBase, backend: Tokenizer) -> bool:
    if tokenizer.bos_token_id is None:
        return False
    # Of the empty text: not every tokenizer has a token for a given letter.
    return bool(tokenizer.init_kwargs.get(ROWS_BEGIN_WITH_BOS)) or backend.encode("").ids[:1] == [
        tokenizer.bos_token_id
    ]


def _lossless(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification without the steps that lose or invent bytes: dummy prefixes, stripped ends, runs of spaces
    collapsed, spaces swallowed beside added tokens.

    What alters characters (NFC, small letters) stays: the model knows them no other way.
    """
    kept = [part for part in _parts(spec.get("normalizer"), "normalizers") if not _alters_spaces(part)]
    spec["normalizer"] = {"type": "Sequence", "normalizers": kept} if kept else None
    steps = _parts(spec.get("pre_tokenizer"), "pretokenizers")
    for part in steps:
        if part["type"] == "Metaspace":
            part["prepend_scheme"] = "never"
        if part["type"] == "ByteLevel":
            part["add_prefix_space"] = False
    if {"WhitespaceSplit", "Metaspace"} <= {part["type"] for part in steps}:
        # It drops the spaces of which Metaspace makes the beginnings of words: with no dummy prefix, of none.
        kept = [part for part in steps if part["type"] != "WhitespaceSplit"]
        spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": kept}
    for token in spec["added_tokens"]:
        token["lstrip"] = token["rstrip"] = False
    return spec


def _without_special(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification by which a text is read: its tokenizer may be told to take names of special tokens for text,
    but Unigram has them among its pieces, and would find them all the same."""
    if spec["model"]["type"] != "Unigram":
        return spec
    special = {token["content"] for token in spec["added_tokens"] if token["special"]}
    vocab = [[f"\uffff{name}\uffff" if name in special else name, score] for name, score in spec["model"]["vocab"]]
    others = [token for token in spec["added_tokens"] if not token["special"]]
    return spec | {"model": spec["model"] | {"vocab": vocab}, "added_tokens": others, "post_processor": None}


def _alters_spaces(normalizer: dict[str, Any]) -> bool:
    return normalizer["type"] in ("Prepend", "Strip") or (
        normalizer["type"] == "Replace" and "Regex" in normalizer["pattern"]
    )


def _parts(step: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if not step:
        return []
    return step[key] if step["type"] == "Sequence" else [step]


def _vocabulary(spec: dict[str, Any], backend: Tokenizer, special_ids: list[int]) -> Vocabulary:
    added = {token["id"] for token in spec["added_tokens"]}
    special = {token["id"] for token in spec["added_tokens"] if token["special"]} | set(special_ids)
    names: list[str] = [""] * (1 + max(backend.get_vocab().values(), default=-1))
    for name, token_id in backend.get_vocab().items():
        names[token_id] = name
    bytes_of, is_fallback = _reader(spec)
    # A byte-fallback token may be declared special by its converter; it still stands for a byte of the text.
    special -= {i for i in special if is_fallback and _BYTE_TOKEN.fullmatch(names[i])}
    # Special tokens have their names. Other added tokens are found in the text as they are written, and spelled in a
    # model's own letters where it has the very same: SentencePiece's runs of spaces, which are always spelled so.
    literal = added & special if bytes_of is not _from_byte_level else added - _of_model(spec, added, names) | special
    return Vocabulary([n.encode() if i in literal else bytes_of(n) for i, n in enumerate(names)], special)


def _of_model(spec: dict[str, Any], added: set[int], names: Sequence[str]) -> set[int]:
    """Added tokens that the model has as well."""
    vocab = spec["model"]["vocab"]
    own = set(vocab) if isinstance(vocab, dict) else {name for name, _ in vocab}
    return {i for i in added if names[i] in own}


def _reader(spec: dict[str, Any]) -> tuple[Callable[[str], bytes], bool]:
    """What makes bytes of a token's name, and whether there are tokens that stand for a byte each."""
    decoders = _parts(spec.get("decoder"), "decoders")
    kinds = {part["type"] for part in (*decoders, *_parts(spec.get("pre_tokenizer"), "pretokenizers"))}
    is_fallback = "ByteFallback" in kinds or bool(spec["model"].get("byte_fallback"))
    if "ByteLevel" in kinds:
        return _from_byte_level, is_fallback
    if ends := [part["suffix"] for part in decoders if part["type"] == "BPEDecoder"]:
        return lambda name: name.replace(ends[0], " ").encode(), is_fallback
    return _from_sentencepiece if is_fallback else _from_pieces, is_fallback


def _from_byte_level(name: str) -> bytes:
    if all(character in _BYTES for character in name):
        return bytes(_BYTES[character] for character in name)
    return name.encode()


def _from_sentencepiece(name: str) -> bytes:
    if match := _BYTE_TOKEN.fullmatch(name):
        return bytes([int(match[1], 16)])
    return _from_pieces(name)


def _from_pieces(name: str) -> bytes:
    return name.replace("▁", " ").encode()


def _byte_characters() -> dict[str, int]:
    """The printable stand-ins of byte-level BPE (Radford et al. 2019): visible Latin-1 bytes stand for themselves, the
    others take the code points from 256 on, in order."""
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + n): byte for n, byte in enumerate(hidden)}


_BYTES = _byte_characters()
