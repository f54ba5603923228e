"""Embed a run's latents."""

from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.embed import embed
from sparselex.explain.embedding.encoder import Encoder
from sparselex.explain.embedding.records import SAID
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.run import Run
from sparselex.recipes.stages.embed import Embed


def embed_run(run: Run, stage: Embed) -> None:
    """Vectors for every latent of the run. Raises `UserError` like `embedding.embed.embed`."""
    index, config = run.index, stage.part(EmbedConfig)
    said = ExplanationStore(run.workspace.database).fingerprint(index.id)
    inputs = {"index": index.id, "encoder": Encoder(config.encoder).id, SAID: said}
    embed(
        index, run.workspace.database, config, run.folder / Embed.makes, inputs=inputs, device=run.config.model.device
    )
    run.keep_options(stage)
