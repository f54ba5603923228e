"""Core figures from sums by document: every metric of one dictionary, with intervals over documents."""

from collections.abc import Mapping, Sequence

import numpy as np

from sparselex.base.estimates import figure_of
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats, Resampled, resample
from sparselex.evaluate.metrics import METRICS, Metric, SiteSums, token_columns


def pooled(sites: Sequence[SiteSums]) -> SiteSums:
    """The sums of all sites as those of one: each site's squares in units of its own mean square, every column averaged
    over sites."""
    if len(sites) == 1:
        return sites[0]
    units = [site["square"].sum() / max(1.0, site["n"].sum()) or 1.0 for site in sites]
    squared = {name for name, column in token_columns().items() if column.squared}

    def averaged(column: str) -> Floats:
        scales = [unit ** -float(column in squared) for unit in units]
        return sum(site[column] * scale for site, scale in zip(sites, scales, strict=True)) / len(sites)

    found = {column: averaged(column) for column in sites[0] if column != "x"}
    # The squared sums of all sites' coordinates add up like the squares above.
    parts = [site["x"] / np.sqrt(unit * len(sites)) for site, unit in zip(sites, units, strict=True)]
    return found | {"x": np.concatenate(parts, axis=1)}


def core_figures(sums: SiteSums, prefix: str = "core") -> list[Figure]:
    """The figure of every metric from the sums of one dictionary."""
    names = [name for name in sums if name != "x"]
    drawn = resample(np.concatenate([*(sums[name][:, None] for name in names), sums["x"]], axis=1))
    drawn = drawn._replace(total=_with_spread(drawn.total, names), draws=_with_spread(drawn.draws, names))
    places = {name: number for number, name in enumerate([*names, "spread"])}
    n_tokens = {name: int(sums[name].sum()) for name in ("n", "n_predicted")}
    return [_core_figure(f"{prefix}/{name}", metric, drawn, places, n_tokens) for name, metric in METRICS.items()]


def _core_figure(
    name: str, metric: Metric, drawn: Resampled, places: Mapping[str, int], n_tokens: Mapping[str, int]
) -> Figure:
    n, kind = (n_tokens["n_predicted"], "predicted") if metric.predicted else (n_tokens["n"], "counted")
    return figure_of(
        name,
        drawn,
        lambda s: metric.statistic({column: s[..., place] for column, place in places.items()}),
        f"{metric.words}; over {n:,} {kind} tokens of {drawn.n_units} test documents",
        over="documents",
        n=n,
        unit=metric.unit,
        empty="no token of the test documents was counted",
    )


def _with_spread(summed: Floats, names: Sequence[str]) -> Floats:
    """`[..., n_columns + width]` to `[..., n_columns + 1]`: the squared distance from the mean in place of the sums
    that it takes."""
    columns, x = summed[..., : len(names)], summed[..., len(names) :]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = columns[..., names.index("square")] - np.square(x).sum(-1) / columns[..., names.index("n")]
    return np.concatenate([columns, np.asarray(spread)[..., None]], axis=-1)
