"""Intervention: does the explanation say what the model does when the latent is amplified? (Paulo et al. 2024, section
on intervention scoring.) Held-out prompts, one strength tuned to a divergence, one sample each, nothing chosen."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.special import expit

from sparselex.base.figures import Better, Failure
from sparselex.base.intervals import Floats, jackknives
from sparselex.base.seeds import generator
from sparselex.explain.asking.answers import nats_of
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judging import Item, Judged
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.steering import (
    Directions,
    Prompts,
    Written,
    directions_of,
    prompts,
    random_directions,
    written,
)
from sparselex.explain.asking.subject import Opens, lacking
from sparselex.explain.asking.words import one_line, plain, prompt
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation, Judgement, Score, Scored
from sparselex.llm.records import Capabilities, Message, Request, Talk

VERSION = "intervention.v1"
"""The prompt."""

_N_NEW = 8
"""Tokens that are written behind each prompt."""

_LEAST = 5
"""Prompts below which nothing is measured."""

_FAR = 0.5
"""How far the divergence may be off, as a share of the target, for what follows to be called its effect."""


class _Passages(NamedTuple):
    """What is read: passages, and the same ones under the intervention."""

    clean: list[str]
    steered: list[str]


class Intervention:
    """How much likelier a language model finds the explanation behind passages that were written with the latent
    amplified than behind those that were not."""

    definitions: ClassVar = {
        "gain": "nats by which the explanation is likelier behind passages written with the latent amplified than "
        "behind those written without, mean over prompts; 0 for an explanation that says nothing of it",
        "wins": "share of prompts at which it is likelier behind the amplified one, ties counting half",
        "gain_of_random": "the same gain when a random direction of equal effect is amplified in the latent's place",
        "kl": "mean divergence of the next prediction under the intervention, nats: what its strength is tuned to",
        "strength": "how much activation is added for that",
    }
    headline = "gain"
    better: Better = "higher"
    known = "intervention"

    def __init__(self, evidence: Evidence, held_out: HeldOut, config: AskConfig, subject: Opens | None = None):
        self.test, self.config, self._opens = held_out, config, subject

    def lacks(self, can: Capabilities) -> str:
        """Log-probabilities of given text, or the model itself."""
        if not can.continuations:
            return "the server tells no log-probabilities of given text"
        return lacking(self._opens)

    def talk(self, explanation: Explanation, another: str | None, can: Capabilities) -> Talk[Told]:
        """Amplify the latent, and have what was written read."""
        assert self._opens is not None, "it lacks nothing"
        latent, config, subject = explanation.latent, self.config, self._opens()
        variant = f"{VERSION}, KL {config.kl:g}, {_N_NEW} tokens written"
        rng = generator(config.seed, "steered", latent)
        given = prompts(self.test, latent, config.prompts, config.window, rng)
        if len(given.ranks) < _LEAST:
            reason = f"there are {len(given.ranks)} test passages of {config.window} tokens that end where it is active"
            return self._failed(latent, reason, variant)
        seed = int(rng.integers(2**31))
        made = written(subject, given, directions_of(subject, latent), config.kl, _N_NEW, seed)
        if abs(made.tuned.divergence - config.kl) > _FAR * config.kl:
            reason = f"no strength changes the prediction by {config.kl:g} nats: {made.tuned.strength:.3g} of its "
            reason += f"activation changes it by {made.tuned.divergence:.3g}"
            return self._failed(latent, reason, variant)
        shown = self._passages(given, made)
        gains = yield from self._gains(explanation.text, shown)
        null, of_random = None, None
        if another is not None:
            null = yield from self._gains(another, shown)
            other: Directions = random_directions(directions_of(subject, latent), rng)
            by_chance = self._passages(given, written(subject, given, other, config.kl, _N_NEW, seed))
            of_random = yield from self._gains(explanation.text, by_chance)
        n_unanswered = int(np.isnan(gains).sum())
        if n_unanswered > len(gains) - _LEAST:
            return Told(
                _failure(latent, f"{n_unanswered} of {len(gains)} passages were not read"), variant, n_unanswered
            )
        scored = self._scored(explanation, given, made, gains, {"gain": null, "wins": null}, of_random)
        return Told(scored, variant, n_unanswered, self._seen(given, shown))

    def weigh(self, description: str, items: Sequence[Item], can: Capabilities) -> Talk[tuple[Judged, str]]:
        """How likely the description is behind every window, as behind passages that were written; what is said of one
        is the logistic function of the nats by which it exceeds the mean."""
        answers = yield [_question(description, item.text) for item in items]
        nats = np.array([nats_of(answer) for answer in answers])
        why = next((answer.reason for answer in answers if isinstance(answer, Failure)), "")
        above = nats - (np.nanmean(nats) if np.isfinite(nats).any() else 0.0)
        return Judged(items, expit(above), absolute=False, log_odds=above), why

    def _gains(self, description: str, shown: _Passages) -> Talk[Floats]:
        """`[n]`, by how many nats it is likelier behind each steered passage; NaN where one was not read."""
        answers = yield [_question(description, text) for text in (*shown.steered, *shown.clean)]
        nats = np.array([nats_of(answer) for answer in answers])
        return nats[: len(shown.steered)] - nats[len(shown.steered) :]

    def _passages(self, given: Prompts, made: Written) -> _Passages:
        vocabulary = self.test.vocabulary
        texts = lambda new: [
            plain(vocabulary, [*row, *more]) for row, more in zip(given.tokens.tolist(), new.tolist(), strict=True)
        ]
        return _Passages(texts(made.clean), texts(made.steered))

    def _scored(
        self,
        explanation: Explanation,
        given: Prompts,
        made: Written,
        gains: Floats,
        nulls: Mapping[str, Floats | None],
        of_random: Floats | None,
    ) -> Scored:
        documents = self.test.tokens.documents[given.ranks]
        found = _scores(explanation.explainer, gains, documents, nulls)
        if of_random is not None:
            at_random = _scores(explanation.explainer, of_random, documents, {})[:1]
            found += [one.model_copy(update={"metric": "gain_of_random"}) for one in at_random]
        plainly = {"kl": made.tuned.divergence, "strength": made.tuned.strength}
        found += [_score(explanation.explainer, name, value, len(gains)) for name, value in plainly.items()]
        return Scored(found, self._judgements(explanation, given, gains))

    def _judgements(self, explanation: Explanation, given: Prompts, gains: Floats) -> list[Judgement]:
        return [
            Judgement(
                explainer=explanation.explainer,
                scorer="intervention",
                position=int(self.test.tokens.positions[rank]),
                expected=value,
                said=None if np.isnan(gain) else float(expit(gain)),
            )
            for rank, value, gain in zip(given.ranks.tolist(), given.values.tolist(), gains.tolist(), strict=True)
        ]

    def _seen(self, given: Prompts, shown: _Passages) -> list[Item]:
        positions = self.test.tokens.positions[given.ranks].tolist()
        return [
            Item(place, "active", False, position, value, text)
            for place, (position, value, text) in enumerate(
                zip(positions, given.values.tolist(), shown.steered, strict=True)
            )
        ]

    def _failed(self, latent: int, reason: str, variant: str) -> Told:
        return Told(_failure(latent, reason), variant, 0)


def _failure(latent: int, reason: str) -> Failure:
    return Failure(subject=f"latent {latent}", reason=reason)


def _question(description: str, passage: str) -> Request:
    said = prompt(VERSION).substitute(passage=one_line(passage))
    message = Message("user", said)
    return Request(messages=(message,), max_tokens=1, continuation=f'{one_line(description)}"', purpose="intervention")


def _scores(explainer: str, gains: Floats, documents: np.ndarray, nulls: Mapping[str, Floats | None]) -> list[Score]:
    """Mean gain and share of wins, with intervals over documents."""
    there = ~np.isnan(gains)
    owner = np.unique(documents[there], return_inverse=True)[1]
    columns = np.stack([np.ones(int(there.sum())), gains[there], _won(gains[there])], axis=1)
    per_document = np.zeros((int(owner.max()) + 1, 3))
    np.add.at(per_document, owner, columns)
    measures = lambda s: {"gain": s[..., 1] / s[..., 0], "wins": s[..., 2] / s[..., 0]}
    found = list[Score]()
    for name, told in jackknives(per_document, measures, per_document[:, 0]).items():
        interval, null = told.interval(share=name == "wins"), nulls.get(name)
        low, high = interval.ends
        at_null = (
            None if null is None or np.isnan(null).all() else float(np.nanmean(null if name == "gain" else _won(null)))
        )
        score = _score(explainer, name, interval.value, int(there.sum()))
        found.append(score.model_copy(update={"ci_low": low, "ci_high": high, "null": at_null}))
    return found


def _won(gains: Floats) -> Floats:
    return np.where(np.isnan(gains), np.nan, (np.sign(gains) + 1) / 2)


def _score(explainer: str, metric: str, value: float, n: int) -> Score:
    return Score(
        explainer=explainer,
        scorer="intervention",
        metric=metric,
        value=value,
        ci_low=None,
        ci_high=None,
        n=n,
        null=None,
    )
