"""Ratings as records, and what follows from them for an explanation. No tensors here: the browser reads these."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, FiniteFloat

from sparselex.base.config import Config
from sparselex.base.estimates import estimate
from sparselex.base.figures import Figure
from sparselex.base.files import fingerprint
from sparselex.base.intervals import Interval, share_interval
from sparselex.explain.records import Explanation, Score

PEOPLE = "people"
"""Name of the scorer."""

HEADLINE = "win_rate"

Choice = Literal["A", "B", "both", "neither"]
"""Which of two explanations fits the windows."""

DEFINITIONS = {
    "win_rate": "share of ratings in which a person, not knowing which is which, found that the explanation fits "
    "held-out windows of the latent and another latent's by the same explainer does not; `both` and `neither` count "
    "half",
    "fits": "share of the same ratings in which the explanation was said to fit, alone or with the other; the null is "
    "the share in which the other latent's was",
    "beats_explainers": "the win rate against what other explainers say of the same latent",
}
"""What people's ratings measure."""


def positions(text: str) -> str:
    """The text, a list of whole numbers in JSON. Raises `ValueError` for any other."""
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(one, int) for one in found):
        raise ValueError("positions are a list of whole numbers in JSON")
    return text


class Rating(Config):
    """One answer of one person."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """Drawn anew for each question: the same one sent twice is one rating."""

    index: str
    """Id of the index whose latent it is."""

    latent: int
    """The latent whose windows were shown."""

    a_explainer: str
    """Who wrote the text that stood first."""

    a_latent: int
    """Of which latent: another one for the null."""

    a_text: str
    """Fingerprint of that explanation."""

    b_explainer: str
    """Who wrote the text that stood second."""

    b_latent: int
    """Of which latent."""

    b_text: str
    """Fingerprint of that explanation."""

    positions: Annotated[str, AfterValidator(positions)]
    """Positions in the corpus at which the windows begin, a list in JSON."""

    choice: Choice
    """What the person said."""

    seconds: FiniteFloat
    """From when the question was shown to when it was answered."""

    rater: str = ""
    """The name that the person gave, if any."""

    written: str
    """When, UTC."""

    @property
    def sides(self) -> tuple[tuple[str, int, str], tuple[str, int, str]]:
        """Explainer, latent and fingerprint of the text, of either side."""
        return (self.a_explainer, self.a_latent, self.a_text), (self.b_explainer, self.b_latent, self.b_text)

    @property
    def is_null(self) -> bool:
        """Whether one of the two is of another latent."""
        return self.a_latent != self.b_latent

    def fits(self, place: int) -> bool:
        """Whether the first (0) or the second (1) was said to fit."""
        return self.choice in ("AB"[place], "both")

    def points(self, place: int) -> float:
        """1 where that one was chosen alone, 0 where the other was, else a half."""
        return (1 + self.fits(place) - self.fits(1 - place)) / 2


def print_of(explanation: Explanation) -> str:
    """Fingerprint of what is said: ratings are of these words."""
    return fingerprint(explanation.text)


def own(ratings: Sequence[Rating], explanation: Explanation) -> list[tuple[Rating, int]]:
    """The ratings of an explanation as it is now, and on which side it stood in each."""
    key = (explanation.explainer, explanation.latent, print_of(explanation))
    mine = [one for one in ratings if one.latent == explanation.latent]
    return [(one, place) for one in mine for place, side in enumerate(one.sides) if side == key]


def scores(explanation: Explanation, ratings: Sequence[Rating]) -> list[Score]:
    """What people make of an explanation, of all `ratings` of its latent."""
    mine = own(ratings, explanation)
    null = [(one, place) for one, place in mine if one.is_null]
    others = [(one, place) for one, place in mine if not one.is_null]
    found: list[Score] = []

    def add(metric: str, rated: Sequence[tuple[Rating, int]], value: Callable[[Rating, int], float], by: float) -> None:
        if rated:
            share = share_interval(sum(value(one, place) for one, place in rated), len(rated))
            found.append(_score(explanation.explainer, metric, share, len(rated), by))

    add("win_rate", null, Rating.points, 0.5)
    unfit = float(np.mean([one.fits(1 - place) for one, place in null])) if null else 0.0
    add("fits", null, Rating.fits, unfit)
    add("beats_explainers", others, Rating.points, 0.5)
    return found


def _score(explainer: str, metric: str, share: Interval, n: int, null: float) -> Score:
    low, high = share.ends
    about: Mapping[str, Any] = {"explainer": explainer, "scorer": PEOPLE, "metric": metric}
    return Score(**about, value=float(share.value), ci_low=low, ci_high=high, n=n, null=null)


def pooled(explainer: str, explanations: Sequence[Explanation], ratings: Sequence[Rating]) -> list[Figure]:
    """The win rates over all ratings together: of single latents there are few each."""
    by_latent: dict[int, list[Rating]] = {}
    for one in ratings:
        by_latent.setdefault(one.latent, []).append(one)
    mine = [own(by_latent.get(one.latent, []), one) for one in explanations]
    made = []
    for metric, is_null in (("win_rate", True), ("beats_explainers", False)):
        points = [[one.points(place) for one, place in part if one.is_null == is_null] for part in mine]
        sums = np.array([[sum(part), len(part)] for part in points if part], dtype=float).reshape(-1, 2)
        made.append(
            estimate(
                f"explain/{explainer}/{PEOPLE}/{metric}_of_all",
                sums,
                lambda found: found[..., 0] / found[..., 1],
                f"over all ratings together: {DEFINITIONS[metric]}",
                over="latents",
                share=True,
                n=int(sums[:, 1].sum()),
                null=0.5,
                better="higher",
                empty="nobody has rated it",
            ).figure
        )
    return made
