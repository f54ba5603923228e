"""Core figures from sums by document: every metric of one dictionary, with intervals over documents."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import binomtest

from sparselex.base.estimates import Estimate, estimate
from sparselex.base.figures import Figure
from sparselex.base.intervals import LEAST_DOCUMENTS, Floats, Statistic, effective_units, jackknife
from sparselex.evaluate.metrics import METRICS, WHAT, Metric, SiteSums, Sums, token_columns


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


def core_figures(sums: SiteSums, at_mean: SiteSums | None = None) -> list[Figure]:
    """The figure of every metric from the sums of one dictionary, and of the null."""
    return [found.figure for found in core_estimates(sums, at_mean)]


def core_estimates(
    sums: SiteSums,
    at_mean: SiteSums | None = None,
    prefix: str = "core",
    names: Sequence[str] | None = None,
    what: str = WHAT,
    n_sites: int = 1,
) -> list[Estimate]:
    """The figure of every metric, or of those named, and what it owes to each document; with the sums of the null, the
    site at its mean, beside its null. `what` stands in the site's place, in words, and `n_sites` is how
    many have been `pooled`."""
    columns, nulls = _columns(sums), None if at_mean is None else _columns(at_mean)
    asked = METRICS.names() if names is None else names
    found = {name: METRICS.get(name) for name in asked}
    where = f"; sums of {n_sites} sites added, squares in units of each site's mean square" if n_sites > 1 else ""
    told = {name: metric._replace(words=f"{metric.words.replace(WHAT, what)}{where}") for name, metric in found.items()}
    return [_estimate(f"{prefix}/{name}", metric, columns, nulls) for name, metric in told.items()]


def _columns(sums: SiteSums) -> dict[str, Floats]:
    return {name: column for name, column in sums.items() if name != "x"} | {"spread": _spread(sums)}


def _null(metric: Metric, nulls: Mapping[str, Floats] | None) -> float | None:
    if nulls is None or not metric.null:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(metric.statistic({name: column.sum(0) for name, column in nulls.items()}))


def _estimate(name: str, metric: Metric, columns: Mapping[str, Floats], nulls: Mapping[str, Floats] | None) -> Estimate:
    tokens, kind = (columns["n_predicted"], "predicted") if metric.predicted else (columns["n"], "counted")
    names, per_document = list(columns), np.stack(list(columns.values()), axis=1)

    def of(statistic: Callable[[Sums], Floats]) -> Statistic:
        return lambda s: statistic({column: s[..., place] for place, column in enumerate(names)})

    n, n_documents = int(tokens.sum()), len(tokens)
    many = f"{n:,} {kind} tokens of {n_documents} test documents, as many as {effective_units(tokens):.0f} of one size"
    undefined, null = "", _null(metric, nulls)
    said = "" if null is None else "; the null is that with the site at its mean"
    if metric.scale is not None:
        undefined = _nothing_to_recover(metric, per_document, of(metric.scale), tokens)
    return estimate(
        name,
        per_document,
        of(metric.statistic),
        f"{metric.words}{said}; over {many}",
        over="documents",
        sizes=tokens,
        least=LEAST_DOCUMENTS,
        n=n,
        unit=metric.unit,
        better=metric.better,
        null=null,
        empty="no token of the test documents was counted",
        undefined=undefined,
    )


def _nothing_to_recover(metric: Metric, per_document: Floats, scale: Statistic, tokens: Floats) -> str:
    """Why what a metric is measured in units of may be nothing; empty where it is above 0 beyond doubt: by its
    interval, or where documents are too few for one, by the signs that single documents give it (binomial test)."""
    found = jackknife(per_document, scale, tokens).interval(LEAST_DOCUMENTS)
    if np.isfinite(found.low):
        ends = f"{found.value:.2g} nats, 95 % interval {found.low:.2g} to {found.high:.2g}"
        said = f"the model is not worse beyond doubt with the site {metric.ablated} ({ends})"
        return "" if found.low > 0 else f"{said}, so there is no loss to recover"
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.asarray(scale(per_document))[tokens > 0]
    worse, n = int((each > 0).sum()), len(each)
    if found.value > 0 and n and binomtest(worse, n, alternative="greater").pvalue < _DOUBT:
        return ""
    counted = f"{found.value:.2g} nats, worse in {worse} of {n} documents"
    return (
        f"it is not known from so few documents whether the model is worse with the site {metric.ablated} ({counted})"
    )


_DOUBT = 0.025
"""The same on one side as a 95 % interval."""


def _spread(sums: SiteSums) -> Floats:
    """`[n_documents]` squared distances from the mean over all documents, which is not moved when one is left out: how
    far documents differ is the question, and not where few of them happen to have their middle."""
    n, x = sums["n"], sums["x"]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = x.sum(0) / n.sum()
    return np.asarray(sums["square"] - 2 * x @ mean + n * (mean @ mean))
