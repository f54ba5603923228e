"""Questions and answers as OpenAI's chat completions write them."""

import json
import math
import re
from typing import Any, NamedTuple

from sparselex.llm.records import Answer, Capabilities, Request, Token

LEAST_LOGPROB = -9999.0
"""In place of minus infinity, as hosted servers write it."""

_LONGEST_SAID = 300
"""Characters of what a server says of an error that are repeated."""

_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Halves of characters cannot be written at all; marks of direction reach beyond the text in which they stand."""

_INSISTS = re.compile(r"max_tokens|positive|at least|greater than|minimum", re.IGNORECASE)
"""How servers complain of an answer of no tokens."""

TOO_BUSY = frozenset({408, 409, 425, 429, *range(500, 600)})
"""Statuses after which the same question may be answered."""

ABOUT_THE_QUESTION = frozenset({400, 413, 422})
"""Statuses that say nothing of the server: another question may be answered."""


class Wording(NamedTuple):
    """How a server wants to be asked, which it tells by refusing other ways."""

    limit: str = "max_tokens"
    """The field that bounds the answer."""

    left_out: frozenset[str] = frozenset()
    """Fields that it does not take."""

    n_echoed: int = 0
    """Tokens that it writes behind a text of which only the log-probabilities are wanted."""

    def without(self, field: str) -> "Wording":
        """The same without one field more."""
        return self._replace(left_out=self.left_out | {field})


class Trouble(NamedTuple):
    """Why there is no answer."""

    reason: str
    """In words, without anything secret."""

    again: bool
    """Whether the same question may be answered later."""

    status: int = 0
    """What the server answered; 0 where no answer arrived that could be read."""

    hint_s: float | None = None
    """Seconds for which the server wants to be left alone."""


def fitted(request: Request, capabilities: Capabilities) -> Request:
    """The question without what the server cannot do. The seed stays: it tells apart what is to be answered anew."""
    form = request.form if capabilities.schema_answers else None
    told = capabilities.continuations if request.continuation else capabilities.logprobs
    top_logprobs = request.top_logprobs if told else 0
    if form is request.form and top_logprobs == request.top_logprobs:
        return request
    return request.model_copy(update={"form": form, "top_logprobs": top_logprobs})


def payload(model: str, request: Request, wording: Wording) -> bytes:
    """The body that asks a question."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        wording.limit: request.max_tokens,
        "temperature": request.temperature,
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.n > 1:
        body["n"] = request.n
    if request.form is not None:
        schema = {"name": "answer", "schema": request.form, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.top_logprobs:
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    return json.dumps({name: value for name, value in body.items() if name not in wording.left_out}).encode()


def reworded(wording: Wording, trouble: Trouble, request: Request) -> Wording | None:
    """How to ask instead, after a server refused a field and named it; None if it complains of something else."""
    said = trouble.reason
    if request.continuation:
        # Transformers breaks at an answer of no tokens, and says nothing.
        insists = trouble.status == 500 or _INSISTS.search(said)
        return wording._replace(n_echoed=1) if insists and not wording.n_echoed else None
    if "max_completion_tokens" in said and wording.limit == "max_tokens":
        return wording._replace(limit="max_completion_tokens")
    for field in ("temperature", "seed"):
        if f"'{field}'" in said and field not in wording.left_out:
            return wording.without(field)
    return None


def read_answer(data: bytes) -> Answer | Trouble:
    """What the body of a good answer says. Anything but a choice with a message is trouble, and may be a hiccup."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return Trouble("what came back is no JSON", again=True)
    if not isinstance(body, dict):
        return Trouble("what came back is no object with choices", again=True)
    choice, *others = _choices(body) or [{}]
    if not choice:
        return error_inside(body, data)
    usage = body.get("usage")
    return Answer(
        text=_text(choice["message"].get("content")),
        others=tuple(_text(other["message"].get("content")) for other in others),
        tokens=_tokens(choice.get("logprobs")),
        cut=choice.get("finish_reason") == "length",
        n_prompt_tokens=count_of(usage, "prompt_tokens"),
        n_answer_tokens=count_of(usage, "completion_tokens"),
    )


def read_error(status: int, data: bytes) -> Trouble:
    """What the body of a refusal says."""
    said = _said(data)
    return Trouble(f"the server answered {status}" + (f": {said}" if said else ""), status in TOO_BUSY, status)


def _choices(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that have a message; none where the first has none."""
    listed = body.get("choices")
    choices = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return [one for one in choices if isinstance(one.get("message"), dict)] if choices == listed else []


def error_inside(body: dict[str, Any], data: bytes) -> Trouble:
    """Some hosts report the error of another host within an answer that is well otherwise."""
    error = body.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and 400 <= code < 600:
        return read_error(code, data)
    return Trouble("what came back has no choices", again=True)


def _said(data: bytes) -> str:
    """The message of an error, which servers put in several places; else the beginning of the body."""
    try:
        body = json.loads(data)
        for name in ("error", "message", "detail"):
            body = body.get(name, body) if isinstance(body, dict) else body
        # What could just be read may be nested too deep to be written.
        text = body if isinstance(body, str) else json.dumps(body)
    except (ValueError, RecursionError):
        text = data.decode("utf-8", "replace")
    return harmless(text)[:_LONGEST_SAID]


def _text(content: Any) -> str:
    """Text, or parts of it; nothing where the model wrote nothing but its thoughts, which stand in another field."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        content = "".join(part for part in parts if isinstance(part, str))
    return whole(content) if isinstance(content, str) else ""


def harmless(text: str) -> str:
    """What somebody else wrote as one line for a page, a terminal or a database: halves of characters, control
    characters and those that turn the text around them are replaced."""
    return _HARMFUL.sub("\ufffd", " ".join(text.split()))


def whole(text: str) -> str:
    """The text with halves of characters replaced, which JSON can hold and nothing else."""
    return text.encode("utf-8", "replace").decode()


def _tokens(logprobs: Any) -> tuple[Token, ...]:
    """Tokens with their alternatives; none if any of them is not as it should be."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    try:
        return tuple(map(_token, content or ()))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return ()


def _token(one: dict[str, Any]) -> Token:
    others = [(whole(other["token"]), logprob_of(other["logprob"])) for other in one.get("top_logprobs") or ()]
    likeliest_first = tuple(sorted(others, key=lambda other: -other[1]))
    return Token(whole(one["token"]), logprob_of(one["logprob"]), likeliest_first)


def logprob_of(value: Any) -> float:
    """A log-probability that somebody else wrote, at most 0. Raises `ValueError` or `TypeError` for what is none."""
    if math.isnan(number := float(value)):
        raise ValueError("no log-probability")
    return min(max(number, LEAST_LOGPROB), 0.0)


def count_of(usage: Any, name: str) -> int:
    """A number of tokens that a server told; 0 where it did not."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else 0
