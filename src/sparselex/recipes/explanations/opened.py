"""A run's index and what is said of its latents, opened without a model: of runs made here and elsewhere alike."""

from typing import NamedTuple

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.explain.imported import ImportedStore
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.recipes.explanations.records import ExplainerRow
from sparselex.text.corpus import TokenCorpus

_DIGITS = 12
"""Of a checksum, where it is shown."""


class Opened(NamedTuple):
    """What explanations of a run are about, and where they are."""

    features: FeatureIndex
    store: ExplanationStore
    imported: ImportedStore


def open_explanations(workspace: Workspace, run: str) -> Opened:
    """The index of a run and its explanations. Raises `UserError` for a run that has none."""
    workspace.card(run)
    if not workspace.has(run, "index"):
        raise UserError(
            f"Run {run!r} has no index yet, and explanations are of the latents of one.",
            "a run with a finished index",
            f"run `sparselex index {workspace.typed} --run {run}`.",
        )
    index = FeatureIndex(workspace.run(run) / "index", TokenCorpus(workspace.corpus_of(run)))
    return Opened(index, ExplanationStore(workspace.database), ImportedStore(workspace.database))


def explainers_of(workspace: Workspace, run: str) -> list[ExplainerRow]:
    """Who says something of a run's latents, by name. Raises `UserError` like `open_explanations`."""
    index, store, imported = open_explanations(workspace, run)
    sources: dict[str, dict[str, None]] = {}
    methods: dict[str, dict[str, None]] = {}
    for row in imported.of_index(index.id):
        sources.setdefault(row.explainer, {})[f"{row.source} (sha256 {row.sha256[:_DIGITS]})"] = None
        if how := " by ".join(filter(None, (row.method, row.author))):
            methods.setdefault(row.explainer, {})[how] = None
    return [
        ExplainerRow(
            explainer=name,
            n_explained=n_explained,
            n_other=n - n_explained,
            sources=tuple(sources.get(name, ())),
            methods=tuple(methods.get(name, ())),
        )
        for name, n, n_explained in store.explainers(index.id)
    ]
