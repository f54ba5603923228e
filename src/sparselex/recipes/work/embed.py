"""Embed a run's latents."""

from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.embed import embed
from sparselex.explain.embedding.encoder import Encoder
from sparselex.explain.summary import KIND as EXPLANATIONS
from sparselex.recipes.run import Run
from sparselex.recipes.stages.embed import Embed


def embed_run(run: Run, stage: Embed) -> None:
    """A vector for every latent of the run. Raises `UserError` like `embedding.embed.embed`."""
    index, config = run.index, stage.part(EmbedConfig)
    inputs = {"index": index.id, "encoder": Encoder(config.encoder).id}
    if run.has(EXPLANATIONS):
        inputs[EXPLANATIONS] = run.manifest(EXPLANATIONS).id
    embed(
        index, run.workspace.database, config, run.folder / Embed.makes, inputs=inputs, device=run.config.model.device
    )
    run.keep_options(stage)
