"""What a run that is a control of another is, in words made from what either has."""

from sparselex.base.runs import RunCard
from sparselex.base.workspace import Workspace
from sparselex.evaluate.config import control_words

CONTROL = "control"
"""Field of the configuration of a dictionary that is a control of directions: which, and of what run."""

_FROZEN = {
    "decoder": "the same model, a decoder frozen at random",
    "soft_decoder": "the same model, a decoder kept near where it was drawn",
    "encoder": "the same model, an encoder frozen at random",
}


_TWINS = {
    "permuted": "the entries of each weight shuffled",
    "gaussian": "weights drawn from normal distributions like them",
    "gaussian_kept": "weights drawn from normal distributions like them, the embedding as it was learned",
    "redrawn": "the learned weights, what stands for a token drawn anew wherever it stands",
}


def words_of(workspace: Workspace, card: RunCard) -> str:
    """What the run of that card has otherwise than the run that it is a control of."""
    if card.twin != "none":
        return _TWINS.get(card.twin, f"{card.twin} weights")
    if frozen := _FROZEN.get(frozen_part(workspace, card.name)):
        return frozen
    if kind := control_kind(workspace, card.name):
        return f"the same place of the same model, {control_words(kind)}"
    of = workspace.card(card.twin_of) if card.twin_of in workspace.begun() else None
    if of is None:
        return "another recipe"
    parts = {
        "another model": (card.model, card.second_model) != (of.model, of.second_model),
        "another hook": card.sites != of.sites,
        "other text": card.corpus != of.corpus,
    }
    return " and ".join(words for words, differs in parts.items() if differs) or "the same model, another recipe"


def differing(workspace: Workspace, run: str, other: str) -> str:
    """The settings of training that another run has otherwise; empty where none is known."""
    if not (workspace.card_file(run).exists() and workspace.card_file(other).exists()):
        return ""
    mine, theirs = (workspace.settings(name).get("stages", {}).get("train", {}) for name in (run, other))
    named = [key for key in theirs if key in mine and theirs[key] != mine[key]]
    return ", ".join(f"{key.replace('_', ' ')} {theirs[key]} in place of {mine[key]}" for key in named)


def frozen_part(workspace: Workspace, run: str) -> str:
    """The part of a run's dictionary that stayed as it was drawn; `nothing` where all was trained."""
    dictionary = workspace.artifacts(run).get("dictionary")
    return str(dictionary.config.get("frozen", "nothing")) if dictionary else "nothing"


def control_kind(workspace: Workspace, run: str) -> str:
    """Which directions stand in the place of a dictionary in the run of a control; empty for a run that has a
    dictionary of its own."""
    dictionary = workspace.artifacts(run).get("dictionary")
    return str(dictionary.config.get(CONTROL, {}).get("kind", "")) if dictionary else ""
