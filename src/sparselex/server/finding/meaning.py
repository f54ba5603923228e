"""Search by meaning: the cosine of the words and of what is known of each latent, by an encoder of this machine."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sparselex.base.artifacts import MANIFEST
from sparselex.explain.embedding.encoder import Encoder
from sparselex.explain.embedding.records import KIND, SAID, Embeddings
from sparselex.server.explained import Entries
from sparselex.server.finding.hits import Hits, MatchView, Piece
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import Impossible
from sparselex.server.stamps import stamp

N_NEAREST = 500
"""Latents that are found: meaning has degrees and no end."""


def by_meaning(opened: OpenWorkspace, run: str, words: str) -> Hits:
    """The latents nearest in meaning. Raises `Impossible` where a run has no embeddings of its index."""
    index = opened.index(run).index
    command = f"`sparselex embed {opened.workspace.typed} --run {run}`"
    if not opened.has(run, KIND):
        raise Impossible(f"Run {run!r} has no embeddings yet.", "a run that has them", f"make them with {command}.")
    embeddings = opened.remembered(*_file(opened, run), _opened)
    if embeddings.manifest.inputs.get("index") != index.id:
        where = f"The embeddings of run {run!r} are of another index."
        raise Impossible(where, "embeddings of the index that it has now", f"make them with {command}.")
    encoder = opened.remembered("encoder", (embeddings.config.encoder,), Encoder)
    if encoder.id != embeddings.manifest.inputs.get("encoder"):
        where = f"The embeddings of run {run!r} are of another encoder."
        raise Impossible(where, "embeddings of the encoder that is installed", f"make them with {command}.")
    return _nearest(embeddings, embeddings.cosines(encoder.embed(words)), opened.explained.entries(index))


def outdated(opened: OpenWorkspace, run: str) -> str:
    """How explanations have changed since the embeddings of a run were made, and what to do; empty where they have
    not."""
    embeddings = opened.remembered(*_file(opened, run), _opened)
    if embeddings.manifest.inputs.get(SAID) == opened.explained.fingerprint(opened.index(run).index):
        return ""
    command = f"`sparselex embed {opened.workspace.typed} --run {run}`"
    return f"Latents were explained anew since their meaning was read: {command} reads all explanations."


def _nearest(embeddings: Embeddings, cosines: NDArray[np.float32], entries: Entries) -> Hits:
    """Each latent once, by the nearest of its explanations."""
    starts = embeddings.starts
    best = np.maximum.reduceat(cosines, starts) if len(starts) else cosines
    n = min(N_NEAREST, len(best))
    nearest = np.sort(np.argpartition(-best, n - 1)[:n]) if n else np.empty(0, dtype=np.int64)
    latents = embeddings.latents[starts[nearest]]
    ends = np.append(starts, len(cosines))[nearest + 1]
    rows = [a + int(cosines[a:b].argmax()) for a, b in zip(starts[nearest].tolist(), ends.tolist(), strict=True)]
    whose = {int(embeddings.latents[row]): embeddings.explainers[row] for row in rows}
    return Hits(latents, best[nearest].astype(np.float64), lambda shown: _shown(entries, whose, shown))


def _shown(entries: Entries, whose: Mapping[int, str], latents: list[int]) -> dict[int, list[MatchView]]:
    found: dict[int, list[MatchView]] = {}
    for latent, said in entries.of(latents).items():
        titles = {one.explainer: one.title for one in said}
        who = whose.get(latent, "")
        if who in titles:
            found[latent] = [MatchView(where="explanation", explainer=who, pieces=[Piece(titles[who])])]
    return found


def _file(opened: OpenWorkspace, run: str) -> tuple[str, tuple[str, str]]:
    path = opened.workspace.run(run) / KIND
    return f"embeddings of {run}", (str(path), str(stamp(path / MANIFEST)))


def _opened(path: str, _: str) -> Embeddings:
    return Embeddings(path)
