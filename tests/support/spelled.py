"""A corpus whose tokens are given as bytes, and an index whose latents are given as a table of activations."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sparselex.base.vocabulary import Vocabulary
from sparselex.features.index import FeatureIndex
from sparselex.text.corpus import TokenCorpus
from sparselex.text.splits import SPLITS, Split


class SpelledCorpus(TokenCorpus):
    """Documents as lists of tokens, each of which begins in a row of its own behind a BOS; no folder."""

    def __init__(self, documents: Mapping[Split, Sequence[Sequence[bytes]]], n_ctx: int = 8):
        every = [document for split in SPLITS for document in documents.get(split, [])]
        spelled = sorted({token for document in every for token in document})
        self.ids = {token: number for number, token in enumerate(spelled, 1)}
        self.vocabulary = Vocabulary([b"<s>", *spelled], [0])
        rows, owners, self.row_ranges, start, number = [], [], {}, 0, 0
        for split in SPLITS:
            for document in documents.get(split, []):
                ids = [self.ids[token] for token in document]
                for at in range(0, max(1, len(ids)), n_ctx - 1):
                    part = ids[at : at + n_ctx - 1]
                    empty = n_ctx - 1 - len(part)
                    rows.append([0, *part, *[0] * empty])
                    owners.append([-1, *[number] * len(part), *[-1] * empty])
                number += 1
            self.row_ranges[split] = range(start, len(rows))
            start = len(rows)
        self.tokens, self.documents = np.array(rows, dtype=np.uint16), np.array(owners, dtype=np.int32)
        self.id, self.bos_id, self.n_padding = "spelled", 0, dict.fromkeys(SPLITS, 0)
        self.n_ctx, self.n_rows, self.n_documents = n_ctx, len(rows), number
        self.names = [f"document {one}" for one in range(number)]


class SpelledIndex(FeatureIndex):
    """Latents whose activations are `[n_positions, d_sae]`, read through the columns of a real index."""

    id, path, sampled = "spelled", "spelled", False

    def __init__(self, corpus: TokenCorpus, acts: NDArray[np.float64]):
        self.corpus, self.acts = corpus, acts
        counted = (np.asarray(corpus.documents) >= 0).reshape(-1)
        self.__dict__["counted"] = counted
        assert not acts[~counted].any()
        latents, positions = np.nonzero(acts.T)
        self.d_sae = acts.shape[1]
        self.indptr = np.concatenate([[0], np.bincount(latents, minlength=self.d_sae).cumsum()])
        self._positions = positions.astype(np.uint32)
        self._values = acts.T[latents, positions].astype(np.float32)
        self.n_tokens = {
            split: int(counted[rows.start * corpus.n_ctx : rows.stop * corpus.n_ctx].sum())
            for split, rows in corpus.row_ranges.items()
        }

    signed = False

    def in_split(self, split: Split) -> NDArray[np.float64]:
        """`[n_counted, d_sae]`, activations on the counted tokens of a split."""
        return self.acts[self.counted_tokens(split).positions]
