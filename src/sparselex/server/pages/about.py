"""`/about/<run>`: where everything in a run came from."""

from typing import Any

from sparselex.base.artifacts import Manifest
from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.pages.run_rows import Missing, missing_of


class ArtifactView(Config):
    """One artifact: what it is and from what it came."""

    kind: str
    """Kind of artifact."""

    id: str
    """Hash of its kind, configuration, inputs and contents."""

    code_version: str
    """Version of sparselex that wrote it."""

    inputs: dict[str, str]
    """Ids of what it was made from, by role."""

    config: dict[str, Any]
    """Configuration, enough to make it again."""

    notes: dict[str, Any]
    """What was counted on the way."""

    n_files: int
    """Number of its files."""

    n_bytes: int
    """Size of its files in bytes."""


class AboutPage(PageRecord):
    """`/about/<run>`: where everything in a run came from."""

    run: RunCard
    """What the run says of itself."""

    artifacts: list[ArtifactView]
    """The corpus and the run's artifacts, each behind those that it was made from."""

    missing: list[Missing]
    """Stages without which the run is unfinished and which it has not been through."""


def about(opened: OpenWorkspace, run: str) -> AboutPage:
    """The manifests of a run. Raises `NoSuchPage` if there is no run of that name."""
    card = opened.card(run)
    corpus, made = opened.corpus(card), opened.workspace.artifacts(run).values()
    manifests = in_order([corpus, *made] if corpus else list(made))
    return AboutPage(
        title=f"{run}: provenance",
        run=card,
        artifacts=[_artifact(manifest) for manifest in manifests],
        missing=missing_of(opened, card),
    )


PAGE = Page(path="/about/{run}", build=about, template=TEMPLATES / "about.html", label="Provenance")


def in_order(manifests: list[Manifest]) -> list[Manifest]:
    """The same, each behind those among them that its inputs name."""
    by_id = {manifest.id: manifest for manifest in manifests}

    def depth(manifest: Manifest) -> int:
        # An id is a hash of the inputs among other things, so that nothing can come from itself.
        return 1 + max((depth(by_id[id_]) for id_ in manifest.inputs.values() if id_ in by_id), default=0)

    return sorted(manifests, key=depth)


def _artifact(manifest: Manifest) -> ArtifactView:
    return ArtifactView(
        kind=manifest.kind,
        id=manifest.id,
        code_version=manifest.code_version,
        inputs=manifest.inputs,
        config=manifest.config,
        notes=manifest.notes,
        n_files=len(manifest.files),
        n_bytes=sum(entry.n_bytes for entry in manifest.files.values()),
    )
