"""Effects as they lie on disk. No tensors here: command line and browser read these."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from sparselex.base.artifacts import open_artifact, verified
from sparselex.base.config import Config

KIND = "effects"
"""Kind of the artifact, and its name in a run's folder."""

KINDS = ("top", "random", "interval", "silent")
"""Kinds of places, by their numbers."""

TABLE = "effects.parquet"
"""File with a row for each measured latent."""

COLUMNS = {
    "latent": "number of the latent",
    "n": "places drawn at random from those at which it is active in test documents; `effect` to `used` are of these",
    "effect": "KL divergence of what the model predicts without it, at the token and the later ones together, nats",
    "effect_low": "lower end of the 95 % interval of `effect`, over places",
    "effect_high": "upper end",
    "kl": "KL divergence at the token itself, nats",
    "kl_later": "KL divergence summed over the later tokens, nats",
    "loss": "rise of the cross-entropy of the next token without it, nats",
    "loss_later": "the same summed over the later tokens, nats",
    "null": "`effect` of random directions of the same size at the same places, nats",
    "null_95": "the effect that one in twenty of these exceeds, nats",
    "used": "whether `effect` exceeds that of all but one in twenty of them",
    "top": "mean effect at the places where it is most active, nats",
    "top_null": "`null` at these places, nats",
    "n_silent": "places where it is silent",
    "silent": "mean effect of its direction added there as strongly as it is where it is active, nats",
    "n_pairs": "places drawn at random that are paired with a silent one, where as much is added",
    "specific": "whether the effects at the former are larger (exact signed ranks of the pairs, one side, 5 %)",
    "dose": "rank correlation of activation and effect over its ranges of activation",
}
"""What the table holds, as its metadata say too."""


class Changed(Config):
    """A next token whose probability an ablation changes."""

    token: int
    """Its id."""

    before: float
    """Its probability."""

    after: float
    """And without the latent."""


class PlaceEffect(Config):
    """What the ablation of a latent does at one place."""

    position: int
    """Position in the corpus."""

    value: float
    """Activation that is taken away; where the latent is silent, that is added."""

    kl: float
    """KL divergence of the prediction at the token itself, nats."""

    kl_later: float
    """The same summed over the later tokens."""

    n_later: int
    """How many of these were computed: none where nothing behind the site looks at other tokens."""

    loss: float | None
    """How much the cross-entropy of what comes next rises, nats; None where that is no text of the document."""

    null: float | None
    """Mean `kl + kl_later` of random directions there; None where none was tried."""

    changed: list[Changed]
    """The next tokens whose probabilities change most."""


class LatentEffects(Config):
    """What the model does without one latent."""

    summary: dict[str, float | None]
    """The latent's row of the table."""

    places: dict[str, list[PlaceEffect]]
    """By kind of place, the strongest activation first."""


class EffectsIndex:
    """A finished measurement. Raises `UserError` if `path` is none, or is damaged."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.manifest = open_artifact(self.path, KIND)
        self.config = self.manifest.config["options"]

    @cached_property
    def table(self) -> dict[str, NDArray]:
        """The columns by name, a row for each measured latent, ascending; NaN for what is not known."""
        found = pyarrow.parquet.read_table(verified(self.path, TABLE, self.manifest))
        return {name: found[name].to_numpy() for name in found.column_names}

    def by_latent(self, column: str, d_sae: int) -> NDArray[np.float64]:
        """`[d_sae]`, a column with NaN for latents that were not measured."""
        found = np.full(d_sae, np.nan)
        found[self.table["latent"]] = self.table[column].astype(np.float64)
        return found

    def row(self, latent: int) -> dict[str, float | None] | None:
        """The latent's row of the table; None where it was not among those measured."""
        row = int(np.searchsorted(self.table["latent"], latent))
        if row == len(self.table["latent"]) or self.table["latent"][row] != latent:
            return None
        return {name: _known(column[row]) for name, column in self.table.items()}

    def of(self, latent: int) -> LatentEffects | None:
        """What was measured of a latent; None where it was not among those measured."""
        summary = self.row(latent)
        if summary is None:
            return None
        arrays, found = self._arrays, {kind: list[PlaceEffect]() for kind in KINDS}
        start, stop = np.searchsorted(arrays["latent"], [latent, latent + 1])
        order = start + np.argsort(-np.abs(arrays["value"][start:stop]), kind="stable")
        for place in order.tolist():
            found[KINDS[int(arrays["kind"][place])]].append(self._place(place))
        return LatentEffects(summary=summary, places=found)

    @cached_property
    def _arrays(self) -> dict[str, NDArray]:
        files = (name for name in self.manifest.files if name.endswith(".npy"))
        return {
            name.removesuffix(".npy"): np.asarray(np.load(verified(self.path, name, self.manifest), mmap_mode="r"))
            for name in files
        }

    def _place(self, place: int) -> PlaceEffect:
        arrays = self._arrays
        columns = zip(arrays["tokens"][place], arrays["before"][place], arrays["after"][place], strict=True)
        directions = arrays["directions"][place]
        return PlaceEffect(
            position=int(arrays["position"][place]),
            value=float(arrays["value"][place]),
            kl=float(arrays["kl"][place]),
            kl_later=float(arrays["kl_later"][place]),
            n_later=int(arrays["n_later"][place]),
            loss=_known(arrays["loss"][place]),
            null=float(np.nanmean(directions)) if np.isfinite(directions).any() else None,
            changed=[Changed(token=int(t), before=float(b), after=float(a)) for t, b, a in columns],
        )


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
