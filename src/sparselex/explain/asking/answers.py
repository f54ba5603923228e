"""What an answer says: JSON found in it, and a vote for each number. Pure functions of the text and its tokens."""

import json
import re
from collections.abc import Sequence
from math import exp
from typing import Any

from sparselex.base.figures import Failure
from sparselex.llm.records import Answer, Token
from sparselex.llm.wire import LEAST_LOGPROB

_OPENS = re.compile(r'\{\s*["}]')
"""How an object begins."""

_YES, _NO = frozenset(("1", "true", "yes")), frozenset(("0", "false", "no"))

_LONGEST = 20_000
"""Characters of an answer that are looked at."""

_MOST_READ = 50 * _LONGEST
"""Characters that are read in vain: of objects that stand in one another and never end each is read to the end."""


def object_in(text: str, name: str) -> dict[str, Any] | None:
    """The last JSON object with this name that stands whole in a text, whatever is around it; where none has the name
    the last one, and None where there is none."""
    text, decoder, found, at, n_read = text[:_LONGEST], json.JSONDecoder(), None, 0, 0
    while (begins := _OPENS.search(text, at)) and n_read < _MOST_READ:
        at = begins.start()
        try:
            one, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            n_read += getattr(error, "pos", len(text)) - at
            at += 1
            continue
        found = one if found is None or name in one or name not in found else found
    return found


def _numbered(text: str) -> dict[str, Any]:
    """The object that says something of each number from 1 on; nothing of one that counts from 0, whose every word is
    about another number than it says."""
    found = object_in(text, "1") or {}
    return {} if "0" in found else found


def votes(answer: Answer, n: int) -> dict[int, float]:
    """What is said of each number from 1 to `n`: 0 or 1, or where there are log-probabilities the probability of 1
    against that of 0. Numbers of which nothing that can be read is said are left out."""
    found = _numbered(answer.text)
    said = {number: vote for number in range(1, n + 1) if (vote := _vote(found.get(str(number)))) is not None}
    return {number: _probability(answer, number, vote) for number, vote in said.items()}


def number_in(answer: Answer, name: str, among: range) -> int | None:
    """The number that an answer's object has under a name, if it is among these."""
    return _number((object_in(answer.text, name) or {}).get(name), among)


def _number(value: Any, among: range) -> int | None:
    text = f"{value:g}" if isinstance(value, float) else str(value).strip()
    number = int(text) if re.fullmatch(r"\d{1,3}", text, re.ASCII) else None
    return number if number in among else None


def numbers_in(answer: Answer, n: int, among: range) -> list[float]:
    """The numbers that an answer's object has under the names from 1 to `n`; NaN for one that is not among these."""
    said = _numbered(answer.text)
    found = [_number(said.get(str(number)), among) for number in range(1, n + 1)]
    return [float("nan") if number is None else float(number) for number in found]


def texts_in(answer: Answer, n: int) -> list[str]:
    """The texts that an answer's object has under the numbers from 1 to `n`."""
    found = _numbered(answer.text)
    said = [found.get(str(number)) for number in range(1, n + 1)]
    return [text for text in said if isinstance(text, str) and text.strip()]


def nats_of(answer: Answer | Failure) -> float:
    """The log-probability of a text that was read, in nats; NaN where it was not, and where a server tells none of one
    of its tokens: what stands in the place of minus infinity is no measurement, and would outweigh all others."""
    said = [] if isinstance(answer, Failure) else [token.logprob for token in answer.tokens]
    return float(sum(said)) if said and min(said) > LEAST_LOGPROB else float("nan")


def chosen(answer: Answer, choices: tuple[str, str]) -> dict[int, float]:
    """Of an answer of which the probabilities of two choices were wanted that of the first against the second, as what
    is said of number 1; nothing where they are not told."""
    mass = {text: exp(min(0.0, logprob)) for token in answer.tokens[:1] for text, logprob in token.alternatives}
    total = sum(mass.get(choice, 0.0) for choice in choices)
    return {1: mass.get(choices[0], 0.0) / total} if total else {}


def _vote(value: Any) -> float | None:
    # In JSON 1.0 is an integer.
    word = f"{value:g}" if isinstance(value, float) else str(value).strip().lower()
    return 1.0 if word in _YES else 0.0 if word in _NO else None


def _probability(answer: Answer, number: int, vote: float) -> float:
    """The probability behind a vote, where the answer's tokens tell it; else the vote."""
    places = list(re.finditer(rf'"{number}"\s*:\s*"?(?=[01])', answer.text))
    token = _token_at(answer.tokens, places[-1].end()) if places else None
    if token is None:
        return vote
    mass = {"0": 0.0, "1": 0.0}
    for text, logprob in {(token.text, token.logprob), *token.alternatives}:
        if (first := text.strip(' "')[:1]) in mass:
            mass[first] += exp(min(0.0, logprob))
    return mass["1"] / (mass["0"] + mass["1"]) if mass["0"] and mass["1"] else vote


def _token_at(tokens: Sequence[Token], place: int) -> Token | None:
    """The token in which the character at `place` of the answer lies."""
    at = 0
    for token in tokens:
        if at <= place < at + len(token.text):
            return token
        at += len(token.text)
    return None


def form_of_texts(n: int) -> dict[str, Any]:
    """JSON Schema of texts for the numbers from 1 to `n`."""
    names = [str(number) for number in range(1, n + 1)]
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def form_of_votes(n: int) -> dict[str, Any]:
    """JSON Schema of votes for the numbers from 1 to `n`."""
    names = [str(number) for number in range(1, n + 1)]
    one = {"type": "integer", "enum": [0, 1]}
    return {
        "type": "object",
        "properties": dict.fromkeys(names, one),
        "required": names,
        "additionalProperties": False,
    }
