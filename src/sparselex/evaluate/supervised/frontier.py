"""What exchanging few latents of a run's dictionary does to what a task knows, beside what a supervised dictionary
does: its frontier of sparse edits, gathered from the tasks of a workspace. No tensors here."""

from pathlib import Path

from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.base.formats import number
from sparselex.evaluate.model_features.words import Answered
from sparselex.evaluate.records import Verdict
from sparselex.evaluate.supervised.records import FROZEN, GREEDY, Row, TaskResult, Tested, tasks_in

_LEAST_ROOM = 0.05
"""Least agreement by which the supervised dictionary has to be above none: a share of less says nothing."""


class Reached(Config):
    """What one kind of dictionary reaches with so many latents."""

    k: int
    """Latents exchanged at each node, at most."""

    agreement: Figure
    """Share of prompts on which the model does then what it does with the true values."""

    removed: float
    """Mean share of the reconstruction that was taken out."""

    share: float
    """How far that is from no edit (0) to what the supervised dictionary reaches (1)."""

    ci_low: float | None
    """The lower end of the agreement's interval, brought to that scale as if both its ends were known."""

    ci_high: float | None
    """The upper end."""


class EditFrontier(Config):
    """One attribute at one place: the dictionary of a run, and all that was put to the same test."""

    task: str
    """Name of the task's result in the workspace."""

    place: str
    """What the place is called."""

    words: str
    """What it is."""

    attribute: str
    """What was exchanged."""

    unedited: Figure
    """The agreement without any edit."""

    yardstick: str
    """The supervised dictionary whose best agreement is the whole."""

    run: list[Reached]
    """The run's dictionary."""

    others: dict[str, list[Reached]]
    """The others, each at the sparsity at which it does best."""

    def reached(self, name: str, k: int) -> Reached | None:
        """What another dictionary reaches with `k` latents; None where that was not tried."""
        return next((one for one in self.others.get(name, []) if one.k == k), None)

    def best_other(self, k: int) -> tuple[str, float] | None:
        """The control that reaches most with `k` latents, and its share; None where none was edited."""
        known = {name: one.share for name in CONTROLS if (one := self.reached(name, k))}
        return max(known.items(), key=lambda one: one[1]) if known else None


CONTROLS = ("neurons", "pca", FROZEN, "random")
"""Rows that know nothing of features: what a dictionary has to beat."""


def edit_frontiers(workspace: Path, run: str, dictionary: str) -> list[EditFrontier]:
    """Of every task in a workspace to which this dictionary of a run was put: place by place, attribute by attribute,
    where there is a yardstick that edits better than nothing does."""
    found = list[EditFrontier]()
    for name, folder in tasks_in(workspace).items():
        for tested in TaskResult.read(folder).tested:
            rows = [row for row in tested.rows if row.run == run and row.dictionary == dictionary]
            if rows and tested.yardstick:
                found += [one for attribute in tested.unedited if (one := _of(name, tested, attribute, rows))]
    return found


def _of(task: str, tested: Tested, attribute: str, rows: list[Row]) -> EditFrontier | None:
    none = tested.unedited[attribute]
    yardsticks = (row for row in tested.rows if row.name == tested.yardstick)
    whole = max((value for row in yardsticks for value in _edits(row, attribute, "")), default=0.0)
    if none.value is None or whole - none.value < _LEAST_ROOM:
        return None
    reached = lambda row: _reached(row, attribute, none.value or 0.0, whole)
    kinds = {row.name for row in tested.rows if not row.run and row.name != tested.yardstick}
    best = {
        name: max((row for row in tested.rows if row.name == name and not row.run), key=lambda r: _mean(r, attribute))
        for name in sorted(kinds)
    }
    return EditFrontier(
        task=task,
        place=tested.place.name,
        words=tested.place.words,
        attribute=attribute,
        unedited=none,
        yardstick=tested.yardstick,
        run=reached(max(rows, key=lambda row: _mean(row, attribute))),
        others={name: points for name, row in best.items() if (points := reached(row))},
    )


def _edits(row: Row, attribute: str, way: str = GREEDY) -> list[float]:
    """What its edits reach; whichever way latents were chosen, where none is named."""
    edits = [edit for edit in row.edits if edit.attribute == attribute and (not way or edit.way == way)]
    return [edit.agreement.value for edit in edits if edit.agreement.value is not None]


def _mean(row: Row, attribute: str) -> float:
    edits = _edits(row, attribute)
    return sum(edits) / len(edits) if edits else -1.0


def _reached(row: Row, attribute: str, none: float, whole: float) -> list[Reached]:
    scaled = lambda value: None if value is None else (value - none) / (whole - none)
    return [
        Reached(
            k=edit.k,
            agreement=edit.agreement,
            removed=edit.removed,
            share=scaled(edit.agreement.value) or 0.0,
            ci_low=scaled(edit.agreement.ci_low),
            ci_high=scaled(edit.agreement.ci_high),
        )
        for edit in sorted(row.edits, key=lambda edit: edit.k)
        if edit.attribute == attribute and edit.way == GREEDY and edit.agreement.value is not None
    ]


def asked(one: EditFrontier) -> Answered | None:
    """Whether the fewest latents that were exchanged do more than as many of the best control, in words."""
    first = one.run[0] if one.run else None
    other = one.best_other(first.k) if first else None
    if first is None or other is None:
        return None
    low, high, (name, share) = first.ci_low, first.ci_high, other
    apart = low is not None and high is not None and not low <= share <= high
    verdict: Verdict = "undecided" if not apart else "better" if first.share > share else "worse"
    latents = f"{first.k} latent{'' if first.k == 1 else 's'}"
    said = {"better": "Yes", "worse": "No", "undecided": "It cannot be told"}[verdict]
    ends = f" ({number(low, 2)} to {number(high, 2)})" if low is not None and high is not None else ""
    return Answered(
        question=f"Do {latents} exchange {one.attribute} better than controls ({one.task}, {one.words})?",
        verdict=verdict,
        answer=f"{said}: {number(first.share, 2)}{ends} of what labels do, {name} {number(share, 2)}.",
    )
