"""What files said of features that were made elsewhere: kept beside their index, a record for each. No tensors here."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparselex.base.artifacts import open_artifact, verified
from sparselex.base.config import Config
from sparselex.features.records import Histogram

KIND = "elsewhere"
"""Kind and name of the artifact."""


class StatedToken(Config):
    """A token and a number, as a file has them."""

    text: str
    """The token."""

    value: float
    """The number."""


class Stated(Config):
    """What a file says of one feature."""

    density: float | None
    """Share of tokens on which it is active, over all that its makers read; None where the file does not say it."""

    largest: float
    """Its largest activation over these."""

    histogram: Histogram | None = None
    """Sizes of the activations; None where the file has none."""

    logits: Histogram | None = None
    """Logit effects on all tokens; None where the file has none."""

    raised: list[StatedToken] = []
    """Tokens promoted most."""

    lowered: list[StatedToken] = []
    """Tokens suppressed most."""

    others: dict[str, Any] = {}
    """Whatever else it says, by its names there."""


class Elsewhere:
    """Everything that was stated of the features of a run. Raises `UserError` if `path` is no such artifact, or is
    damaged."""

    def __init__(self, path: Path):
        self.path, self.manifest = path, open_artifact(path, KIND)

    @property
    def notice(self) -> str:
        """What a reader has to know of such a run."""
        notes = self.manifest.notes
        if notes["format"] == "delphi":  # all that was read is here
            return (
                f"Made elsewhere (delphi: {notes['source']}). All {notes['n_texts']:,} rows of that cache are here "
                "with what it has of activations, in float16: every position of it is counted, its BOS and padding too."
            )
        return (
            f"Made elsewhere ({notes['format']}: {notes['source']}). Only the {notes['n_texts']:,} texts of its "
            "examples are here: densities, ranges and draws on these pages are over them, and what its makers measured "
            f"over {_tokens(notes['n_read'])} is told as such."
        )

    def stated(self, latent: int) -> Stated | None:
        """What is said of a latent; None where the files say nothing of it."""
        start, stop = (int(self._ends[at]) if at >= 0 else 0 for at in (latent - 1, latent))
        if stop == start:
            return None
        with open(verified(self.path, "stated.jsonl", self.manifest), "rb") as file:
            file.seek(start)
            return Stated.parse(json.loads(file.read(stop - start)), str(self.path))

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.load(verified(self.path, "ends.npy", self.manifest))


def _tokens(n: int) -> str:
    return f"{n:,} tokens" if n else "all that they read, how much is not said,"


def write_stated(folder: Path, stated: dict[int, Stated], n: int) -> None:
    """Put the records of `n` latents, of some of which nothing may be said, into the folder of an artifact in
    progress."""
    ends, size = np.zeros(n, dtype=np.int64), 0
    with open(folder / "stated.jsonl", "wb") as file:
        for latent in range(n):
            if latent in stated:
                size += file.write(json.dumps(stated[latent].to_json()).encode() + b"\n")
            ends[latent] = size
    np.save(folder / "ends.npy", ends)
