"""An explanation written by a language model from passages of training text."""

from typing import Any

import numpy as np

from sparselex.base.figures import Failure
from sparselex.base.seeds import generator
from sparselex.explain.asking.answers import object_in
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.words import fenced, marked, marks, plain, prompt, quoted, variant
from sparselex.explain.evidence import Evidence
from sparselex.explain.records import Explanation
from sparselex.explain.windows import activations, drawn
from sparselex.llm.records import Answer, Capabilities, Message, Request, Talk
from sparselex.llm.wire import harmless

VERSION = "explain.v1"
"""The prompt."""

_MARKED = 0.3
"""Share of a window's largest activation from which a token is marked."""

_STRENGTHS, _MOST_STRENGTHS = 10, 11
"""Steps of strength, and tokens of a window whose strengths are said."""

_ANSWER, _THOUGHTS = 150, 1000
"""Tokens that an explanation may have, and more where it is reasoned about."""

_LONGEST = 600
"""Characters of an explanation: more are no sentence."""

_WITH_STRENGTHS = (
    f" Behind each passage some of them stand once more with how active the feature is on them, 1 to {_STRENGTHS}."
)
_AGAIN = 'That was no JSON object with the field "explanation". Answer with that object alone.'


class Writer:
    """One sentence for each latent, from windows of training documents with its active tokens marked."""

    explained = "an explanation by a language model"

    def __init__(self, evidence: Evidence, config: AskConfig, subject: Opens | None = None):
        self.train, self.config = evidence.train, config
        self.windows = evidence.train.windows(config.window)

    def talk(self, latent: int, can: Capabilities) -> Talk[Told]:
        """Asks, and once more where the answer cannot be read."""
        first = self.request(latent, can)
        if first is None:
            return self._failed(latent, "none of its active training tokens lies in a window that can be shown", can)
        (answer,) = yield [first]
        text = explanation_in(answer)
        if text is None and isinstance(answer, Answer):
            again = (*first.messages, Message("assistant", answer.text), Message("user", _AGAIN))
            (answer,) = yield [first.model_copy(update={"messages": again})]
            text = explanation_in(answer)
        if isinstance(answer, Failure):
            return self._failed(latent, answer.reason, can)
        if text is None:
            return self._failed(latent, f"the model gives no explanation: {answer.text[:200]!r}", can)
        title = text if len(text) <= 80 else text[:79].rstrip() + "…"
        found = Explanation(latent=latent, explainer="llm", status="explained", text=text, title=title)
        return Told(found, variant(VERSION, can), 0)

    def request(self, latent: int, can: Capabilities) -> Request | None:
        """What is asked of a latent; None where there is nothing to be shown."""
        column, config = self.train.column(latent), self.config
        active = self.windows.active(column)
        places = drawn(active, config.sampling, config.examples, generator(config.seed, "shown", latent))
        if not len(places):
            return None
        shown = [self.windows.ranks(int(active.numbers[place])) for place in places]
        texts = [self._tokens(ranks) for ranks in shown]
        pair = marks(plain(self.train.vocabulary, tokens) for tokens in texts)
        largest = float(active.peaks.max())
        passages = [
            self._passage(tokens, activations(column, ranks), largest, pair)
            for tokens, ranks in zip(texts, shown, strict=True)
        ]
        system = prompt(VERSION).substitute(
            opening=pair[0],
            closing=pair[1],
            strengths=_WITH_STRENGTHS if config.strengths else "",
            thoughts='"thoughts": "what could be meant, and what speaks against it", ' if config.thoughts else "",
        )
        return Request(
            messages=(Message("system", system), Message("user", fenced(passages))),
            max_tokens=_ANSWER + (_THOUGHTS if config.thoughts else 0),
            form=_form(config.thoughts) if can.schema_answers else None,
            seed=config.seed if can.seed else None,
            purpose="explain",
        )

    def _tokens(self, ranks: range) -> list[int]:
        return self.train.tokens.tokens[ranks.start : ranks.stop].tolist()

    def _passage(self, tokens: list[int], values: np.ndarray, largest: float, pair: tuple[str, str]) -> str:
        which = np.flatnonzero(values >= _MARKED * values.max())
        text = marked(self.train.vocabulary, tokens, frozenset(which.tolist()), pair)
        if not self.config.strengths:
            return text
        strongest = np.sort(which[np.argsort(-values[which], kind="stable")[:_MOST_STRENGTHS]])
        steps = np.ceil(_STRENGTHS * values[strongest] / largest).astype(int)
        said = [
            f"{quoted(plain(self.train.vocabulary, [tokens[place]]))} {step}"
            for place, step in zip(strongest.tolist(), steps.tolist(), strict=True)
        ]
        return f"{text}\n({', '.join(said)})"

    def _failed(self, latent: int, reason: str, can: Capabilities) -> Told:
        return Told(Failure(subject=f"latent {latent}", reason=reason), variant(VERSION, can), 1)


def explanation_in(answer: Answer | Failure) -> str | None:
    """The explanation that an answer gives, on one line; None where it gives none that is of use."""
    if isinstance(answer, Failure):
        return None
    said = (object_in(answer.text) or {}).get("explanation")
    text = harmless(said) if isinstance(said, str) else ""
    return text if 0 < len(text) <= _LONGEST else None


def _form(thoughts: bool) -> dict[str, Any]:
    names = ["thoughts", "explanation"] if thoughts else ["explanation"]
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }
