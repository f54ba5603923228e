"""What a model would answer, about: for an estimate of what asking it costs.

The form of the answer says what is wanted, whoever asks; where the server takes no form, the question does.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from sparselex.explain.asking.words import nonce
from sparselex.llm.records import Answer, Request, Token

_NUMBERED = re.compile(r"^\[[0-9a-f]+ (\d+)\]$", re.MULTILINE)

_SENTENCE = "words of one kind, or the place behind a certain word, in sentences about some subject"
"""As long as explanations are."""

_ITEMS = 3
"""Entries of a list whose number is not said."""


def typical(request: Request) -> Answer:
    """An answer of the usual length, which is another one for each question and each draw."""
    # Explanations that were alike would be judged by questions that are alike, and these are asked once.
    own = nonce([*(message.content for message in request.messages), str(request.seed)])
    if request.choices:
        even = tuple((choice, -0.7) for choice in request.choices)
        return Answer(text=request.choices[0], tokens=(Token(request.choices[0], -0.7, even),))
    if request.plain:
        return Answer(text=f"{own}`, {_SENTENCE}")
    if request.form is not None:
        return Answer(text=json.dumps(_filled(request.form, own, "1")))
    numbers = _NUMBERED.findall(request.messages[-1].content)
    if request.purpose == "explain" or not numbers:
        return Answer(text=json.dumps({"explanation": f"{_SENTENCE} {own}"}))
    # Neither all alike, which would be a judge at chance, nor by what they hold.
    return Answer(text=json.dumps({number: int(number) % 2 for number in numbers}))


def _filled(form: Mapping[str, Any], own: str, name: str) -> Any:
    """A value of a JSON Schema, under its name in what it is part of; of choices one by the number in its name."""
    if choices := form.get("enum"):
        return choices[(int(name) if name.isdigit() else 0) % len(choices)]
    kind = form.get("type", "string")
    if kind == "object":
        return {one: _filled(part, own, one) for one, part in form.get("properties", {}).items()}
    if kind == "array":
        n = max(form.get("minItems", 0), min(_ITEMS, form.get("maxItems", _ITEMS)))
        return [_filled(form.get("items", {}), own, str(number)) for number in range(1, n + 1)]
    if kind in ("integer", "number", "boolean"):
        return {"boolean": True}.get(kind, form.get("minimum", 1))
    return f"{_SENTENCE} {own}"
