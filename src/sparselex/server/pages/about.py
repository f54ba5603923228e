"""`/about/<run>`: where everything in a run came from."""

from sparselex.base.artifacts import Manifest
from sparselex.server.contexts import AboutPage, ArtifactView
from sparselex.server.pages.overview import STAGES
from sparselex.server.reading import Reading


def about(reading: Reading, run: str) -> AboutPage:
    """The manifests of a run. Raises `NoSuchPage` if there is no run of that name."""
    reading.check_run(run)
    found = {"corpus": reading.corpus_manifest(run)}
    found |= {kind: reading.manifest(run, kind) for kind in ("activations", *STAGES)}
    return AboutPage(
        title=f"{run}: provenance",
        run=run,
        indexed=found["index"] is not None,
        artifacts=[_artifact(manifest) for manifest in found.values() if manifest],
        # Activations are kept on disk only on request: their absence is no gap.
        missing=[kind for kind, manifest in found.items() if manifest is None and kind != "activations"],
    )


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
