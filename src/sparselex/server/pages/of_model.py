"""How far one feature is one of the model, as its page shows it; and the card of a dictionary, read once."""

from pathlib import Path
from statistics import median
from typing import NamedTuple

from sparselex.base.artifacts import record_of
from sparselex.base.config import Config
from sparselex.evaluate.model_features.cards import twins_with_card
from sparselex.evaluate.model_features.current import without_stale
from sparselex.evaluate.model_features.records import FILE, KIND, LatentOfModel, ModelFeatures
from sparselex.evaluate.model_features.words import TwinCard, called
from sparselex.server.opened import OpenWorkspace


class RowView(Config):
    """One figure of a feature."""

    name: str
    """What it is called."""

    value: float
    """Its value."""

    half: float | None
    """What half of the dictionary's latents, those that were measured, are below."""

    null: float | None
    """The value under the null."""

    definition: str
    """What was computed for the dictionary as a whole."""


class OfModelView(Config):
    """How far one feature is one of the model."""

    latent: LatentOfModel
    """What was measured of it."""

    above: float
    """Share of active latents that are less relevant."""

    rows: list[RowView]
    """Its figures."""


class CardRead(NamedTuple):
    """The card of a dictionary, and its latents by number."""

    found: ModelFeatures
    latents: dict[int, LatentOfModel]
    halves: dict[str, float]
    """Medians over latents of what was measured of some."""


def card_of(opened: OpenWorkspace, run: str) -> CardRead | None:
    """The card of the dictionary that a run has now; None where none was made, or of another dictionary."""
    found = opened.artifact(run, KIND, _read)
    artifacts = opened.workspace.artifacts(run)
    if found is None or "dictionary" not in artifacts:
        return None
    inputs = artifacts[KIND].inputs
    if inputs.get("dictionary") != artifacts["dictionary"].id:
        return None
    return found._replace(found=without_stale(found.found, inputs, opened.workspace))


def twins_of(opened: OpenWorkspace, run: str) -> list[TwinCard]:
    """The cards of its twins."""
    twins = twins_with_card(opened.workspace, run)
    return [TwinCard(name, words, card.found) for name, words in twins.items() if (card := card_of(opened, name))]


def of_model_view(opened: OpenWorkspace, run: str, latent: int) -> OfModelView | None:
    """What was measured of a latent; None where nothing was."""
    card = card_of(opened, run)
    one = card.latents.get(latent) if card else None
    if card is None or one is None:
        return None
    figures = {figure.name: figure for figure in card.found.figures}
    found = {f"{KIND}/relevance": one.relevance, f"{KIND}/read_span": one.read_share, **one.measured}
    rows = []
    for name, value in found.items():
        figure = figures.get(name)
        half, null = (figure.value, figure.null) if figure else (card.halves.get(name), None)
        definition = figure.definition if figure else "cosine of its direction with the nearest one of that run"
        rows.append(RowView(name=called(name), value=value, half=half, null=null, definition=definition))
    others = [other.relevance for other in card.latents.values()]
    above = sum(other < one.relevance for other in others) / max(1, len(others))
    return OfModelView(latent=one, above=above, rows=rows)


def _read(path: Path) -> CardRead:
    found = record_of(ModelFeatures, path, FILE)
    latents = {one.latent: one for one in found.latents}
    values: dict[str, list[float]] = {}
    for one in found.latents:
        for name, value in one.measured.items():
            values.setdefault(name, []).append(value)
    return CardRead(found, latents, {name: median(those) for name, those in values.items()})
