"""Texts that runs read, in short."""

from sparselex.base.artifacts import Manifest
from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.server.opened import OpenWorkspace
from sparselex.text.records import Division, Left, Part
from sparselex.text.splits import Split


class CorpusSummary(Config):
    """A text that runs of the workspace read."""

    source: str
    """Where it came from."""

    n_tokens: int
    """Tokens in all documents."""

    n_documents: dict[Split, int]
    """Documents by split; no document is in two."""

    n_ctx: int
    """Tokens in a row, which is all that the model sees at once."""

    parts: str
    """What is of each source of a mixture, in words; empty where there is one source."""

    skipped: str
    """What was read of the text and left out, in words; empty where that is nothing."""

    division: str
    """How well apart its splits are, in words."""

    runs: list[str]
    """Runs that read it."""


def corpora(opened: OpenWorkspace, cards: list[RunCard]) -> list[CorpusSummary]:
    """Each corpus once, in the order of the runs."""
    readers: dict[str, list[str]] = {}
    manifests: dict[str, Manifest] = {}
    for card in cards:
        if manifest := opened.corpus(card):
            manifests[manifest.id] = manifest
            readers.setdefault(manifest.id, []).append(card.name)
    return [_corpus(manifest, readers[id_]) for id_, manifest in manifests.items()]


def _corpus(manifest: Manifest, runs: list[str]) -> CorpusSummary:
    return CorpusSummary(
        source=manifest.config["source"],
        n_tokens=manifest.notes["n_tokens"],
        n_documents=manifest.notes["n_documents"],
        n_ctx=manifest.config["n_ctx"],
        parts=Part.said(manifest.notes),
        skipped=Left.said(manifest.notes),
        division=Division.said(manifest.notes),
        runs=runs,
    )
