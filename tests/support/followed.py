"""Random text in which each of a few tokens is followed by those of a group of its own, with a latent on each."""

from types import SimpleNamespace

import numpy as np

from sparselex.base.vocabulary import Vocabulary
from sparselex.features.counted import Column, CountedTokens
from tests.support.planted import N_CTX, N_ROWS, PlantedCorpus, part

N_LATENTS, GROUP = 6, 20
N_VOCAB = N_LATENTS * (GROUP + 1)


class Followed:
    """Shaped like `FeatureIndex`. Latent `i` is active on token `i`, behind which stands one of the tokens of group
    `i`; behind these any token of the first few."""

    id, path, d_sae = "followed", "followed", N_LATENTS

    def __init__(self):
        rng = np.random.default_rng(0)
        tokens = np.zeros((N_ROWS, N_CTX), dtype=np.uint16)
        tokens[:, 0] = rng.integers(0, N_LATENTS, N_ROWS)
        for column in range(1, N_CTX):
            before = tokens[:, column - 1].astype(int)
            inside = N_LATENTS + before * GROUP + rng.integers(0, GROUP, N_ROWS)
            tokens[:, column] = np.where(before < N_LATENTS, inside, rng.integers(0, N_LATENTS, N_ROWS))
        documents = np.repeat(np.arange(N_ROWS) // 2, N_CTX).reshape(N_ROWS, N_CTX).astype(np.int32)
        self.corpus = PlantedCorpus(tokens, documents, Vocabulary([bytes([i + 1]) for i in range(N_VOCAB)], []))
        self.corpus.bos_id = None
        self.counted = np.ones(tokens.size, dtype=bool)
        self.n_counted = {split: part(split).stop - part(split).start for split in ("train", "validation", "test")}
        weights = rng.normal(0, 0.1, (N_LATENTS, N_VOCAB))
        for latent in range(N_LATENTS):
            weights[latent, self.group(latent)] += 1 + rng.random(GROUP)
        self.raises = weights
        self._counted = {split: CountedTokens(self.corpus, self.counted, split) for split in ("train", "test")}
        flat = tokens.reshape(-1)
        self.all_top_positions = np.stack([np.flatnonzero(flat == latent)[:6] for latent in range(N_LATENTS)])

    def group(self, latent):
        """The tokens of a latent's group."""
        return N_LATENTS + latent * GROUP + np.arange(GROUP)

    def counted_tokens(self, split):
        return self._counted[split]

    def counted_column(self, latent, split):
        ranks = np.flatnonzero(self._counted[split].tokens == latent)
        return Column(ranks, 1.0 + np.arange(len(ranks)) / len(ranks))

    def split_column(self, latent, split):
        column = self.counted_column(latent, split)
        return self._counted[split].positions[column.ranks], column.values.astype(np.float32)

    def check_whole(self, what):
        """Every activation is there."""

    @property
    def manifest(self):
        return SimpleNamespace(inputs={})
