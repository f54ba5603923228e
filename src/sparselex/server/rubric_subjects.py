"""What the rubric asks about: a run's own latents, and those of every control of it that is indexed on the same
text."""

from sparselex.evaluate.twins import control_kind, frozen_part
from sparselex.explain.rubric.question import AskingIntervals, Subject
from sparselex.explain.rubric.records import FEATURES, TWINS
from sparselex.server.opened import OpenWorkspace


def subjects_of(opened: OpenWorkspace, run: str) -> list[Subject]:
    """The run itself, then its controls. Raises like `OpenWorkspace.index`."""
    own = opened.index(run).index
    found = [Subject(FEATURES if opened.card(run).twin_of is None else _kind(opened, run), own)]
    for name in opened.workspace.runs():
        if name == run or opened.card(name).twin_of != run or not opened.has(name, "index"):
            continue
        index = opened.index(name).index
        if index.corpus.id == own.corpus.id and not index.sampled:
            found.append(Subject(_kind(opened, name), index))
    return found


def _kind(opened: OpenWorkspace, name: str) -> str:
    if opened.card(name).has_random_weights:
        return TWINS
    frozen = frozen_part(opened.workspace, name)
    return control_kind(opened.workspace, name) or ("other" if frozen == "nothing" else f"frozen_{frozen}")


def asking_of(opened: OpenWorkspace, run: str) -> AskingIntervals:
    """Who draws the questions about a run. Raises like `subjects_of`."""
    return AskingIntervals(opened.index(run).index.id, subjects_of(opened, run))
