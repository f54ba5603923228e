"""`embed`: explanations and examples in, a vector for every latent out."""

from typing import Any

from sparselex.base.artifacts import Manifest
from sparselex.base.formats import counted
from sparselex.explain.embedding.config import EmbedConfig
from sparselex.recipes.stage import Stage


class Embed(Stage, EmbedConfig):
    """Embed what is known of every latent (explanation, tokens, examples), so that the browser finds latents by
    meaning. Nothing leaves this machine."""

    verb = "embed"
    needs = ("index",)
    reads = ("explanations",)
    makes = "embeddings"
    work = "sparselex.recipes.work.embed:embed_run"

    def line(self, run: Any, shown: Manifest) -> str:
        notes = shown.notes
        return f"{counted(notes['n_latents'], 'latent')} as vectors of {notes['width']}, in {run.folder / self.makes}"
