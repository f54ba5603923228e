"""What a report says of explanations against those of controls, from their figures alone."""

from collections.abc import Sequence

from sparselex.base.figures import Figure
from sparselex.base.formats import number
from sparselex.evaluate.against import Side, side

COMMAND = "`sparselex controls`"
"""What holds them against each other."""

_OF_ALL = "superiority_of_all"

_WORDS: dict[Side, str] = {"control": "worse than", "neither": "undecided against", "run": "better than"}
"""In the order in which they are said: first what speaks against the run."""


def held_against(figures: Sequence[Figure]) -> list[Figure]:
    """Of each control and foremost score the chance that a random latent of the run is better, every latent counted."""
    parts = [(figure, figure.name.split("/")) for figure in figures]
    return [figure for figure, name in parts if name[0] == "controls" and name[-1] == _OF_ALL]


def in_words(held: Sequence[Figure]) -> str:
    """Against which controls the run's latents score better, in a sentence."""
    measured = [figure for figure in held if figure.value is not None]
    if not measured:
        return f"Against those of controls: not measured, {COMMAND}."
    by_side = {who: [_control(figure) for figure in measured if side(figure) == who] for who in _WORDS}
    told = [f"{words} {', '.join(by_side[who])}" for who, words in _WORDS.items() if by_side[who]]
    return f"Against those of controls: {'; '.join(told)}."


def lines(held: Sequence[Figure]) -> list[str]:
    """The chances themselves, a line each."""
    return [_line(figure) for figure in held]


def _line(figure: Figure) -> str:
    words = f"chance that a random latent scores better than one of {_control(figure)}, each latent counted"
    if figure.value is None:
        return f"{words}: not measured, {figure.failure}"
    known = figure.ci_low is not None and figure.ci_high is not None
    ends = f"{number(figure.ci_low)} to {number(figure.ci_high)}" if known else "no interval"
    return f"{words} {number(figure.value)} ({ends}); even chances are 0.5"


def _control(figure: Figure) -> str:
    """Which control, and by what where that is not the rules."""
    _, control, *by, _ = figure.name.split("/")
    return control if by == ["rule"] else f"{control} ({' '.join(by)})"
