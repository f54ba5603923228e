"""Hold a dictionary's latents against neurons: by the coefficients of their directions, and by what goes with their
activations."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from sparselex.atlas.neurons.config import NeuronsConfig
from sparselex.atlas.neurons.records import FILE, KIND, Neurons, row_of
from sparselex.base.errors import UserError
from sparselex.base.estimates import mean_figure, median_figure
from sparselex.base.figures import Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.seeds import generator
from sparselex.base.staging import stage
from sparselex.features.index import FeatureIndex

_ROWS = 4096
_OF = "living latents"
_UNKNOWN = "of no latent it is known what correlates with it"


def against_neurons(
    index: FeatureIndex,
    rows: Float[NDArray[np.float32], "d_sae width"],
    config: NeuronsConfig,
    to: Path,
    inputs: Mapping[str, str],
    *,
    same_space: bool,
) -> None:
    """Write to `to` how far latents with the directions `rows` are neurons (Bricken et al. 2023, Towards
    Monosemanticity: the arabic feature has 27 coefficients of 0.1 or more, and the neuron that goes with it most
    correlates at 0.10 to 0.18).

    Where the dictionary reads the coordinates that it writes (`same_space`), both are held against each other. The null
    of coefficients is as many random directions; that of correlations what `FeatureRecord.neuron_chance` says;
    that of the agreement of both another latent's neuron in the place of each. Raises `UserError` where no latent is
    ever active.
    """
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return
        alive = np.flatnonzero(index.table["n_active"] > 0)
        if not len(alive):
            raise UserError("No latent of the index is ever active.", "one that is", "index more text.")
        arrays, rng = of_rows(rows, config), generator(config.seed, KIND)
        chance = of_rows(rng.standard_normal((min(len(alive), _ROWS), rows.shape[1])).astype(np.float32), config)
        order = alive[np.argsort(arrays["spread"][alive], kind="stable")]
        found = Neurons(
            width=rows.shape[1],
            large_from=config.large_from,
            n_alive=len(alive),
            figures=[
                *_of_coefficients(arrays, chance, alive, config),
                *_of_activations(index, alive),
                *(_of_both(index, arrays, alive, rng) if same_space else ()),
            ],
            most=[row_of(arrays, latent) for latent in order[: config.n_shown].tolist()],
            least=[row_of(arrays, latent) for latent in order[::-1][: config.n_shown].tolist()],
        )
        write_json(staging.folder / FILE, found.to_json())
        for name, array in arrays.items():
            np.save(staging.folder / f"{name}.npy", array)
        Figures(figures=found.figures).write(staging.folder)
        staging.finish()


def of_rows(rows: Float[NDArray[np.float32], "n width"], config: NeuronsConfig) -> dict[str, NDArray]:
    """The arrays of `ARRAYS` of directions; a direction of length 0 has none."""
    n, kept = len(rows), min(config.n_kept, rows.shape[1])
    found: dict[str, NDArray] = {
        "places": np.zeros((n, kept), dtype=np.int32),
        "coefficients": np.zeros((n, kept), dtype=np.float32),
        "n_large": np.zeros(n, dtype=np.int32),
        "spread": np.full(n, np.nan, dtype=np.float32),
    }
    for start in range(0, n, _ROWS):
        part, span = rows[start : start + _ROWS].astype(np.float64), slice(start, start + _ROWS)
        length = np.linalg.norm(part, axis=1, keepdims=True)
        unit = np.divide(part, length, out=np.zeros_like(part), where=length > 0)
        largest = np.argsort(-np.abs(unit), axis=1, kind="stable")[:, :kept]
        found["places"][span] = largest
        found["coefficients"][span] = np.take_along_axis(unit, largest, axis=1)
        found["n_large"][span] = (np.abs(unit) >= config.large_from).sum(1)
        fourth = (unit**4).sum(1)
        found["spread"][span] = np.divide(1, fourth, out=np.full(len(part), np.nan), where=fourth > 0)
    return found


def _of_coefficients(
    arrays: Mapping[str, NDArray], chance: Mapping[str, NDArray], alive: NDArray[np.int64], config: NeuronsConfig
) -> list[Figure]:
    largest = lambda of: np.abs(of["coefficients"][:, 0]).astype(np.float64)
    null = "null: as many random directions"
    middle = lambda name, read, words: median_figure(
        f"{KIND}/{name}", read(arrays)[alive], f"median {words}; {null}", over=_OF, null=float(np.median(read(chance)))
    )
    aligned = lambda of: largest(of) >= config.aligned_from
    return [
        middle("largest", largest, "size of the largest coefficient of a latent's direction at unit length"),
        middle(
            "n_large",
            lambda of: of["n_large"].astype(np.float64),
            f"number of coefficients of a size of {config.large_from:g} or more",
        ),
        middle(
            "spread",
            lambda of: of["spread"].astype(np.float64),
            "number of coordinates over which a latent's direction is spread (1 / Σ d⁴)",
        ),
        mean_figure(
            f"{KIND}/aligned_share",
            aligned(arrays)[alive],
            f"share of latents with a coefficient of a size of {config.aligned_from:g} or more; {null}",
            over=_OF,
            share=True,
            null=float(aligned(chance).mean()),
        ),
    ]


def _of_activations(index: FeatureIndex, alive: NDArray[np.int64]) -> list[Figure]:
    """What goes with activations, of latents of which that is known."""
    known = index.relations.neurons
    if known is None:
        return []
    there = alive[known.place[alive, 0] >= 0]
    null = known.chance[there][np.isfinite(known.chance[there])]
    return [
        median_figure(
            f"{KIND}/correlation",
            np.abs(known.value[there, 0].astype(np.float64)),
            f"median size of the correlation of {_best(index)}; null: of its activations shifted to other tokens",
            over=_OF,
            null=float(np.median(null)) if len(null) else None,
            empty=_UNKNOWN,
        )
    ]


def _best(index: FeatureIndex) -> str:
    n = index.manifest.notes["n_read"]
    return (
        f"the coordinate that correlates most with a latent's activation ({n:,} training tokens choose and measure it)"
    )


def _of_both(
    index: FeatureIndex, arrays: Mapping[str, NDArray], alive: NDArray[np.int64], rng: np.random.Generator
) -> list[Figure]:
    known = index.relations.neurons
    if known is None:
        return []
    there = alive[known.place[alive, 0] >= 0]
    best, largest = known.place[there, 0], arrays["places"][:, 0]
    return [
        mean_figure(
            f"{KIND}/same_share",
            best == largest[there],
            f"share of latents of which {_best(index)} is also that of its direction's largest coefficient; null: "
            "another latent's",
            over=_OF,
            share=True,
            null=float((best == largest[rng.permutation(there)]).mean()) if len(there) else None,
            empty=_UNKNOWN,
        )
    ]
