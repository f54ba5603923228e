"""What a model would answer, about: for an estimate of what asking it costs."""

import json
import re

from sparselex.explain.asking.words import nonce
from sparselex.llm.records import Answer, Request

_NUMBERED = re.compile(r"^\[[0-9a-f]+ (\d+)\]$", re.MULTILINE)

_SENTENCE = "words of one kind, or the place behind a certain word, in sentences about some subject"
"""As long as explanations are."""


def typical(request: Request) -> Answer:
    """An answer of the usual length: a sentence where an explanation is asked for, else a vote for each passage."""
    if request.purpose == "explain":
        # Another one for each latent: the null of a latent is judged by another's, which are questions of their own.
        own = nonce([message.content for message in request.messages])
        return Answer(text=json.dumps({"explanation": f"{_SENTENCE} {own}"}))
    numbers = _NUMBERED.findall(request.messages[-1].content)
    # Neither all alike, which would be a judge at chance, nor by what they hold.
    return Answer(text=json.dumps({number: int(number) % 2 for number in numbers}))
