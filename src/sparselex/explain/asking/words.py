"""Windows as a language model reads them: plain text, marks around tokens, and fences that the text cannot forge."""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from string import Template

from sparselex.base.vocabulary import Vocabulary
from sparselex.llm.records import Capabilities

_MARKS = (("<<", ">>"), ("[[", "]]"), ("{{", "}}"), ("⟦", "⟧"), ("⟪", "⟫"), ("❰", "❱"))
"""What may stand around a marked token, in the order in which it is tried: the first pair that no text has."""

_PROMPTS = Path(__file__).parent / "prompts"


def prompt(name: str) -> Template:
    """A prompt by name and version, such as `detection.v1`: a text with `$names` to be filled in."""
    return Template((_PROMPTS / f"{name}.txt").read_text(encoding="utf-8").strip())


def plain(vocabulary: Vocabulary, tokens: Iterable[int]) -> str:
    """Tokens as text; bytes that are no character stand as the sign for that."""
    return b"".join(map(vocabulary.token_bytes, tokens)).decode("utf-8", errors="replace")


def marks(texts: Iterable[str]) -> tuple[str, str]:
    """An opening and a closing mark that stand in none of these texts."""
    texts = list(texts)
    for pair in _MARKS:
        if not any(mark in text for mark in pair for text in texts):
            return pair
    code = nonce(texts)
    return f"<{code}>", f"</{code}>"


def marked(vocabulary: Vocabulary, tokens: Sequence[int], which: Collection[int], pair: tuple[str, str]) -> str:
    """Tokens as text, runs of those whose places are among `which` between marks.

    A character whose bytes come in several tokens is marked whole where one of these is.
    """
    parts, run, is_open = list[str](), list[int](), False
    for tokens_of_one, is_marked in _characters(vocabulary, tokens, which):
        if is_marked != is_open:
            parts.append(plain(vocabulary, run) + (pair[0] if is_marked else pair[1]))
            run, is_open = [], is_marked
        run += tokens_of_one
    return "".join([*parts, plain(vocabulary, run), pair[1] if is_open else ""])


def _characters(
    vocabulary: Vocabulary, tokens: Sequence[int], which: Collection[int]
) -> Iterable[tuple[list[int], bool]]:
    """Tokens in groups that end where a character does, and whether one of each is marked."""
    group, is_marked = list[int](), False
    for place, token in enumerate(tokens):
        if group and not _continues(vocabulary.token_bytes(token)):
            yield group, is_marked
            group, is_marked = [], False
        group.append(token)
        is_marked |= place in which
    if group:
        yield group, is_marked


def _continues(data: bytes) -> bool:
    return b"\x80" <= data[:1] < b"\xc0"


def fenced(texts: Sequence[str], also: str = "") -> str:
    """Texts under numbers from 1, each between lines that occur in none of them, nor in `also`: whatever a text says,
    it cannot end before its end."""
    code = nonce([*texts, also])
    return "\n".join(f"[{code} {n}]\n{text}\n[/{code} {n}]" for n, text in enumerate(texts, 1))


def nonce(texts: Sequence[str]) -> str:
    """A short code that is in none of these texts; the same for the same texts."""
    digest, length = hashlib.sha256("\x1f".join(texts).encode("utf-8", errors="replace")).hexdigest(), 4
    while length < len(digest) and any(digest[:length] in text for text in texts):
        length += 4
    return digest[:length]


def quoted(text: str) -> str:
    """A text as one line within quotation marks."""
    return json.dumps(text, ensure_ascii=False)


def one_line(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


def upper_first(text: str) -> str:
    """A text that begins a sentence."""
    return text[:1].upper() + text[1:]


def variant(version: str, can: Capabilities, *, votes: bool = False) -> str:
    """How something is asked, in words for records: by which prompt, and what of the server is used."""
    if votes and can.choices:
        one = version.replace(".", "-one.", 1)
        return f"{one}, each window by itself, probability of Yes held against that of the other windows"
    parts = [version, "answers held to a schema" if can.schema_answers else "answers in free text"]
    if votes:
        parts.append("probabilities of votes" if can.logprobs else "bare votes")
    return ", ".join(parts)
