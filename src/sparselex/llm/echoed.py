"""Log-probabilities of a given text, as OpenAI's completions write them when they echo what they were given."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from sparselex.llm.records import Answer, Request, Token
from sparselex.llm.tokens import first_behind, starts_of
from sparselex.llm.wire import Trouble, count_of, logprob_of, whole

TOLD_NOTHING = 200
"""The status of an answer that is well but lacks what was wanted."""


class _Echo(NamedTuple):
    """Tokens of a text as a server lists them."""

    texts: list[str]
    logprobs: list[float | None]
    """None of what nothing predicts."""

    tops: list[Mapping[str, float]]
    offsets: list[int]
    """Where each begins; empty where the server does not say."""

    def part(self, begin: int, end: int) -> "_Echo":
        """Some of the tokens."""
        here = slice(begin, end)
        return _Echo(self.texts[here], self.logprobs[here], self.tops[here], self.offsets[here])


def echo_payload(model: str, request: Request, n_written: int) -> bytes:
    """The body that asks for the log-probabilities of a text. `n_written` is 0, or 1 for servers that insist on writing
    something."""
    body = {"model": model, "prompt": request.text, "echo": True, "max_tokens": n_written}
    return json.dumps(body | {"logprobs": max(1, request.top_logprobs)}).encode()


def read_echo(data: bytes, request: Request, n_written: int) -> Answer | Trouble:
    """What the body of a good answer says of a continuation. Where that is not the text that was sent, the server left
    out what it cannot do."""
    try:
        body = json.loads(data)
        echo = _echo(body["choices"][0]["logprobs"])
        tokens = _of_continuation(echo, request, n_written)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        tokens = None
    if tokens is None:
        return Trouble("the server tells no log-probabilities of the text that it was given", False, TOLD_NOTHING)
    n_read = count_of(body.get("usage"), "prompt_tokens")
    return Answer(text=request.continuation, tokens=tokens, n_prompt_tokens=n_read)


def _echo(logprobs: Mapping[str, Any]) -> _Echo:
    texts, found = list(map(whole, logprobs["tokens"])), logprobs["token_logprobs"]
    numbers = [None if one is None else logprob_of(one) for one in found]
    tops = [one or {} for one in logprobs.get("top_logprobs") or [{}] * len(texts)]
    if not len(texts) == len(numbers) == len(tops):
        raise ValueError("lists of different lengths")
    offsets = logprobs.get("text_offset") or []
    return _Echo(texts, numbers, tops, offsets if len(offsets) == len(texts) else [])


def _of_continuation(echo: _Echo, request: Request, n_written: int) -> tuple[Token, ...] | None:
    """The tokens of the continuation; None where those that came do not make up the text."""
    text, border = request.text, len(request.messages[0].content)
    for part in _candidates(echo, n_written):
        starts = starts_of(part.texts, text) or _true(part, text)
        if starts:
            behind = part.part(first_behind(starts, border, len(text)), len(starts))
            return _tokens(behind, request.top_logprobs)
    return None


def _candidates(echo: _Echo, n_written: int) -> list[_Echo]:
    """What may be the text: without the token that was written, and without one that begins every text."""
    whole_text = echo.part(0, len(echo.texts) - n_written)
    return [whole_text, whole_text.part(1, len(whole_text.texts))]


def _true(echo: _Echo, text: str) -> list[int] | None:
    """The server's own offsets, where tokens do not spell the text and these are sure to be of it: they begin with it
    and end with it."""
    offsets = echo.offsets
    if not offsets or offsets[0] or offsets[-1] + len(echo.texts[-1]) != len(text):
        return None
    return offsets if all(a <= b for a, b in pairwise(offsets)) else None


def _tokens(echo: _Echo, top: int) -> tuple[Token, ...] | None:
    """Records of the tokens; the first is left out where nothing predicts it."""
    if echo.logprobs and echo.logprobs[0] is None:
        echo = echo.part(1, len(echo.texts))
    found = list[Token]()
    for text, logprob, others in zip(echo.texts, echo.logprobs, echo.tops, strict=True):
        if logprob is None or math.isnan(logprob):
            return None
        found.append(Token(text, logprob, _likeliest(others, top)))
    return tuple(found)


def _likeliest(others: Mapping[str, Any], top: int) -> tuple[tuple[str, float], ...]:
    """As many as were wanted: a server may name the token itself beside them."""
    ranked: Sequence[tuple[str, float]] = [(whole(text), logprob_of(one)) for text, one in others.items()]
    return tuple(sorted(ranked, key=lambda one: -one[1])[:top])
