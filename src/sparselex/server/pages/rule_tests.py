"""What the rule of a feature was held against, as its page shows it."""

from collections.abc import Iterable
from typing import TypeVar

from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.evaluate.intervals.records import SampledLatent
from sparselex.evaluate.logits.records import AnsweredLatent
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.logits import AnsweredView, answered_view
from sparselex.server.rule_tests import interval_answers, logit_answers

OneT = TypeVar("OneT", AnsweredLatent, SampledLatent)


class RuleTestsView(Config):
    """What a feature's rule was held against."""

    logits: AnsweredView | None
    """What it says of logit weights; None where it was not asked."""

    median: float | None
    """That of half of the run's latents is below this accuracy."""

    sampled: SampledLatent | None
    """What it says of examples of every size; None where it was not asked."""

    median_spearman: float | None
    """That of half of the run's latents is below this rank correlation."""


def rule_tests_view(opened: OpenWorkspace, run: str, latent: int) -> RuleTestsView | None:
    """None for a latent that neither analysis looked at."""
    answers, intervals = logit_answers(opened, run), interval_answers(opened, run)
    answered = _of(latent, answers.latents) if answers else None
    sampled = _of(latent, intervals.latents) if intervals else None
    if answered is None and sampled is None:
        return None
    return RuleTestsView(
        logits=answered_view(answered, "", opened.index(run).texts) if answered else None,
        median=_value(answers.figures, "logits/accuracy_median") if answers else None,
        sampled=sampled,
        median_spearman=_value(intervals.figures, "intervals/spearman_median") if intervals else None,
    )


def _of(latent: int, found: Iterable[OneT]) -> OneT | None:
    return next((one for one in found if one.latent == latent), None)


def _value(figures: Iterable[Figure], name: str) -> float | None:
    return next((one.value for one in figures if one.name == name), None)
