"""Plain text that is written on, as OpenAI's completions do it."""

import json
from typing import Any

from sparselex.llm.echoed import TOLD_NOTHING
from sparselex.llm.records import Answer, Request
from sparselex.llm.wire import Trouble, Wording, count_of, error_inside, whole


def plain_payload(model: str, request: Request, wording: Wording) -> bytes:
    """The body that has a text written on."""
    body: dict[str, Any] = {
        "model": model,
        "prompt": request.text,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = [request.stop]
    return json.dumps({name: value for name, value in body.items() if name not in wording.left_out}).encode()


def read_plain(data: bytes, request: Request) -> Answer | Trouble:
    """What the body of a good answer says. What stands behind the sign at which it ends is left out, where the server
    did not do that."""
    body: Any = None
    try:
        body = json.loads(data)
        choice = body["choices"][0]
        text = whole(choice["text"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        if isinstance(body, dict) and "error" in body:
            return error_inside(body, data)
        return Trouble("what came back has no text that goes on", False, TOLD_NOTHING)
    said, ended, _ = text.partition(request.stop) if request.stop else (text, "", "")
    usage = body.get("usage")
    return Answer(
        text=said,
        cut=not ended and choice.get("finish_reason") == "length",
        n_prompt_tokens=count_of(usage, "prompt_tokens"),
        n_answer_tokens=count_of(usage, "completion_tokens"),
    )
