"""The rubric's points by what was shown, and their figures where the report finds them."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from sparselex.base.config import Config
from sparselex.base.estimates import mean_figure, median_figure
from sparselex.base.figures import Figure, Figures
from sparselex.base.files import fingerprint
from sparselex.base.staging import stage
from sparselex.explain.rubric.records import FEATURES, GOOD, MOST, NEURONS, PERFECT, TWINS, RubricAnswer
from sparselex.explain.rubric.store import RubricStore

KIND = "rubric"
"""Kind of the artifact."""

_SCORES = ("confidence", "activation", "logits", "separation", "specificity")


class RubricConfig(Config):
    """How answers are summarised: there is nothing to choose."""


class RubricKind(Config):
    """What people gave one kind of thing."""

    kind: str
    """What was shown."""

    n_latents: int
    """Latents of which intervals were judged."""

    means: dict[str, float]
    """Mean of each score, of separation where it was a question."""

    points: Figure
    """Median of all points."""

    good: Figure
    """Share of intervals with more than 8 points."""


def kinds_of(answers: Sequence[RubricAnswer]) -> list[RubricKind]:
    """The summary by kind: features, neurons and twins first. Where there are answers on features, what others have
    stands beside these as controls."""
    kinds = {one.kind for one in answers}
    first = [kind for kind in (FEATURES, NEURONS, TWINS) if kind in kinds]
    found = [
        _of_kind(kind, [one for one in answers if one.kind == kind]) for kind in (*first, *sorted(kinds - {*first}))
    ]
    others = [one for one in found if one.kind != FEATURES]
    return [_beside(one, others) if one.kind == FEATURES else one for one in found]


def summarise_rubric(index_id: str, database: Path, to: Path, of: Collection[str] | None = None) -> list[RubricKind]:
    """Write the figures of all answers about a run to `to`, or of those about latents `of` these indexes; nothing where
    nobody has answered."""
    answers = RubricStore(database).all(index_id, of)
    if not answers:
        return []
    found = kinds_of(answers)
    inputs = {"index": index_id, "answers": fingerprint([one.to_json() for one in answers])}
    with stage(to, KIND, RubricConfig(), inputs) as staging:
        if not staging.made:
            Figures(figures=[figure for one in found for figure in (one.points, one.good)]).write(staging.folder)
            staging.finish({"n_answers": len(answers)})
    return found


def _of_kind(kind: str, answers: Sequence[RubricAnswer]) -> RubricKind:
    totals = np.array([one.total for one in answers], dtype=np.float64)
    scores = {name: [getattr(one, name) for one in answers] for name in _SCORES}
    given = {name: [float(value) for value in values if value is not None] for name, values in scores.items()}
    shown = "people who saw held-out examples and raised tokens of one interval and were not told of what"
    return RubricKind(
        kind=kind,
        n_latents=len({(one.of, one.latent) for one in answers}),
        means={name: float(np.mean(values)) for name, values in given.items() if values},
        points=median_figure(
            f"rubric/{kind}/points",
            totals,
            f"median of the rubric's points, {MOST} at most ({MOST - PERFECT} where there were no raised tokens to "
            f"show), that intervals of {kind} were given by {shown}",
            over="answers",
            better="higher",
        ),
        good=mean_figure(
            f"rubric/{kind}/above_{GOOD}",
            totals > GOOD,
            f"share of answers with more than {GOOD} of {MOST} points for intervals of {kind}, by {shown}",
            over="answers",
            share=True,
            better="higher",
        ),
    )


def _beside(own: RubricKind, others: Sequence[RubricKind]) -> RubricKind:
    def told(name: str) -> Figure:
        figure: Figure = getattr(own, name)
        found = {one.kind: getattr(one, name).value for one in others}
        return figure.model_copy(update={"controls": {kind: v for kind, v in found.items() if v is not None}})

    return own.model_copy(update={"points": told("points"), "good": told("good")})
