"""Rows of tokens that are made up: as many as are asked for of each split, all of them text but for a first token."""

from types import SimpleNamespace
from typing import Any

import numpy as np


class MadeRows:
    """Token ids as `TokenRows`: rows of `tokens` `[n_rows, n_ctx]`, of which the first `n_train` are training text and
    the others test text; every row is a document of its own, its first token no text where there is a `bos_id`."""

    def __init__(self, tokens: np.ndarray, n_train: int, bos_id: int | None = None):
        self.id, self.tokens, self.bos_id = "made up", tokens, bos_id
        self.n_rows, self.n_ctx = tokens.shape
        self.documents = np.repeat(np.arange(self.n_rows)[:, None], self.n_ctx, axis=1)
        if bos_id is not None:
            self.documents[:, 0] = -1
        self.row_ranges = {
            "train": range(n_train),
            "validation": range(n_train, n_train),
            "test": range(n_train, self.n_rows),
        }
        self.n_padding = dict.fromkeys(self.row_ranges, 0)
        self.vocabulary: Any = SimpleNamespace()
        self.names = [str(number) for number in range(self.n_rows)]

    def text_mask(self, rows):
        return self.documents[rows] >= 0 if not isinstance(rows, range) else self.documents[np.array(rows)] >= 0

    def roles(self, row):
        return {}
