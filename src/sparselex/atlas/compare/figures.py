"""Figures of a comparison, each beside its null."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from sparselex.atlas.compare.records import SAME, Measure, MeasureSummary, Side
from sparselex.base.estimates import interval_figure, mean_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import LEAST_DOCUMENTS, Floats, Jackknife, jackknife

_SIDES: tuple[Side, Side] = ("a", "b")

_ONLY_HERE = {"best", "above_null", "split", "b"}
"""Figures that stand on the page of a comparison alone: a report is of one run, and of what is said in few words."""


class Measured(NamedTuple):
    """What one measure says of all latents, by side."""

    best: dict[Side, NDArray[np.int64]]
    """`[d_sae]`, the latent of the other side that is most alike; -1 where that is not known."""

    value: dict[Side, NDArray[np.float64]]
    """`[d_sae]`, how alike that is; NaN where it is not known."""

    null: dict[Side, NDArray[np.float64]]
    """`[d_sae]`, the best match under the null."""

    partner: NDArray[np.int64]
    """`[d_sae_a]`, the partner of each latent of the first side in the one-to-one matching; -1 for none."""

    matched: NDArray[np.float64]
    """`[d_sae_a]`, how alike the two are; NaN without one."""

    matched_null: NDArray[np.float64]
    """`[n]`, the same under the null, of the latents of the first side that were compared."""

    mutual: NDArray[np.bool_]
    """`[d_sae_a]`, whether the best match of each has it for its own best match."""

    mutual_null: NDArray[np.bool_]
    """`[n]`, the same under the null."""

    null_words: str
    """The null, in words."""

    def summary(self) -> MeasureSummary:
        """The bounds, and how many latents lie beyond them."""
        null_95 = {side: _quantile(self.null[side]) for side in _SIDES}
        bound, known = _quantile(self.matched_null), np.isfinite(self.matched)
        return MeasureSummary(
            null_95=null_95,
            matched_null_95=bound,
            n_pairs=int(known.sum()),
            n_alike=int((self.matched[known] > bound).sum()),
            n_same=int((self.matched[known] >= SAME).sum()),
            n_only={side: int((self.value[side] <= null_95[side]).sum()) for side in _SIDES},
            null=self.null_words,
            n_mutual=int(self.mutual.sum()),
            n_mutual_pairs=int((self.mutual & (self.partner == self.best["a"])).sum()),
        )

    def n_known(self, side: Side) -> int:
        """Latents of a side that were compared."""
        return int(np.isfinite(self.value[side]).sum())


class Split(NamedTuple):
    """Which latents of one side the other has in parts."""

    split: NDArray[np.bool_]
    """Of those whose activations were compared."""

    null: NDArray[np.bool_]
    """The same under the null."""


def comparison_figures(measured: Mapping[Measure, Measured], split: Mapping[Side, Split], where: str) -> list[Figure]:
    """Of each measure the mean best match of either side and how many exceed the null, and the mean of the one-to-one
    pairs; and the shares of latents that the other side has in parts. `where` says over which tokens."""
    found: list[Figure] = []
    for name, one in measured.items():
        of = "cosine of decoder rows" if name == "cosine" else f"correlation of activations {where}"
        null_95 = {side: _quantile(one.null[side]) for side in _SIDES}
        for side in _SIDES:
            value, null = _known(one.value[side]), _known(one.null[side])
            words = f"mean {of} of a latent of this side with the most similar one of the other; null: {one.null_words}"
            found.append(_mean(f"{name}/best/{side}", value, words, float(null.mean()) if len(null) else None))
            words = f"share of this side's latents whose best match, by {of}, exceeds 95 % of the null's"
            found.append(_mean(f"{name}/above_null/{side}", value > null_95[side], words, 0.05))
            found += _shares(name, one, side, of)
        null = _known(one.matched_null)
        words = f"mean {of} of the pairs of the one-to-one matching; null: the same matching; {one.null_words}"
        found.append(_mean(f"{name}/matched", _known(one.matched), words, float(null.mean()) if len(null) else None))
    for side, parts in split.items():
        words = (
            f"share of this side's latents that several of the other cover together and none covers alone, {where}; "
            "null: activations shifted away from their tokens"
        )
        null_share = float(parts.null.mean()) if len(parts.null) else None
        found.append(_mean(f"split/{side}", parts.split, words, null_share))
    return found


def reported(figures: Sequence[Figure], other: str) -> list[Figure]:
    """The figures that a run's report shows, under the name of the run that it was compared with."""
    return [
        one.model_copy(update={"name": one.name.replace("compare/", f"compare/{other}/", 1)})
        for one in figures
        if not _ONLY_HERE & set(one.name.split("/"))
    ]


