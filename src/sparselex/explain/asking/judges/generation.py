"""Generation: does text that is written to order fire the latent? (Gur-Arieh et al. 2025, input side; Kopf et al. 2025,
clarity.) The texts are read by the live model."""

from typing import ClassVar

import numpy as np

from sparselex.base.figures import Better, Failure
from sparselex.base.intervals import share_interval
from sparselex.explain.asking.answers import form_of_texts, texts_in
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens, lacking
from sparselex.explain.asking.words import prompt, quoted, variant
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation, Score, Scored
from sparselex.llm.records import Answer, Capabilities, Message, Request, Talk

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
    known = ""

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
        (answer,) = yield [self.request(description, can)]
        texts = texts_in(answer, self.config.passages) if isinstance(answer, Answer) else []
        why = answer.reason if isinstance(answer, Failure) else f"the model writes none: {answer.text[:120]!r}"
        subject = self._opens()
        tokens = subject.model.tokenizer.encode_batch(texts) if texts else []
        read = subject.activations([one for one in tokens if one], latent)
        return np.array([float(acts.abs().max()) for acts in read]), why

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
