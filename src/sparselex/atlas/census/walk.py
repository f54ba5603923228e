"""A census of latents: which never live, which make a cluster of very low density, which are the rest."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.census.clusters import LEAST_LATENTS, Split, drawn_depths, split
from sparselex.atlas.census.config import CensusConfig
from sparselex.atlas.census.records import FILE, KIND, Census, Point, Valley
from sparselex.base.estimates import mean_figure, median_figure
from sparselex.base.figures import Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.formats import count, number
from sparselex.base.seeds import generator
from sparselex.base.staging import stage
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.features.index import FeatureIndex

DENSE_ABOVE = 0.01
"""Density above which latents are counted as dense: many of them say that the penalty is too small (Bricken et al.
2023)."""

_BINS_A_DECADE = 4


class Coordinates(NamedTuple):
    """By what latents are told apart besides their density."""

    names: list[str]
    values: NDArray[np.float64]
    """`[d_sae, n]`."""


def coordinates_of(dictionary: Dictionary) -> Coordinates:
    """The encoder's bias, and the product of decoder and encoder row; none of a dictionary that has no such encoder, or
    reads another space than it writes."""
    rows, bias = dictionary.encoder_rows(), dictionary.encoder_bias()
    if rows is None or bias is None or dictionary.d_in != dictionary.d_out:
        return Coordinates([], np.zeros((dictionary.d_sae, 0)))
    product = (dictionary.directions() * rows).sum(-1)
    values = np.stack([bias.double().cpu().numpy(), product.double().cpu().numpy()], axis=1)
    return Coordinates(["encoder bias", "decoder · encoder"], values)


def census(
    index: FeatureIndex, dictionary: Dictionary, config: CensusConfig, to: Path, inputs: Mapping[str, str]
) -> None:
    """Count the latents of a dictionary by when they are active and write what was found to `to`.

    Bricken et al. 2023 (Towards Monosemanticity, "Feature Density Histograms") saw two clusters, of which the one with
    very low densities held hardly anything that could be understood, and told them apart by log density, encoder bias
    and the product of decoder and encoder row. Here a second cluster has to be there: the density of latents along the
    line between the two must have a valley that is deeper than in clouds of one cluster.
    """
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return
        found = counted(
            index.table["density"], coordinates_of(dictionary), index.single_token, config, index.n_tokens_total
        )
        write_json(staging.folder / FILE, found.to_json())
        Figures(figures=found.figures).write(staging.folder)
        staging.finish()


def counted(
    density: NDArray[np.float64],
    beside: Coordinates,
    single_token: NDArray[np.bool_],
    config: CensusConfig,
    n_tokens: int,
) -> Census:
    """The census of latents with these densities `[d_sae]` over `n_tokens`, of which some are of a `single_token`."""
    rng = generator(config.seed, KIND)
    alive = np.flatnonzero(density > 0)
    log = np.log10(density[alive])
    divided, valley = _clusters(np.column_stack([log, beside.values[alive]]), config, rng)
    low, said = _verdict(log, divided, valley, config)
    ultralow = alive[low]
    some = np.sort(rng.choice(len(alive), min(len(alive), config.n_points), replace=False))
    edges = _edges(log)
    histogram = lambda those: np.histogram(log[those], edges)[0].tolist()
    return Census(
        n_tokens=n_tokens,
        coordinates=beside.names,
        groups={"dead": len(density) - len(alive), "ultralow": len(ultralow), "rest": len(alive) - len(ultralow)},
        valley=valley,
        found=said,
        ultralow=ultralow.tolist(),
        edges=[round(edge, 6) for edge in edges.tolist()],
        counts={"ultralow": histogram(low), "rest": histogram(~low)},
        points=[Point(int(alive[at]), float(log[at]), beside.values[alive[at]].tolist(), bool(low[at])) for at in some],
        figures=_figures(density, ultralow, single_token, valley, n_tokens),
    )


def _clusters(
    x: NDArray[np.float64], config: CensusConfig, rng: np.random.Generator
) -> tuple[Split | None, Valley | None]:
    if len(x) < LEAST_LATENTS or not (x.std(0) > 0).all():
        return None, None
    found = split(x, rng)
    drawn = float(np.quantile(drawn_depths(x, config.n_draws, rng), 0.95))
    if not found.low.any():
        return found, Valley(
            depth=0.0, drawn=drawn, low=float(np.median(x[:, 0])), high=float(np.median(x[:, 0])), n_low=0
        )
    middles = [float(np.median(x[those, 0])) for those in (found.low, ~found.low)]
    return found, Valley(depth=found.depth, drawn=drawn, low=middles[0], high=middles[1], n_low=int(found.low.sum()))


def _verdict(
    log: NDArray[np.float64], divided: Split | None, valley: Valley | None, config: CensusConfig
) -> tuple[NDArray[np.bool_], str]:
    """Which living latents, of these log10 densities, are called ultralow, and why or why not."""
    none = np.zeros(len(log), dtype=bool)
    if divided is None or valley is None:
        return none, f"No second cluster was looked for: fewer than {LEAST_LATENTS} latents live, or all are alike."
    depth = f"depth of the valley between two {number(valley.depth, 2)}, in 95 % of clouds of one cluster at most "
    depth += number(valley.drawn, 2)
    if valley.depth <= valley.drawn:
        return none, f"Living latents are one cluster ({depth})."
    where = f"half of its latents are active on fewer than {number(10**valley.low, 2)} of the tokens"
    other = number(10**valley.high, 2)
    if valley.high - valley.low < config.apart or 10**valley.low >= config.ultralow_below:
        return none, (
            f"Living latents are two clusters ({depth}), but neither is one of very low density: {where}, of the other "
            f"{other}."
        )
    n_low = count(valley.n_low)
    said = f"{n_low} latents are a cluster of very low density: {where}, of the rest {other} ({depth})."
    if n_dense := int((log[divided.low] > np.log10(DENSE_ABOVE)).sum()):
        said += f" Of these {count(n_dense)} are active on more than {DENSE_ABOVE:.0%} of the tokens, and belong to "
        said += "them by the other coordinates."
    return divided.low, said


def _edges(log: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(log):
        return np.array([-1.0, 0.0])
    first = np.floor(log.min() * _BINS_A_DECADE) / _BINS_A_DECADE
    return np.arange(first, 1e-9, 1 / _BINS_A_DECADE)


def _figures(
    density: NDArray[np.float64],
    ultralow: NDArray[np.int64],
    single_token: NDArray[np.bool_],
    valley: Valley | None,
    n_tokens: int,
) -> list[Figure]:
    where = f"{count(n_tokens)} counted tokens"
    is_low = np.zeros(len(density), dtype=bool)
    is_low[ultralow] = True
    alive = density > 0
    share = lambda name, flags, words, **more: mean_figure(
        f"{KIND}/{name}", flags, words, over="latents", share=True, **more
    )
    depth = None if valley is None else valley.depth
    return [
        share("dead_share", ~alive, f"share of latents never active on {where}", better="lower"),
        share(
            "ultralow_share",
            is_low,
            "share of latents in a second cluster of very low density, where there is one",
            better="lower",
        ),
        share(
            "dense_share", density > DENSE_ABOVE, f"share of latents active on more than {DENSE_ABOVE:.0%} of {where}"
        ),
        share(
            "single_token_share",
            single_token[alive],
            "share of living latents that are active on hardly any token but one",
        ),
        median_figure(
            f"{KIND}/log_density",
            np.log10(density[alive]),
            f"median log10 of the share of {where}",
            over="living latents",
        ),
        Figure(
            name=f"{KIND}/valley",
            value=depth,
            n=int(alive.sum()),
            null=None if valley is None else valley.drawn,
            definition="how much lower the density of living latents is between two clusters than at the lower of both "
            "peaks, along the line that tells them apart; null: what 95 % of clouds of one cluster stay below",
            failure=None if valley is not None else f"fewer than {LEAST_LATENTS} latents live, or all of them alike",
        ),
    ]
