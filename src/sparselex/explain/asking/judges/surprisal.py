"""Surprisal: does a language model expect a passage more when it is told the explanation? (Paulo et al. 2024, section
3; unlike there the first token of a passage is counted.)"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.special import expit

from sparselex.base.figures import Better, Failure
from sparselex.explain.asking.answers import nats_of
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.drawing import Drawing
from sparselex.explain.asking.judging import DEFINITIONS, Item, Judged
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.trial import trial
from sparselex.explain.asking.words import one_line, prompt
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation
from sparselex.llm.records import Answer, Capabilities, Message, Request, Talk

VERSION = "surprisal.v1"
"""The prompt."""

_ANYTHING = "text of any kind"
"""What a passage is said to be where it is read without an explanation."""

_LEFT_OUT = ("wrong_specificity",)


class Surprisal:
    """By how many nats a passage is likelier behind the explanation than behind a note that says nothing. Nobody is
    asked to judge, so it works with models that cannot."""

    definitions: ClassVar = {name: words for name, words in DEFINITIONS.items() if name not in _LEFT_OUT}
    headline = "auroc"
    better: Better = "higher"
    known = "surprisal"

    def __init__(self, evidence: Evidence, held_out: HeldOut, config: AskConfig, subject: Opens | None = None):
        self.drawing = Drawing(evidence, held_out, config)
        self._told_nothing = dict[str, float]()
        """Log-probabilities without an explanation, in nats by passage: many latents have the same silent ones."""

    def lacks(self, can: Capabilities) -> str:
        """Log-probabilities of given text, where the server tells none."""
        return "" if can.continuations else "the server tells no log-probabilities of given text"

    def talk(self, explanation: Explanation, another: str | None, can: Capabilities) -> Talk[Told]:
        """Judge the latent's windows by its explanation, and by another's."""
        drawn = self.drawing.draw(explanation.latent, self.drawing.config.negatives)
        items, said = self.drawing.items(explanation.latent, drawn), f"{VERSION}, log-probabilities of each window"
        return (yield from trial("surprisal", said, self.weigh, self.drawing, drawn, items, explanation, another, can))

    def weigh(self, description: str, items: Sequence[Item], can: Capabilities) -> Talk[tuple[Judged, str]]:
        """Read every window behind the description, and behind none where that was not done yet; what is said of one is
        the logistic function of the difference in nats."""
        texts = [item.text for item in items]
        new = [text for text in dict.fromkeys(texts) if text not in self._told_nothing]
        told = texts if description else []
        answers = yield [_question(description, text) for text in told] + [_question(_ANYTHING, text) for text in new]
        for text, answer in zip(new, answers[len(told) :], strict=True):
            if isinstance(answer, Answer):
                self._told_nothing[text] = nats_of(answer)
        said = np.array([nats_of(answer) for answer in answers[: len(told)]] or [self._nothing(text) for text in texts])
        gained = said - np.array([self._nothing(text) for text in texts])
        why = next((answer.reason for answer in answers if isinstance(answer, Failure)), "")
        return Judged(items, expit(gained), absolute=False, log_odds=gained), why

    def _nothing(self, text: str) -> float:
        return self._told_nothing.get(text, np.nan)


def _question(description: str, text: str) -> Request:
    note = prompt(VERSION).substitute(description=one_line(description))
    return Request(messages=(Message("user", note),), max_tokens=1, continuation=f" {text}", purpose="surprisal")
