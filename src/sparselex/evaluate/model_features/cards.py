"""Cards of a workspace, read: that of a run's dictionary, and those of its twins. No tensors here."""

from collections.abc import Iterator

from sparselex.base.artifacts import record_of
from sparselex.base.workspace import Workspace
from sparselex.evaluate.model_features.current import without_stale
from sparselex.evaluate.model_features.records import FILE, KIND, ModelFeatures
from sparselex.evaluate.model_features.words import TwinCard
from sparselex.evaluate.twins import words_of


def card_in(workspace: Workspace, run: str) -> ModelFeatures | None:
    """The card of the dictionary that a run has now; None where there is none, or it is of another dictionary."""
    if not has_card(workspace, run):
        return None
    found = record_of(ModelFeatures, workspace.run(run) / KIND, FILE)
    return without_stale(found, workspace.artifacts(run)[KIND].inputs, workspace)


def has_card(workspace: Workspace, run: str) -> bool:
    """Whether a run has a card of the dictionary that it has now."""
    artifacts = workspace.artifacts(run)
    if KIND not in artifacts or "dictionary" not in artifacts:
        return False
    return artifacts[KIND].inputs.get("dictionary") == artifacts["dictionary"].id


def twins_with_card(workspace: Workspace, run: str) -> dict[str, str]:
    """Runs that read random weights in the place of this one's model and have a card, with what these weights are."""
    cards = [workspace.card(name) for name in workspace.runs() if name != run and has_card(workspace, name)]
    return {card.name: words_of(workspace, card) for card in cards if card.twin_of == run and card.has_random_weights}


def twin_cards(workspace: Workspace, run: str) -> list[TwinCard]:
    """Their cards."""
    return list(_read(workspace, twins_with_card(workspace, run)))


def _read(workspace: Workspace, twins: dict[str, str]) -> Iterator[TwinCard]:
    for name, words in twins.items():
        if found := card_in(workspace, name):
            yield TwinCard(name, words, found)
