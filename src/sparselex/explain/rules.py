"""Rules: an explanation whose text and predictor are the same object.

A rule is a short table from a key to the activation expected there. The key of a token is the token itself, the token
before it, or both. Whatever the text says is all that the predictor knows.
"""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.vocabulary import Vocabulary
from sparselex.features.counted import Kind


class Rule(NamedTuple):
    """`table[key]` is the activation predicted at tokens with that key; elsewhere 0. Entries by falling prediction."""

    kind: Kind
    table: dict[int, float]

    @property
    def keys(self) -> NDArray[np.int64]:
        """The keys, in the order of the table."""
        return np.fromiter(self.table, dtype=np.int64, count=len(self.table))

    @property
    def predictions(self) -> NDArray[np.float64]:
        """The prediction of each key."""
        return np.fromiter(self.table.values(), dtype=np.float64, count=len(self.table))

    def predict(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predicted activation of tokens with these keys."""
        known, order = self.keys, np.argsort(self.keys)
        place = np.searchsorted(known[order], keys).clip(max=len(known) - 1)
        found = known[order][place] == keys
        return np.where(found, self.predictions[order][place], 0.0)

    def text(self, labels: "Labels") -> str:
        """The whole rule in words: each entry with its predicted activation."""
        n_vocab = len(labels)
        lead = {"token": "Active on", "previous": "Active after", "pair": "Active on"}[self.kind]
        parts = []
        for key, value in self.table.items():
            what = labels[key % n_vocab] if self.kind != "previous" else labels[key]
            if self.kind == "pair":
                what = f"{what} after {labels[key // n_vocab]}"
            parts.append(f"{what} ({value:g})")
        return f"{lead} " + ", ".join(parts) + "; silent elsewhere."

    def title(self, labels: "Labels", n: int = 3) -> str:
        """The strongest entries, without numbers."""
        head = Rule(self.kind, dict(list(self.table.items())[:n])).text(labels)
        words = ", ".join(part.rsplit(" (", 1)[0] for part in head.removesuffix("; silent elsewhere.").split("), "))
        rest = len(self.table) - n
        return words + (f" and {rest} more" if rest > 0 else "")

    def to_json(self) -> dict:
        """Kind and table as JSON values."""
        return {"kind": self.kind, "table": [[key, value] for key, value in self.table.items()]}


class Labels(Sequence[str]):
    """How each token is written in a rule: quoted text, or `#id` where the bytes are no text.

    Two or more spaces are written as a count (`␣×8`): nobody counts blanks, and a page shows one. Where several tokens
    stand for the same text (a byte-fallback token and the ordinary one), the last has the text.
    """

    def __init__(self, vocabulary: Vocabulary):
        texts = [self._quoted(vocabulary.token_bytes(i)) for i in range(len(vocabulary))]
        owner = {text: i for i, text in enumerate(texts)}
        self._labels = [text if text and owner[text] == i else f"#{i}" for i, text in enumerate(texts)]

    @staticmethod
    def _quoted(data: bytes) -> str | None:
        try:
            text = json.dumps(data.decode("utf-8"), ensure_ascii=False)
        except UnicodeDecodeError:
            return None
        return re.sub("  +", lambda run: f"␣×{len(run[0])}", text)

    def __getitem__(self, token):
        return self._labels[token]

    def __len__(self) -> int:
        return len(self._labels)
