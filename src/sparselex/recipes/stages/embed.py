"""`embed`: explanations and examples in, a vector for every latent out."""

from typing import Any

from sparselex.base.artifacts import Manifest
from sparselex.base.formats import counted
from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.stage import Stage


class Embed(Stage, EmbedConfig):
    """Embed what is known of every latent (each of its explanations, tokens, examples), so that the browser finds
    latents by meaning. Nothing leaves this machine."""

    verb = "embed"
    needs = ("index",)
    makes = "embeddings"
    work = "sparselex.recipes.work.embed:embed_run"

    def facts(self, run: Any) -> str:
        """What explainers say: all of it is read, whoever said it."""
        return ExplanationStore(run.workspace.database).fingerprint(run.manifest("index").id)

    def line(self, run: Any, shown: Manifest) -> str:
        notes = shown.notes
        by = f" by the explanations of {', '.join(notes['explainers'])}" if notes["explainers"] else ""
        what = f"{counted(notes['n_latents'], 'latent')}{by} as {counted(notes['n_vectors'], 'vector')}"
        return f"{what} of {notes['width']}, in {run.folder / self.makes}"