class Without(NamedTuple):
    """Two numbers of each of some units, as they are without some of the documents that both were measured on."""

    values: Floats
    """`[n_groups, n_units]`."""

    beside: Floats
    """`[n_groups, n_units]`, or `[n_units]` of what no document has a part in."""

    n_documents: float
    """Documents of one size that would tell as much as all of them."""


def follows_figure(
    name: str,
    values: Floats,
    beside: Floats,
    words: str,
    *,
    over: str = "latents",
    empty: str = "there is none",
    without: Without | None = None,
) -> Figure:
    """Rank correlation of two numbers of each of some units, with its interval over these and over documents,
    independently."""
    found = jackknife(_ranked(values, beside), _pearson)
    n, effective, said = len(values), found.n_effective, f"95 % jackknife interval over {over}"
    if without is not None and n:
        each = [_ranked(*pair).sum(0) for pair in zip(*_groups_of(without), strict=True)]
        moved = (found.value - _pearson(np.stack(each))) * np.sqrt((len(each) - 1) / len(each))
        effective = min(effective, without.n_documents) if without.n_documents >= LEAST_DOCUMENTS else 0.0
        found = Jackknife(found.value, np.concatenate([found.influences, moved]), effective)
        said += f", and over {len(each)} groups of documents"
    interval = found.interval(correlation=True)
    if not np.isfinite(interval.low):
        said = "no interval"
    spread = (n, effective, found.se)
    return interval_figure(name, interval, f"{words}; {said}", over=over, spread=spread, null=0.0, empty=empty)


def _groups_of(without: Without) -> tuple[Floats, Floats]:
    return without.values, np.broadcast_to(without.beside, without.values.shape)


def _ranked(values: Floats, beside: Floats) -> Floats:
    """`[n_units, 6]`, sums of which the rank correlation is formed; units without a number are left out."""
    known = np.isfinite(values) & np.isfinite(beside)
    x, y = (rankdata(one[known]) for one in (values, beside))
    x, y = (one - one.mean() if len(one) else one for one in (x, y))
    return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)


def _pearson(sums: Floats) -> Floats | np.float64:
    n, x, y, xx, yy, xy = (sums[..., place] for place in range(6))
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt((n * xx - x * x).clip(min=0) * (n * yy - y * y).clip(min=0))
        return np.asarray((n * xy - x * y) / spread)


def _shares(name: str, one: Measured, side: Side, of: str) -> list[Figure]:
    """How many latents of a side have a partner, by the one-to-one matching and by being each other's best match."""
    n, bound = one.n_known(side), _quantile(one.matched_null)
    n_paired, n_mutual = int((_known(one.matched) > bound).sum()), int(one.mutual.sum())
    null_paired, null_mutual = int((_known(one.matched_null) > bound).sum()), int(one.mutual_null.sum())
    paired = (
        f"share of this side's latents whose {of} with the partner in the one-to-one matching exceeds that of 95 % of "
        f"the null's pairs; null: {one.null_words}"
    )
    each = f"share of this side's latents that, by {of}, are the best match of their own best match; {one.null_words}"
    return [
        _mean(
            f"{name}/matched_share/{side}", np.arange(n) < n_paired, paired, min(1.0, null_paired / n) if n else None
        ),
        _mean(f"{name}/mutual_share/{side}", np.arange(n) < n_mutual, each, min(1.0, null_mutual / n) if n else None),
    ]


def _mean(name: str, values: NDArray, words: str, null: float | None) -> Figure:
    return mean_figure(f"compare/{name}", values, words, over="latents", null=null, empty="there is no such latent")


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _quantile(values: NDArray[np.float64]) -> float:
    known = _known(values)
    return float(np.quantile(known, 0.95)) if len(known) else 0.0
