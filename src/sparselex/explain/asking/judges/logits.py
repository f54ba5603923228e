"""Logits: does the explanation say which tokens a latent makes likely? (Bricken et al. 2023, automated interpretability
of logit weights.) No text is looked at but the tokens themselves."""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.base.figures import Better, Failure
from sparselex.base.intervals import Floats, share_interval
from sparselex.base.seeds import generator
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judging import VOTES, Item, Judged, judged, question
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens, lacking
from sparselex.explain.asking.words import variant
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.raised import FIRST, LEAST_COUNT, N_EACH, asked_about
from sparselex.explain.records import Explanation, Score, Scored
from sparselex.llm.records import Capabilities, Talk

VERSION = "logits.v1"
"""The prompt."""

_TO_A_WINDOW = 5
"""Tokens that are asked about in the place of one window: they are short."""

_LEAST = 5
"""Tokens of either kind below which nothing is measured."""


class Logits:
    """The judge is given the explanation and some tokens, half of them of ranks 10 to 60 of the latent's logit weights,
    half drawn at random, and says of each whether the latent makes it likelier."""

    definitions: ClassVar = {
        "accuracy": "mean of `recall` and `specificity`; chance is 0.5",
        "recall": "share of the tokens whose logits the latent raises (ranks 10 to 60, fewer of a small vocabulary) "
        "that are said to be made likelier",
        "specificity": "share of the tokens drawn at random that are said not to be",
        "unanswered": "share of tokens of which the judge said nothing that could be read, asked twice",
    }
    headline = "accuracy"
    better: Better = "higher"
    known = VOTES

    def __init__(self, evidence: Evidence, held_out: HeldOut, config: AskConfig, subject: Opens | None = None):
        self.train, self.config, self._opens = evidence.train, config, subject

    def lacks(self, can: Capabilities) -> str:
        """The model itself, whose weights say what is true, or a direct path from the latents to the logits."""
        if why := lacking(self._opens):
            return why
        try:
            self.weights(0)
        except UserError as error:
            return error.given
        return ""

    def talk(self, explanation: Explanation, another: str | None, can: Capabilities) -> Talk[Told]:
        """Ask of every token, by the explanation and by another one."""
        latent, said = explanation.latent, variant(VERSION, can, votes=True)
        items = self.items(latent)
        if not items:
            reason = f"{len(self._among)} tokens stand in the text {LEAST_COUNT} times or more, too few to ask about"
            return Told(_failure(latent, reason), said, 0)
        found, why = yield from self._asked(explanation.text, items, can)
        n_unanswered = int(np.isnan(found.said).sum())
        shares = _shares(found)
        if np.isnan(shares).any():
            reason = f"of {len(items)} tokens {n_unanswered} were not judged: {why}"
            return Told(_failure(latent, reason), said, n_unanswered)
        nulls: Floats = np.full(2, np.nan)
        if another is not None:
            nulls = _shares((yield from self._asked(another, items, can))[0])
        return Told(Scored(_scores(explanation.explainer, found, shares, nulls), []), said, n_unanswered)

    def items(self, latent: int) -> list[Item]:
        """The tokens that are asked about, in a drawn order; none where too few stand in the text."""
        first = min(FIRST, len(self._among) // 10)
        n = min(N_EACH, (len(self._among) - first) // 3)
        if n < _LEAST:
            return []
        rng, weights = generator(self.config.seed, "logits", latent), self.weights(latent)
        asked = asked_about(weights, self._among, first, n, rng)
        printed = self.train.texts.printer.quoted  # no two tokens are written alike
        items = [
            Item(token, "active" if raised else "silent", False, 0, float(weights[token]), printed(token), (token,))
            for token, raised in zip(asked.tokens.tolist(), asked.raised.tolist(), strict=True)
        ]
        return [items[place] for place in rng.permutation(len(items)).tolist()]

    @torch.no_grad()
    def weights(self, latent: int) -> Floats:
        """`[n_vocab]`, how much a latent adds to the logit of each token by the direct path. Raises `UserError` where
        there is none."""
        assert self._opens is not None, "it lacks nothing"
        subject = self._opens()
        if len(subject.latents.written) != 1:
            raise UserError(
                f"The latents write to {len(subject.latents.written)} sites.",
                "latents that write to one site",
                "judge by another judge.",
            )
        row = subject.latents.dictionary.W_dec[latent : latent + 1].to(subject.model.device)
        readout = subject.model.readout(subject.latents.hook)
        return readout.logits(row)[0].double().cpu().numpy()

    def _asked(self, description: str, items: Sequence[Item], can: Capabilities) -> Talk[tuple[Judged, str]]:
        ask, n = question(VERSION, "logits", {}, self.config), _TO_A_WINDOW * self.config.per_request
        found, why = yield from judged(ask, description, items, n, can)
        return found.settled(), why

    @cached_property
    def _among(self) -> NDArray[np.int64]:
        """Tokens of training text that are neither rare nor special."""
        counts = np.bincount(self.train.tokens.tokens, minlength=len(self.train.vocabulary))
        return np.flatnonzero(counts >= LEAST_COUNT)


def _failure(latent: int, reason: str) -> Failure:
    return Failure(subject=f"latent {latent}", reason=reason)


def _shares(found: Judged) -> Floats:
    """Recall and specificity; NaN where nothing was said of a kind."""
    raised, there = np.array([item.kind == "active" for item in found.items]), ~np.isnan(found.said)
    right = np.where(raised, found.said > 0.5, found.said <= 0.5)
    kinds = (raised & there, ~raised & there)
    return np.array([right[kind].mean() if kind.any() else np.nan for kind in kinds])


def _scores(explainer: str, found: Judged, shares: Floats, nulls: Floats) -> list[Score]:
    there = ~np.isnan(found.said)
    raised = np.array([item.kind == "active" for item in found.items])
    n_of = (int(there.sum()), int((raised & there).sum()), int((~raised & there).sum()))
    values, null_values = (np.array([part.mean(), *part]) for part in (shares, nulls))
    made = list[Score]()
    for name, value, null, n in zip(("accuracy", "recall", "specificity"), values, null_values, n_of, strict=True):
        low, high = share_interval(float(value) * n, n).ends
        known = None if np.isnan(null) else float(null)
        made.append(_score(explainer, name, float(value), n, known).model_copy(update={"ci_low": low, "ci_high": high}))
    return [*made, _score(explainer, "unanswered", float(1 - there.mean()), len(there), None)]


def _score(explainer: str, metric: str, value: float, n: int, null: float | None) -> Score:
    return Score(
        explainer=explainer, scorer="logits", metric=metric, value=value, ci_low=None, ci_high=None, n=n, null=null
    )
