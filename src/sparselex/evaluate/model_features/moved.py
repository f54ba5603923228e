"""By how much predictions move where something is added to activations at single tokens."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.progress import progress
from sparselex.evaluate.model_features.asked import Asked
from sparselex.evaluate.versions import Versions, in_rows

Steps = Callable[[NDArray[np.int64]], Float[Tensor, "n d"]]
"""What versions of these numbers add."""


class Moved(NamedTuple):
    """Of each version, over the token itself and those behind it that are looked at."""

    kl: NDArray[np.float64]
    """`[n]`, divergence of what is predicted, summed, nats."""

    loss: NDArray[np.float64]
    """`[n]`, by how much the cross-entropy of what comes rises, summed, nats."""


def moved(asked: Asked, position: NDArray[np.int64], steps: Steps, what: str, n_after: int | None = None) -> Moved:
    """What `steps` move, each at its position `[n]` in the corpus. Raises `UserError` where one leaves the model
    without finite numbers."""
    found = Moved(np.zeros(len(position)), np.zeros(len(position)))
    corpus, n_after = asked.reader.corpus, asked.config.n_after if n_after is None else n_after
    with progress(what, len(position), "steps") as bar:
        for part in in_rows(position, corpus.n_ctx, asked.reader.batch_rows):
            rows = np.unique(position[part] // corpus.n_ctx)
            versions = Versions.of(asked.reader, asked.model, rows, (asked.hook,), n_after)
            vectors = lambda numbers, part=part: {asked.hook: steps(part[numbers])}
            for numbers, told, _ in versions.told(position[part], vectors):
                found.kl[part[numbers]] = told.divergence.sum(1)
                found.loss[part[numbers]] = np.nansum(told.loss, axis=1)
                bar.advance(len(numbers))
    return found


class Along(NamedTuple):
    """Steps along rows of a table."""

    position: NDArray[np.int64]
    """`[n]`, where in the corpus."""

    row: NDArray[np.int64]
    """`[n]`, which row of the table."""

    length: NDArray[np.float64]
    """`[n]`, how much of it is added."""

    @staticmethod
    def join(parts: list["Along"]) -> "Along":
        """One after another."""
        return Along(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def steps(self, table: Float[Tensor, "m d"]) -> Steps:
        """Their vectors."""
        return lambda numbers: (
            table[torch.from_numpy(self.row[numbers])] * torch.from_numpy(self.length[numbers]).float()[:, None]
        )
