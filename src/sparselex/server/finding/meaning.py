"""Search by meaning: the cosine of the words and of what is known of each latent, by an encoder of this machine."""

import numpy as np

from sparselex.base.artifacts import MANIFEST
from sparselex.explain.embedding.encoder import Encoder
from sparselex.explain.embedding.records import KIND, Embeddings
from sparselex.server.finding.hits import Hits
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import Impossible
from sparselex.server.stamps import stamp

N_NEAREST = 500
"""Latents that are found: meaning has degrees and no end."""


def by_meaning(opened: OpenWorkspace, run: str, words: str) -> Hits:
    """The latents nearest in meaning. Raises `Impossible` where a run has no embeddings of its index."""
    index, path = opened.index(run).index, opened.workspace.run(run) / KIND
    command = f"`sparselex embed {opened.workspace.typed} --run {run}`"
    if not opened.has(run, KIND):
        raise Impossible(f"Run {run!r} has no embeddings yet.", "a run that has them", f"make them with {command}.")
    embeddings = opened.remembered(f"embeddings of {run}", (str(path), str(stamp(path / MANIFEST))), _opened)
    if embeddings.manifest.inputs.get("index") != index.id:
        where = f"The embeddings of run {run!r} are of another index."
        raise Impossible(where, "embeddings of the index that it has now", f"make them with {command}.")
    encoder = opened.remembered("encoder", (embeddings.config.encoder,), Encoder)
    if encoder.id != embeddings.manifest.inputs.get("encoder"):
        where = f"The embeddings of run {run!r} are of another encoder."
        raise Impossible(where, "embeddings of the encoder that is installed", f"make them with {command}.")
    cosines = embeddings.cosines(encoder.embed(words))
    n = min(N_NEAREST, len(cosines))
    nearest = np.sort(np.argpartition(-cosines, n - 1)[:n]) if n else np.empty(0, dtype=np.int64)
    return Hits(embeddings.latents[nearest], cosines[nearest].astype(np.float64), lambda shown: {})


def _opened(path: str, _: str) -> Embeddings:
    return Embeddings(path)
