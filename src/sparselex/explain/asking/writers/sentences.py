"""One sentence asked of a language model: the question, and what is made of the answer."""

from typing import Any

from sparselex.base.figures import Failure
from sparselex.explain.asking.answers import object_in
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.labels import explained
from sparselex.explain.asking.protocols import Told
from sparselex.llm.records import Answer, Capabilities, Message, Request, Talk
from sparselex.llm.wire import harmless

_ANSWER, _THOUGHTS = 150, 1000
"""Tokens that an explanation may have, and more where it is reasoned about."""

LONGEST = 600
"""Characters of an explanation: more are no sentence."""

_AGAIN = 'That was no JSON object with the field "explanation". Answer with that object alone.'

_COPIED = frozenset(("one sentence", "explanation"))
"""What stands in a prompt where the explanation is to be: small models say that again, and it is none."""

THOUGHTS = '"thoughts": "what could be meant, and what speaks against it", '
"""What stands before the explanation in the answer of a model that is to reason."""


def asking(system: str, shown: str, config: AskConfig, can: Capabilities) -> Request:
    """The question for one sentence about what is shown."""
    return Request(
        messages=(Message("system", system), Message("user", shown)),
        max_tokens=_ANSWER + (_THOUGHTS if config.thoughts else 0),
        form=_form(config.thoughts) if can.schema_answers else None,
        seed=config.seed if can.seed else None,
        purpose="explain",
    )


def said_of(latent: int, first: Request, variant: str) -> Talk[Told]:
    """Ask, and once more where the answer cannot be read; then the explanation, or why there is none."""
    (answer,) = yield [first]
    text = explanation_in(answer)
    if text is None and isinstance(answer, Answer):
        again = (*first.messages, Message("assistant", answer.text), Message("user", _AGAIN))
        (answer,) = yield [first.model_copy(update={"messages": again})]
        text = explanation_in(answer)
    if isinstance(answer, Failure):
        return unsaid(latent, answer.reason, variant)
    if text is None:
        return unsaid(latent, f"the model gives no explanation: {answer.text[:200]!r}", variant)
    return Told(explained(latent, "llm", text), variant, 0)


def unsaid(latent: int, reason: str, variant: str) -> Told:
    """No explanation, and why."""
    return Told(Failure(subject=f"latent {latent}", reason=reason), variant, 1)


def explanation_in(answer: Answer | Failure) -> str | None:
    """The explanation that an answer gives, on one line; None where it gives none that is of use."""
    if isinstance(answer, Failure):
        return None
    said = (object_in(answer.text, "explanation") or {}).get("explanation")
    text = harmless(said) if isinstance(said, str) else ""
    is_copy = text.strip(" .").lower() in _COPIED or not any(map(str.isalpha, text))
    return text if 0 < len(text) <= LONGEST and not is_copy else None


def _form(thoughts: bool) -> dict[str, Any]:
    names = ["thoughts", "explanation"] if thoughts else ["explanation"]
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }
