"""What a report says in words, all of it made from its figures."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from sparselex.base.figures import Figure
from sparselex.base.formats import number
from sparselex.evaluate.config import LOOKUPS
from sparselex.evaluate.gathered import Gathered
from sparselex.evaluate.records import Comparison, Verdict

FAR_OFF = 0.1
"""Share by which an L0 may differ from what was asked before it is said."""

DECISIVE = ("core/fvu", "core/loss_recovered_mean", "explained/fvu", "explained/loss_recovered_mean")
"""Figures by which a dictionary that is worse than a control has lost to it."""

_LISTS: dict[Verdict, str] = {"worse": "Worse than", "better": "Better than", "undecided": "Undecided against"}
"""In the order in which they are said: first what speaks against the dictionary."""


def verdicts(
    found: Gathered, compared: Sequence[Comparison], controls: Mapping[str, str], *, has_twin: bool
) -> list[str]:
    """Sentences on what was found, beginning with what speaks against the dictionary. `controls` says of each control
    what it is."""
    by_name = {figure.name: figure for figure in found.figures}
    in_its_place = [one for one in compared if one.control in found.controls]
    said = [*_lost(in_its_place, by_name, controls), *_far_off(by_name, found.asked_l0)]
    for control, part in groupby(compared, key=lambda one: one.control):
        said.append(_against(list(part), controls[control]))
    if not has_twin:
        said.append(
            "No random twin was run: whether features of the model are better than those of noise is not known."
        )
    return said


def _lost(compared: Sequence[Comparison], figures: Mapping[str, Figure], controls: Mapping[str, str]) -> list[str]:
    found = []
    for one in compared:
        if one.verdict == "worse" and one.figure in DECISIVE:
            value = figures[one.figure].value or 0.0
            at_its_l0 = "" if one.control in LOOKUPS else " at the same number of active latents"
            who = "What is explained of it" if one.figure.startswith("explained/") else "This dictionary"
            found.append(
                f"{who} loses to {controls[one.control]}: {_short(one.figure)} {number(value)} against "
                f"{number(value - one.difference)}{at_its_l0}."
            )
    return found


def _far_off(figures: Mapping[str, Figure], asked: float | None) -> list[str]:
    l0 = figures.get("core/l0")
    if l0 is None or l0.value is None or not asked or abs(l0.value / asked - 1) <= FAR_OFF:
        return []
    return [f"It was trained for an L0 of {asked:g} and has {number(l0.value)} on test documents."]


def _against(compared: Sequence[Comparison], who: str) -> str:
    """One control: the figures that are better, worse and undecided; a list that would be empty is left out."""
    said: list[str] = []
    for verdict, words in _LISTS.items():
        if names := [_short(one.figure) for one in compared if one.verdict == verdict]:
            said.append(f"{verdict if said else f'{words} {who}'}: {', '.join(names)}")
    return "; ".join(said) + "."


def _short(name: str) -> str:
    room, *rest = name.split("/")
    return " ".join(rest if room in ("core", "explain") else [room, *rest]).replace("_", " ")
