"""Generation: does text that is written to order fire the latent? (Gur-Arieh et al. 2025, input side; Kopf et al. 2025,
clarity.) The texts are read by the live model."""

import re
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from sparselex.base.figures import Better, Failure, Figure
from sparselex.base.intervals import share_interval
from sparselex.base.seeds import generator
from sparselex.explain.asking.answers import form_of_texts, texts_in
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.known import JUDGE, known_figure
from sparselex.explain.asking.known_words import Word, Words
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens, lacking
from sparselex.explain.asking.words import prompt, quoted, variant
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation, Score, Scored
from sparselex.llm.records import Capabilities, Message, Request, Talk

VERSION = "generation.v1"
"""The prompt."""

_TOKENS = 80
"""Tokens that a passage may have."""

_STRONG = 0.3
"""Share of the largest training activation from which a text fires the latent strongly."""


class Generation:
    """A language model writes passages by the explanation, and the model whose latent it is reads them: in how many the
    latent is active, beside passages that were written by another latent's explanation."""

    definitions: ClassVar = {
        "fires": "share of passages written by the explanation in which the latent is active somewhere",
        "fires_strongly": "the same at 0.3 of its largest training activation or more",
        "strength": "median over these passages of the largest activation, as a share of the largest in training",
    }
    headline = "fires"
    better: Better = "higher"
    known = "generation"

    def __init__(self, evidence: Evidence, held_out: HeldOut, config: AskConfig, subject: Opens | None = None):
        self.train, self.config, self._opens = evidence.train, config, subject

    def lacks(self, can: Capabilities) -> str:
        """The model itself."""
        return lacking(self._opens)

    def talk(self, explanation: Explanation, another: str | None, can: Capabilities) -> Talk[Told]:
        """Have passages written, and see what the latent makes of them."""
        latent, said = explanation.latent, variant(VERSION, can)
        largest = float(self.train.column(latent).values.max(initial=0.0))
        peaks, why = yield from self._peaks(latent, explanation.text, can)
        n_missing = self.config.passages - len(peaks)
        if not len(peaks) or not largest:
            reason = f"no passage was written: {why}" if largest else "it is never active in training documents"
            return Told(Failure(subject=f"latent {latent}", reason=reason), said, n_missing)
        null = (yield from self._peaks(latent, another, can))[0] if another is not None else np.empty(0)
        return Told(Scored(self._scores(explanation.explainer, peaks / largest, null / largest), []), said, n_missing)

    def trial_on(self, words: Words) -> "_WrittenOf":
        """Passages written for words that they are to contain."""
        return _WrittenOf(self, words)

    def request(self, description: str, can: Capabilities) -> Request:
        """What is asked."""
        n = self.config.passages
        example = '{"1": "…", "2": "…"' + (", …}" if n > 2 else "}")
        return Request(
            messages=(
                Message("system", prompt(VERSION).substitute(n=n, example=example)),
                Message("user", f"Description: {quoted(description)}"),
            ),
            max_tokens=_TOKENS * n,
            form=form_of_texts(n) if can.schema_answers else None,
            seed=self.config.seed if can.seed else None,
            purpose="generation",
        )

    def _peaks(self, latent: int, description: str, can: Capabilities) -> Talk[tuple[np.ndarray, str]]:
        """`[n]`, the latent's largest activation in each passage that was written, and why some were not."""
        assert self._opens is not None, "it lacks nothing"
        texts, why = yield from self.written(description, can)
        subject = self._opens()
        tokens = subject.model.tokenizer.encode_batch(texts) if texts else []
        read = subject.activations([one for one in tokens if one], latent)
        return np.array([float(acts.abs().max()) for acts in read]), why

    def written(self, description: str, can: Capabilities) -> Talk[tuple[list[str], str]]:
        """The passages that are written by a description, and why there is none of some."""
        (answer,) = yield [self.request(description, can)]
        if isinstance(answer, Failure):
            return [], answer.reason
        return texts_in(answer, self.config.passages), f"the model writes none: {answer.text[:120]!r}"

    def _scores(self, explainer: str, peaks: np.ndarray, null: np.ndarray) -> list[Score]:
        flags = {"fires": lambda one: one > 0, "fires_strongly": lambda one: one >= _STRONG}
        found = list[Score]()
        for name, fires in flags.items():
            interval = share_interval(int(fires(peaks).sum()), len(peaks))
            at_null = float(fires(null).mean()) if len(null) else None
            found.append(_score(explainer, name, interval.value, len(peaks), at_null, interval[1:]))
        at_null = float(np.median(null)) if len(null) else None
        return [*found, _score(explainer, "strength", float(np.median(peaks)), len(peaks), at_null)]


def _score(
    explainer: str,
    metric: str,
    value: float,
    n: int,
    null: float | None,
    ends: tuple[float, float] = (float("nan"), float("nan")),
) -> Score:
    low, high = (end if np.isfinite(end) else None for end in ends)
    return Score(
        explainer=explainer, scorer="generation", metric=metric, value=value, ci_low=low, ci_high=high, n=n, null=null
    )


class _Wrote(NamedTuple):
    """What was written for one word."""

    word: Word
    texts: Sequence[str]
    why: str


class _WrittenOf:
    """The trial of whoever writes passages: do they hold the word that they are to contain, more often than those that
    are to contain other words do?"""

    measure, chance = "a share of passages that hold the word", "passages written for other words hold it in"
    each = 1
    """Passages of one answer are not independent."""

    def __init__(self, judge: Generation, words: Words):
        self.judge, self.words = judge, words

    def talks(self, can: Capabilities) -> list[Talk[_Wrote]]:
        """Passages for each word."""
        drawn = self.words.drawn(generator(self.words.config.seed, "known"))
        return [self._talk(word, can) for word in drawn]

    def figure(self, tried: Sequence[_Wrote]) -> Figure:
        """The share of written passages that hold their word, whole and in whatever letters."""
        said = [one for one in tried if one.texts]
        sums = np.array([self._counts(one, said) for one in said], dtype=float).reshape(-1, 4)
        right, n, by_chance, n_others = sums.sum(0)
        return known_figure(
            f"{JUDGE}_generation",
            sums,
            lambda s: s[..., 0] / s[..., 1],
            f"share of passages that hold a word, {right:,.0f} of the {n:,.0f} written",
            "that passages are to contain a word; the null is how many of those written for the other words hold it",
            [one.why for one in tried],
            null=by_chance / n_others if n_others else None,
            undefined="" if n_others or not said else "there is one word alone, and no other for the null",
        )

    def _talk(self, word: Word, can: Capabilities) -> Talk[_Wrote]:
        texts, why = yield from self.judge.written(word.description, can)
        return _Wrote(word, texts, "" if texts else why)

    def _counts(self, one: _Wrote, said: Sequence[_Wrote]) -> tuple[int, int, int, int]:
        """Its passages that hold its word, and all of them; the same of those of the other words."""
        others = [text for other in said if other is not one for text in other.texts]
        whole = re.compile(rf"(?<!\w){re.escape(one.word.text)}(?!\w)", re.IGNORECASE)
        n_holding = lambda texts: sum(bool(whole.search(text)) for text in texts)
        return n_holding(one.texts), len(one.texts), n_holding(others), len(others)
