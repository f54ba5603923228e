"""What the figures of a card say, in words made from them. No tensors here: command line and browser read these."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.base.formats import number
from sparselex.base.intervals import LEAST_DOCUMENTS
from sparselex.evaluate.model_features.questions import FIGURES, QUESTIONS, Said
from sparselex.evaluate.model_features.records import KIND, ModelFeatures
from sparselex.evaluate.records import Verdict


class Answered(Config):
    """A question with its answer, as pages and cards show it."""

    question: str
    """What is asked, so that yes speaks for the dictionary."""

    verdict: Verdict
    """Of one figure, whether it is better than its null, its interval apart from it; of several, what all of those say
    of which that can be told, and undecided where they differ."""

    answer: str
    """In words made from the figures."""


class TwinCard(NamedTuple):
    """The card of a dictionary of random weights that was made as another was."""

    run: str
    words: str
    """What its weights are."""

    found: ModelFeatures

    def value(self, figure: str) -> float | None:
        """What it has of a figure."""
        return next((one.value for one in self.found.figures if one.name == figure), None)


def answers(found: ModelFeatures) -> list[Answered]:
    """What was asked of a dictionary, and what came out, in the order of the questions: several figures of one
    experiment are one question."""
    groups: dict[str, list[Figure]] = {}
    for figure in found.figures:
        said = said_of(figure.name)
        if said and figure.value is not None and figure.null is not None:
            groups.setdefault(said.question, []).append(figure)
    few = _too_few(found)
    return [_answered(name, groups[name], few) for name in QUESTIONS if name in groups]


def against_null(figure: Figure) -> Verdict:
    """Whether a figure is better or worse than its null, its 95 % interval apart from it."""
    if figure.ci_low is None or figure.ci_high is None or figure.null is None or not figure.better:
        return "undecided"
    if figure.ci_low <= figure.null <= figure.ci_high:
        return "undecided"
    return "better" if (figure.ci_low > figure.null) == (figure.better == "higher") else "worse"


def summary(found: ModelFeatures, twins: Sequence[TwinCard] = (), more: Sequence[Answered] = ()) -> str:
    """`in_short` of a card and of `more` that was asked, with the reason where nothing can be told."""
    few = _too_few(found)
    return in_short([*answers(found), *more], twins) + (f" Of the model nothing can be told: {few}." if few else "")


def in_short(answered: Sequence[Answered], twins: Sequence[TwinCard] = ()) -> str:
    """One sentence on all of them, and one on each twin that has some of the same questions."""
    if not answered:
        return "Nothing was asked of it that has an answer."
    counts = _counts(answered)
    said = [
        f"Of {len(answered)} questions {counts['better']} speak for it as a dictionary of the model, {counts['worse']} "
        f"against it, {counts['undecided']} are undecided."
    ]
    return " ".join([*said, *(one for twin in twins if (one := _beside(answered, twin)))])


def called(name: str) -> str:
    """What a figure is called on pages: its name without the path."""
    return name.removeprefix(f"{KIND}/").replace("_", " ").replace("/", " ")


def said_of(name: str) -> Said | None:
    """What is said of a figure of this name in the answer to a question; None for one that answers none."""
    kind, _, step = name.removeprefix(f"{KIND}/").partition("/")
    said = FIGURES.get("ablated" if step == "ablated" else kind)
    return said and said._replace(figure=said.figure.format(step=step))


def _beside(answered: Sequence[Answered], twin: TwinCard) -> str:
    theirs = {one.question: one for one in answers(twin.found)}
    both = [one for one in answered if one.question in theirs]
    if not both:
        return ""
    mine, other = _counts(both), _counts([theirs[one.question] for one in both])
    return (
        f"Of the {len(both)} of these that were asked of its twin too (run {twin.run}, {twin.words}) {mine['better']} "
        f"speak for this one and {mine['worse']} against it, {other['better']} for the twin and {other['worse']} "
        "against the twin."
    )


def _counts(answered: Iterable[Answered]) -> dict[Verdict, int]:
    found: dict[Verdict, int] = {"better": 0, "worse": 0, "undecided": 0}
    for one in answered:
        found[one.verdict] += 1
    return found


def _too_few(found: ModelFeatures) -> str:
    """What is wrong with so few documents, where they are; empty where they are not."""
    if found.n_effective is None or found.n_effective >= LEAST_DOCUMENTS:
        return ""
    return f"too few documents ({number(found.n_effective, 2)}, {LEAST_DOCUMENTS:g} needed)"


def _answered(question: str, figures: Sequence[Figure], few: str) -> Answered:
    verdicts = {one for figure in figures if (one := against_null(figure)) != "undecided" and not few}
    verdict = verdicts.pop() if len(verdicts) == 1 else "undecided"
    said = {"better": "Yes", "worse": "No", "undecided": "It cannot be told"}[verdict]
    told = "; ".join(_told(figure) for figure in figures)
    return Answered(
        question=QUESTIONS[question], verdict=verdict, answer=f"{said}{f', with {few}' if few else ''}: {told}."
    )


def _told(figure: Figure) -> str:
    said = said_of(figure.name)
    low, high = figure.ci_low, figure.ci_high
    ends = f" ({number(low, 3)} to {number(high, 3)})" if low is not None and high is not None else ""
    value, null = (number(one, 3) for one in (figure.value, figure.null))
    return f"{said.figure} {value}{ends}, {said.null} {null}" if said else ""
