"""What is computed from the sums of one dictionary, and in which words."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sparselex.base.figures import Better
from sparselex.base.intervals import Floats, Statistic
from sparselex.evaluate.synthetic.measured import Measured


class Sums(NamedTuple):
    """What units contribute to one measure of one dictionary."""

    per_unit: Floats
    """`[n_units, m]`."""

    value: Statistic
    """What is made of their sum."""

    n: int
    """Observations behind it."""


class Formula(NamedTuple):
    """A measure of a dictionary against known features."""

    words: str
    """What is computed, over what."""

    over: str
    """The units of its interval."""

    sums: Callable[[Measured], Sums]
    """What a measured dictionary contributes."""

    better: Better = ""
    share: bool = False
    """Whether it lies between 0 and 1, but for noise."""


SAMPLES = "samples"
"""Units that all dictionaries have in common."""

_N_ACTIVE, _N_TRUE, _N_BOTH, _A, _AA, _C, _CC, _AC, _CC_BOTH = range(9)


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """Zero where there is nothing to be divided by: whoever is never active has found nothing."""
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def _over_pairs(*columns: int, of: Callable[..., Floats]) -> Callable[[Measured], Sums]:
    """The mean over the pairs that there could be of a function of each pair's own sums."""

    def sums(found: Measured) -> Sums:
        per_unit = found.counts[:, list(columns)]
        n_samples, n_columns, d_sae = per_unit.shape
        tokens = found.n_tokens[:, None]

        def value(summed: Floats) -> Floats | np.float64:
            parts = summed[..., 1:].reshape(*summed.shape[:-1], n_columns, d_sae)
            each = of(summed[..., :1], *(parts[..., column, :] for column in range(n_columns)))
            return each.sum(-1) / found.n_pairs

        return Sums(np.concatenate([tokens, per_unit.reshape(n_samples, -1)], axis=1), value, found.n_pairs)

    return sums


def _correlation(n: Floats, a: Floats, aa: Floats, c: Floats, cc: Floats, ac: Floats) -> Floats:
    spread = np.maximum(n * aa - a**2, 0) * np.maximum(n * cc - c**2, 0)
    return _ratio(n * ac - a * c, np.sqrt(spread))


def _of_columns(value: Statistic, *columns: Callable[[Measured], Floats]) -> Callable[[Measured], Sums]:
    """A function of a few sums of each sample."""
    return lambda found: Sums(np.stack([one(found) for one in columns], axis=1), value, int(found.n_tokens.sum()))


def _quotient(summed: Floats) -> Floats | np.float64:
    return summed[..., 0] / summed[..., 1]


def _mean_of(values: Callable[[Measured], Floats], n: Callable[[Measured], int]) -> Callable[[Measured], Sums]:
    """The mean of one value a unit over `n` of them, those that are left out being 0."""

    def sums(found: Measured) -> Sums:
        each, count = values(found), n(found)
        padded = np.concatenate([each, np.zeros(max(0, count - len(each)))])
        return Sums(np.stack([padded, np.ones(len(padded))], axis=1), _quotient, count)

    return sums


def _fvu(found: Measured) -> Sums:
    def value(summed: Floats) -> Floats | np.float64:
        errors, n, squares, total = summed[..., 0], summed[..., 1], summed[..., 2], summed[..., 3:]
        return errors / (squares - np.square(total).sum(-1) / n)

    return Sums(
        np.concatenate([found.errors[:, None], found.n_tokens[:, None], found.moments], axis=1),
        value,
        int(found.n_tokens.sum()),
    )


def _matched_cosines(found: Measured) -> Floats:
    return found.matching.cosine[found.matching.feature >= 0]


def _distinct(found: Measured) -> Floats:
    """Of each living latent, its part of one feature: latents that have the same nearest feature share it."""
    nearest = found.nearest[found.alive]
    return 1 / np.bincount(nearest)[nearest]


_PAIRS = "over as many pairs as there could be (latents or features seen, whichever are fewer)"

FORMULAS: dict[str, Formula] = {
    "f1": Formula(
        f"mean F1 of each latent for its matched feature (active or not, by token) {_PAIRS}; unmatched ones count 0",
        SAMPLES,
        _over_pairs(_N_BOTH, _N_ACTIVE, _N_TRUE, of=lambda _, both, active, true: _ratio(2 * both, active + true)),
        "higher",
        share=True,
    ),
    "precision": Formula(
        f"mean share of a latent's tokens in which its feature is active {_PAIRS}",
        SAMPLES,
        _over_pairs(_N_BOTH, _N_ACTIVE, of=lambda _, both, active: _ratio(both, active)),
        "higher",
        share=True,
    ),
    "recall": Formula(
        f"mean share of a feature's tokens in which its latent is active {_PAIRS}",
        SAMPLES,
        _over_pairs(_N_BOTH, _N_TRUE, of=lambda _, both, true: _ratio(both, true)),
        "higher",
        share=True,
    ),
    "correlation": Formula(
        f"mean correlation over tokens of a latent's activation with its feature's coefficient {_PAIRS}",
        SAMPLES,
        _over_pairs(_A, _AA, _C, _CC, _AC, of=_correlation),
        "higher",
        share=True,
    ),
    "matched_cosine": Formula(
        f"mean cosine of latents with features, matched one to one for the largest sum, {_PAIRS}",
        "pairs",
        _mean_of(_matched_cosines, lambda found: found.n_pairs),
        "higher",
        share=True,
    ),
    "latent_cosine": Formula(
        "mean over living latents of the largest cosine with a feature",
        "latents",
        _mean_of(lambda found: found.latent_cosines[found.alive], lambda found: int(found.alive.sum())),
        "higher",
        share=True,
    ),
    "feature_cosine": Formula(
        "mean over features seen of the largest cosine with a living latent",
        "features",
        _mean_of(
            lambda found: found.feature_cosines[~np.isnan(found.feature_cosines)],
            lambda found: int((~np.isnan(found.feature_cosines)).sum()),
        ),
        "higher",
        share=True,
    ),
    "covered": Formula(
        "share of all firings of features in which the feature's own latent is active",
        SAMPLES,
        _of_columns(_quotient, lambda found: found.counts[:, _N_BOTH].sum(-1), lambda found: found.n_true),
        "higher",
        share=True,
    ),
    "unique": Formula(
        "distinct features among the nearest ones of living latents, for each such latent; 1 where no two have the "
        "same",
        "latents",
        _mean_of(_distinct, lambda found: int(found.alive.sum())),
        "higher",
        share=True,
    ),
    "shrinkage": Formula(
        "slope of activations (lengths of what is written) on true coefficients, through 0, over tokens in which both "
        "are active; 1 where nothing is shrunk",
        SAMPLES,
        _of_columns(
            _quotient, lambda found: found.counts[:, _AC].sum(-1), lambda found: found.counts[:, _CC_BOTH].sum(-1)
        ),
    ),
    "l0": Formula(
        "active latents of a token, mean",
        SAMPLES,
        _of_columns(_quotient, lambda found: found.n_entries, lambda found: found.n_tokens),
    ),
    "fvu": Formula("squared error of reconstruction by the variance of the activations", SAMPLES, _fvu, "lower"),
    "dead": Formula(
        "share of latents that are active in no held-out token",
        "latents",
        _mean_of(lambda found: (~found.alive).astype(np.float64), lambda found: len(found.alive)),
        "lower",
        share=True,
    ),
}
"""Every measure by name."""
