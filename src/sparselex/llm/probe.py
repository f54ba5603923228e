"""What a server can do, found by asking it: some refuse what they cannot, and some silently leave it out."""

import json
import math
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from sparselex.base.errors import UserError
from sparselex.base.figures import Failure
from sparselex.llm.connection import Reply
from sparselex.llm.echoed import TOLD_NOTHING
from sparselex.llm.jobs import Refused
from sparselex.llm.records import Answer, Capabilities, Message, Request
from sparselex.llm.wire import ABOUT_THE_QUESTION

PROBE_RETRIES = 2
"""How often one of these questions is asked again: a server that breaks at what it cannot do does so each time."""

_CANNOT = ABOUT_THE_QUESTION | {TOLD_NOTHING, 404, 405, 501}
"""Statuses that mean that a server cannot do what was wanted."""

_THOUGHTS = 1024
"""Tokens for an answer of a few words: models that think first need them."""

_FORM = {
    "type": "object",
    "properties": {"q7": {"type": "string", "enum": ["plum"]}},
    "required": ["q7"],
    "additionalProperties": False,
}
"""No model writes this of itself when it is asked for a greeting."""

_CONTEXT_FIELDS = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx", "n_ctx_train")
"""Names under which servers tell the length of the context, in their lists of models."""

_READ, _GOES_ON = "one two three four five six seven\none two three four five six", " seven"
"""Text whose end every model expects."""

_LEAST_EXPECTED = -15.0
"""Log-probability of that end; chance among fifty thousand tokens is at -11 for one of them."""

Ask = Callable[[Request], "Future[Answer | Failure]"]


class Found(NamedTuple):
    """What was found, and whether it would be found again."""

    capabilities: Capabilities
    is_certain: bool


def probe(ask: Ask, models: Reply | None, model: str) -> Found:
    """Find out what `model` can do by a few small questions; `models` is the server's list of models.

    Raises `UserError` where not even a plain question is answered.
    """
    plain = ask(_request("Say hello.")).result()
    if isinstance(plain, Failure):
        return _no_plain_answer(plain, model)
    asked = {
        "form": [ask(_request("Say hello.", form=_FORM))],
        "logprobs": [ask(_request("Answer with one word, yes or no: is water wet?", top_logprobs=5))],
        "continuation": [ask(_request(_READ, continuation=_GOES_ON))],
        "plain": [ask(_request(_READ, plain=True).model_copy(update={"max_tokens": 4}))],
        "n": [ask(_drawn(3).model_copy(update={"n": 2}))],
        "seed": [ask(_drawn(seed)) for seed in (1, 1, 2)],
    }
    said = {name: [future.result() for future in futures] for name, futures in asked.items()}
    capabilities = Capabilities(
        schema_answers=_keeps_to_form(said["form"][0]),
        logprobs=_gives_logprobs(said["logprobs"][0]),
        seed=_takes_seed(said["seed"]),
        n=_draws_several(said["n"][0]),
        continuations=_reads_on(said["continuation"][0]),
        plain=_writes_on(said["plain"][0]),
        n_ctx=context_of(models, model),
    )
    return Found(capabilities, is_certain=not any(_says_nothing(one) for ones in said.values() for one in ones))


def context_of(models: Reply | None, model: str) -> int | None:
    """Tokens of the context as the list of models says, for this model or the only one that there is."""
    try:
        listed = json.loads(models.data)["data"] if models and models.status == 200 else []
        found = [one for one in listed if one.get("id") == model] or (listed if len(listed) == 1 else [])
        said = {**(found[0].get("meta") or {}), **found[0]} if found else {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    sizes = (said.get(name) for name in _CONTEXT_FIELDS)
    return next((size for size in sizes if isinstance(size, int) and 0 < size < 2**40), None)


def _no_plain_answer(failure: Failure, model: str) -> Found:
    if not isinstance(failure, Refused) or not failure.status:
        return Found(Capabilities(), is_certain=False)
    raise UserError(
        f"{model!r} does not answer a plain question: {failure.reason}.",
        "a model that takes chat completions, by the name that the server has for it",
        "check the name of the model.",
    )


def _request(text: str, **more: Any) -> Request:
    return Request(messages=(Message("user", text),), max_tokens=_THOUGHTS, purpose="probe", **more)


def _drawn(seed: int) -> Request:
    """A question with many answers."""
    return _request("Write six unrelated words.", temperature=1.0, seed=seed)


def _keeps_to_form(said: Answer | Failure) -> bool:
    if isinstance(said, Failure):
        return False
    try:
        return json.loads(said.text) == {"q7": "plum"}
    except (ValueError, RecursionError):
        return False


def _gives_logprobs(said: Answer | Failure) -> bool:
    """Whether every token has alternatives whose probabilities are some, and not all nought."""
    if isinstance(said, Failure) or not said.tokens:
        return False
    sums = [sum(math.exp(logprob) for _, logprob in token.alternatives) for token in said.tokens]
    several = all(len(token.alternatives) >= 2 for token in said.tokens)
    return several and all(0 < total < 1.01 for total in sums)


def _takes_seed(said: list[Answer | Failure]) -> bool:
    """Whether an equal seed gives an equal answer and another one another, as no server does that leaves it out."""
    first, again, other = (None if isinstance(one, Failure) else one.text for one in said)
    return None not in (first, again, other) and first == again != other


def _draws_several(said: Answer | Failure) -> bool:
    """Whether two answers came that are not one twice."""
    return isinstance(said, Answer) and len({said.text, *said.others}) == 2


def _reads_on(said: Answer | Failure) -> bool:
    """Whether the text came back, with log-probabilities that it may have."""
    if isinstance(said, Failure) or not said.tokens:
        return False
    return _LEAST_EXPECTED < sum(token.logprob for token in said.tokens) < 0


def _writes_on(said: Answer | Failure) -> bool:
    """Whether something came, and not what was sent."""
    return isinstance(said, Answer) and bool(said.text.strip()) and _READ not in said.text


def _says_nothing(said: Answer | Failure) -> bool:
    """Whether a failure may be a hiccup."""
    return isinstance(said, Failure) and not (isinstance(said, Refused) and said.status in _CANNOT)
