"""What the figures of a card say, in words made from them. No tensors here: command line and browser read these."""

from collections.abc import Sequence

from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.base.formats import number
from sparselex.evaluate.model_features.records import KIND, ModelFeatures
from sparselex.evaluate.records import Verdict

Asked = tuple[str, str]
"""A question, and what the null is in its answer."""

_QUESTIONS: dict[str, Asked] = {
    "relevance": ("Are its latents read more than what activations differ by?", "directions drawn so"),
    "unread": ("Has it fewer unread latents than directions drawn so would have?", "of these"),
    "unread_variance": ("Does it spend less of its variance on unread latents than chance?", "by chance"),
    "read_span": ("Does more of its latents lie in what is read than of the activations' variance?", "of the variance"),
    "sensitivity": ("Do predictions move more along its latents than along such directions?", "another of them"),
    "ablated": ("Do they move more without a latent than by a step of its size?", "another such step"),
    "error_ratio": ("Does the model mind its error less than such steps of the error's size?", "such steps"),
    "attribution": ("Do gradients say what taking latents away does?", "with another's activation"),
    "attribution_integrated": ("Do integrated gradients?", "with another's activation"),
    "dose": ("Does a latent do more for its tokens than another at equal divergence?", "another latent"),
    "dose_specific": ("Is more of what it does for them, too?", "another latent"),
    "jacobian_edges": ("Do later latents depend on fewer of them than of other latents?", "of others"),
    "composed_share": ("Are fewer latents made of two others than of two drawn at random?", "of these"),
}
"""By what a figure is called, without its path and the number behind it."""


class Answered(Config):
    """A question with its answer, as pages and cards show it."""

    question: str
    """What is asked, so that yes speaks for the dictionary."""

    verdict: Verdict
    """Whether the figure is better than its null, its interval apart from it."""

    answer: str
    """In words made from the figure."""


def answers(found: ModelFeatures) -> list[Answered]:
    """What was asked of a dictionary, and what came out, in the order of the card."""
    rows = [(figure, _asked(figure)) for figure in found.figures]
    return [
        Answered(question=_worded(figure, asked), verdict=against_null(figure), answer=_answer(figure, asked))
        for figure, asked in rows
        if asked and figure.value is not None and figure.null is not None
    ]


def against_null(figure: Figure) -> Verdict:
    """Whether a figure is better or worse than its null, its 95 % interval apart from it."""
    if figure.ci_low is None or figure.ci_high is None or figure.null is None or not figure.better:
        return "undecided"
    if figure.ci_low <= figure.null <= figure.ci_high:
        return "undecided"
    return "better" if (figure.ci_low > figure.null) == (figure.better == "higher") else "worse"


def in_short(answered: Sequence[Answered]) -> str:
    """One sentence on all of them."""
    counts = {verdict: sum(one.verdict == verdict for one in answered) for verdict in ("better", "worse", "undecided")}
    if not answered:
        return "Nothing was asked of it that has an answer."
    return (
        f"Of {len(answered)} questions {counts['better']} speak for it as a dictionary of the model, {counts['worse']} "
        f"against it, {counts['undecided']} are undecided."
    )


def called(name: str) -> str:
    """What a figure is called on pages: its name without the path."""
    return name.removeprefix(f"{KIND}/").replace("_", " ").replace("/", " ")


def _asked(figure: Figure) -> Asked | None:
    kind, _, step = figure.name.removeprefix(f"{KIND}/").partition("/")
    return _QUESTIONS.get("ablated" if step == "ablated" else kind)


def _worded(figure: Figure, asked: Asked) -> str:
    step = figure.name.removeprefix(f"{KIND}/").partition("/")[2]
    if not step or step == "ablated":
        return asked[0]
    what = "steps of" if "sensitivity" in figure.name else "a divergence of"
    unit = "median distances from the mean" if "sensitivity" in figure.name else "nats"
    return f"{asked[0].removesuffix('?')} ({what} {step} {unit})?"


def _answer(figure: Figure, asked: Asked) -> str:
    said = {"better": "Yes", "worse": "No", "undecided": "It cannot be told"}[against_null(figure)]
    low, high, null = figure.ci_low, figure.ci_high, figure.null
    ends = f" ({number(low, 3)} to {number(high, 3)})" if low is not None and high is not None else ""
    value, beside = (number(one, 3) for one in (figure.value or 0.0, null or 0.0))
    return f"{said}: {value}{ends}, {asked[1]} {beside}."
