"""Random text over a small vocabulary, with latents whose rule is known."""

from types import SimpleNamespace

import numpy as np

from sparselex.base.vocabulary import Vocabulary
from sparselex.features.index import FeatureIndex
from sparselex.text.corpus import TokenCorpus
from sparselex.text.splits import SPLITS

N_VOCAB, N_CTX, N_ROWS = 40, 16, 120
SPLIT_ROWS = {"train": range(80), "validation": range(80, 100), "test": range(100, 120)}


def part(split) -> slice:
    """The positions of a split."""
    rows = SPLIT_ROWS[split]
    return slice(rows.start * N_CTX, rows.stop * N_CTX)


class PlantedCorpus(TokenCorpus):
    """Rows of tokens that lie in no folder, two of them a document."""

    def __init__(self, tokens, documents, vocabulary):
        self.tokens, self.documents, self.vocabulary = tokens, documents, vocabulary
        self.id, self.bos_id, self.n_padding = "planted", 0, dict.fromkeys(SPLITS, 0)
        self.n_ctx, self.n_rows, self.row_ranges = N_CTX, N_ROWS, SPLIT_ROWS
        self.names = [f"document {number}" for number in range(N_ROWS // 2)]


def without_bos(seed: int = 0) -> TokenCorpus:
    """Rows of random tokens that begin with text: the tokenizer has no BOS, and token 0 is one like any other."""
    tokens = np.random.default_rng(seed).integers(0, N_VOCAB, (N_ROWS, N_CTX)).astype(np.uint16)
    documents = np.repeat(np.arange(N_ROWS) // 2, N_CTX).reshape(N_ROWS, N_CTX).astype(np.int32)
    corpus = PlantedCorpus(tokens, documents, Vocabulary([chr(60 + i).encode() for i in range(N_VOCAB)], []))
    corpus.bos_id = None
    return corpus


class PlantedIndex(FeatureIndex):
    """Shaped like `FeatureIndex`. Latents 0, 1 and 2 are active by token, by pair and by the token before; 3 is noise,
    4 is silent."""

    id = "planted"
    sampled = False
    drawn = None
    d_sae = 5

    def __init__(self, poison_test: bool = False):
        rng = np.random.default_rng(0)
        self.tokens = rng.integers(2, N_VOCAB, (N_ROWS, N_CTX)).astype(np.uint16)
        for column in range(2, N_CTX):  # bigrams often enough to be learned
            previous, draw = self.tokens[:, column - 1], rng.random(N_ROWS)
            self.tokens[np.isin(previous, [3, 4]) & (draw < 0.5), column] = 7
            self.tokens[(previous == 3) & (draw > 0.6), column] = 8
        self.tokens[:, 0] = 0
        documents = np.repeat(np.arange(N_ROWS) // 2, N_CTX).reshape(N_ROWS, N_CTX).astype(np.int32)
        documents[:, 0] = -1
        names = [b"<s>", b"\xff", *(chr(95 + i).encode() for i in range(2, N_VOCAB))]
        self.corpus = PlantedCorpus(self.tokens, documents, Vocabulary(names, [0]))
        self.counted = (documents >= 0).reshape(-1)
        flat, previous = self.tokens.reshape(-1).astype(int), np.roll(self.tokens.reshape(-1).astype(int), 1)
        active = [
            np.isin(flat, [5, 9]),
            (flat == 7) & np.isin(previous, [3, 4]) | (flat == 8) & (previous == 3),
            previous == 11,
            rng.random(len(flat)) < 0.05,
            np.zeros(len(flat), dtype=bool),
        ]
        sizes = 1 + flat / 50
        self.acts = np.stack([np.where(a & self.counted, sizes, 0) for a in active], axis=1)
        if poison_test:
            self.acts[part("test")] = 0
        n_active = {split: (self.acts[part(split)] != 0).sum(0) for split in SPLITS}
        self.table = {f"{split}_n_active": n for split, n in n_active.items()} | {"n_active": sum(n_active.values())}
        self.n_tokens = self.n_counted = {split: int(self.counted[part(split)].sum()) for split in SPLITS}

    def column(self, latent):
        positions = np.flatnonzero(self.acts[:, latent])
        return positions, self.acts[positions, latent].astype(np.float32)


class _WithNeighbours(PlantedIndex):
    """The planted latents, each with all others as its neighbours, and the logits of its own tokens raised."""

    def record(self, latent):
        others = [SimpleNamespace(latent=other) for other in range(4) if other != latent]
        whole = part("train")
        tokens = np.unique(self.tokens.reshape(-1)[whole][self.acts[whole, latent] > 0])[:5].tolist()
        up = [SimpleNamespace(token=token, value=5.0 - place) for place, token in enumerate(tokens)]
        down = [SimpleNamespace(token=30, value=-2.0)]
        return SimpleNamespace(neighbours=others, coactive=others[::-1], logits_top=up, logits_bottom=down)


def with_neighbours(*, poison_test: bool = False) -> PlantedIndex:
    """The planted index with what a record says of directions."""
    return _WithNeighbours(poison_test)
