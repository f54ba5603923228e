"""What activations say of two dictionaries: correlations of all pairs, and which latents are parts of which."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.atlas.compare.columns import blocks, n_active, pair_correlations, shifted
from sparselex.atlas.compare.figures import Measured, Split
from sparselex.atlas.compare.pairs import Best, Keeper, Matches, mutual, partners
from sparselex.atlas.compare.parts import Covering, PartKeeper, Parts, covering
from sparselex.atlas.compare.records import Side
from sparselex.atlas.config import CompareConfig
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.features.counted import drawn_shift


class Common(NamedTuple):
    """One side's activations on the tokens that both counted."""

    columns: csr_array
    """`[d_sae, n_tokens]`."""

    kept: NDArray[np.int64]
    """Latents that are active often enough."""

    @classmethod
    def of(cls, columns: csr_array, least: int) -> "Common":
        """Latents active on `least` tokens or more are compared."""
        return cls(columns, np.flatnonzero(n_active(columns) >= least))


class Activations(NamedTuple):
    """What was found."""

    measured: Measured
    """Correlations."""

    parts: dict[Side, Parts]
    """Parts of each side's latents on the other side."""

    covering: dict[Side, Covering]
    """How far these cover them, of all latents."""

    split: dict[Side, Split]
    """Which are split, of those that were compared."""


class _Pass(NamedTuple):
    """One walk over all pairs."""

    matches: Matches
    parts: dict[Side, Parts]
    covering: dict[Side, Covering]


NULL = "the first side's activations shifted by a third to two thirds of the tokens, so that only chance is left"


def by_activations(a: Common, b: Common, config: CompareConfig, *, signed: bool) -> Activations:
    """Compare every kept latent of one side with every one of the other, and the same with one side's activations
    shifted away from their tokens."""
    left, right = a.columns[a.kept], b.columns[b.kept]
    away = shifted(left, drawn_shift(generator(config.seed, "compare", "shift"), left.shape[1]))
    with progress("compare", 2 * left.shape[0], "latents") as bar:
        found, chance = (_walk(one, right, config, bar, signed=signed) for one in (left, away))
    partner, chance_partner = partners(found.matches), partners(chance.matches)
    size = np.abs if signed else np.asarray
    sides: dict[Side, tuple[Best, Best]] = {
        "a": (found.matches.left, chance.matches.left),
        "b": (found.matches.right, chance.matches.right),
    }
    kept: dict[Side, NDArray[np.int64]] = {"a": a.kept, "b": b.kept}
    d_sae: dict[Side, int] = {"a": a.columns.shape[0], "b": b.columns.shape[0]}
    other: dict[Side, Side] = {"a": "b", "b": "a"}
    matched = size(pair_correlations(left, right, partner))
    measured = Measured(
        best={s: _spread(kept[other[s]][best.latent[:, 0]], kept[s], d_sae[s], -1) for s, (best, _) in sides.items()},
        value={s: _spread(best.value[:, 0], kept[s], d_sae[s], np.nan) for s, (best, _) in sides.items()},
        null={s: _spread(null.value[:, 0], kept[s], d_sae[s], np.nan) for s, (_, null) in sides.items()},
        partner=_spread(np.where(partner >= 0, b.kept[partner.clip(min=0)], -1), a.kept, d_sae["a"], -1),
        matched=_spread(matched, a.kept, d_sae["a"], np.nan),
        matched_null=size(pair_correlations(away, right, chance_partner)),
        mutual=_spread(mutual(found.matches), a.kept, d_sae["a"], 0).astype(bool),
        mutual_null=mutual(chance.matches),
        null_words=NULL,
    )
    return Activations(
        measured=measured,
        parts={s: _named(one, kept[s], kept[other[s]]) for s, one in found.parts.items()},
        covering={s: _all(one, kept[s], d_sae[s]) for s, one in found.covering.items()},
        split={s: Split(found.covering[s].split, chance.covering[s].split) for s in ("a", "b")},
    )


def _walk(left: csr_array, right: csr_array, config: CompareConfig, bar: Any, *, signed: bool) -> _Pass:
    keeper = Keeper(left.shape[0], right.shape[0], config.n_candidates)
    of_left, of_right = PartKeeper(left, right, config), PartKeeper(right, left, config)
    for block in blocks(left, right):
        keeper.add(block.start, np.abs(block.correlation) if signed else block.correlation)
        of_left.add(block.start, block.n_both)
        of_right.add(block.start, block.n_both, turned=True)
        bar.advance(len(block.n_both))
    parts: dict[Side, Parts] = {"a": of_left.finish(), "b": of_right.finish()}
    covered: dict[Side, Covering] = {
        "a": covering(parts["a"], left, right, config),
        "b": covering(parts["b"], right, left, config),
    }
    return _Pass(keeper.finish(), parts, covered)


def _spread(values: NDArray, kept: NDArray[np.int64], d_sae: int, nothing: int | float) -> NDArray:
    """Values of kept latents among all."""
    found = np.full(d_sae, nothing, dtype=np.float64 if np.isnan(nothing) else np.int64)
    found[kept] = values
    return found


def _named(parts: Parts, whole: NDArray[np.int64], part: NDArray[np.int64]) -> Parts:
    return parts._replace(whole=whole[parts.whole], part=part[parts.part])


def _all(found: Covering, kept: NDArray[np.int64], d_sae: int) -> Covering:
    spread = {name: np.zeros(d_sae, dtype=column.dtype) for name, column in found._asdict().items()}
    for name, column in spread.items():
        column[kept] = getattr(found, name)
    return Covering(**spread)
