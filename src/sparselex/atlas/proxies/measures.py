"""How well one column of activations tells the tokens of a concept: sums over documents, and what follows from them."""

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.proxies.moments import Marked
from sparselex.atlas.proxies.records import HIGH, Carrier, Interval, Place
from sparselex.base.estimates import estimate
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats, Statistic
from sparselex.features.counted import Column

N, ACTIVE, ACTIVE_IN, MASS, MASS_IN, TOP, TOP_IN, INSIDE, SQUARE, SCORE, SCORE_SQUARE, PRODUCT = range(12)
"""Columns of the sums."""


class Judged(NamedTuple):
    """A column of activations on the test tokens, and from where on it is highly active."""

    column: Column
    """Sizes of its activations."""

    largest: float
    """The largest of them on training tokens."""


def sums_of(judged: Judged, marked: Marked, documents: NDArray[np.int64], n_documents: int) -> Floats:
    """`[n_documents, 12]`, what each document contributes to the figures.

    Args:
        judged: the activations.
        marked: what the concept says of the same tokens.
        documents: `[n_tokens]`, the document of each.
        n_documents: how many there are.
    """
    ranks, values = judged.column
    inside = marked.flags()[ranks]
    scores = np.zeros(marked.n_tokens)
    scores[marked.ranks] = marked.scores
    high = values > HIGH * judged.largest if judged.largest > 0 else np.zeros(len(values), dtype=bool)
    there, within = documents[ranks], documents[marked.ranks]

    def by(places: NDArray[np.int64], weights: NDArray | None = None) -> Floats:
        return np.bincount(places, weights, n_documents).astype(np.float64)

    return np.stack(
        [
            by(documents),
            by(there),
            by(there[inside]),
            by(there, values),
            by(there[inside], values[inside]),
            by(there[high]),
            by(there[high & inside]),
            by(within),
            by(there, values**2),
            by(within, marked.scores),
            by(within, marked.scores**2),
            by(there, values * scores[ranks]),
        ],
        axis=1,
    )


def _share(part: int, whole: int) -> Statistic:
    return lambda s: s[..., part] / s[..., whole]


def _correlation(s: Floats) -> Floats | np.float64:
    n = s[..., N]
    covariance = s[..., PRODUCT] - s[..., MASS] * s[..., SCORE] / n
    spread = np.clip(s[..., SQUARE] - s[..., MASS] ** 2 / n, 0, None)
    return covariance / np.sqrt(spread * np.clip(s[..., SCORE_SQUARE] - s[..., SCORE] ** 2 / n, 0, None))


class _Measure(NamedTuple):
    statistic: Statistic
    sizes: int
    """The sums that say how much of the whole each document is."""

    words: str


MEASURES = {
    "specificity_high": _Measure(
        _share(TOP_IN, TOP),
        TOP,
        f"share inside of the test tokens on which it is active above {HIGH:g} of its largest training activation",
    ),
    "specificity": _Measure(_share(ACTIVE_IN, ACTIVE), ACTIVE, "share of its active test tokens that are inside"),
    "specificity_weighted": _Measure(
        _share(MASS_IN, MASS), ACTIVE, "share of its activation on test tokens that lies inside"
    ),
    "sensitivity": _Measure(
        _correlation, N, "correlation of its activation with the score where that is above 0, over test tokens"
    ),
    "recall": _Measure(_share(ACTIVE_IN, INSIDE), INSIDE, "share of the test tokens inside on which it is active"),
}
"""The measures by name, in the order in which they are shown."""


def values_of(sums: Floats) -> dict[str, float | None]:
    """The measures; None for what cannot be formed."""
    total = sums.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {name: float(one.statistic(total)) for name, one in MEASURES.items()}
    return {name: value if np.isfinite(value) else None for name, value in found.items()}


def carrier(latent: int, train_sensitivity: float, sums: Floats, *, sign: int = 1) -> Carrier:
    """What is kept of a feature that was judged."""
    total, values = sums.sum(0), values_of(sums)
    return Carrier(
        latent=latent,
        sign=sign,
        train_sensitivity=train_sensitivity,
        density=float(total[ACTIVE] / total[N]) if total[N] else None,
        n_high=int(total[TOP]),
        **values,
    )


def figures_of(
    name: str, sums: Floats, words: str, by_chance: list[Carrier], controls: dict[str, Carrier]
) -> list[Figure]:
    """The measures of the best feature with intervals over documents, beside what they are by chance and for what it is
    held against."""
    chosen = "of the latent whose activation correlates most with a concept on training tokens"
    found = []
    for measure, one in MEASURES.items():
        is_correlation = measure == "sensitivity"
        made = estimate(
            f"proxies/{name}/{measure}",
            sums,
            one.statistic,
            f"{one.words}, {chosen} ({words}); null: the same with the concept moved along the text, the latent chosen "
            f"anew, mean of {len(by_chance)}",
            over="documents",
            sizes=sums[:, one.sizes],
            share=not is_correlation,
            correlation=is_correlation,
            n=int(sums[:, one.sizes].sum()),
            null=mean_of([getattr(each, measure) for each in by_chance]),
            better="higher",
            empty="there is no such test token",
        ).figure
        beside = {key: value for key, each in controls.items() if (value := getattr(each, measure)) is not None}
        found.append(made.model_copy(update={"controls": beside}))
    return found


def mean_of(values: list[float | None]) -> float | None:
    """The mean of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def intervals_of(judged: Judged, scores: NDArray[np.float32], edges: tuple[float, ...], n: int) -> list[Interval]:
    """Test tokens by activation, in `n` equal intervals, and by what the concept says of them."""
    ranks, values = judged.column
    classes = np.searchsorted(edges, scores[ranks], "left")
    width = judged.largest / n if judged.largest > 0 else 1.0
    place = np.clip(np.ceil(values / width).astype(np.int64) - 1, 0, n - 1)
    n_classes = len(edges) + 1
    counts = np.bincount(place * n_classes + classes, minlength=n * n_classes).reshape(n, n_classes)
    masses = np.bincount(place * n_classes + classes, values, n * n_classes).reshape(n, n_classes)
    return [
        Interval(low=i * width, high=(i + 1) * width, counts=counts[i].tolist(), masses=masses[i].tolist())
        for i in range(n)
    ]


def class_words(edges: tuple[float, ...]) -> list[str]:
    """What the classes of an interval are called."""
    if len(edges) == 1:
        return ["outside", "inside"]
    between = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    return ["outside: 0 or less", *between, f"above {edges[-1]:g}"]


def places_of(
    ranks: NDArray[np.int64], values: NDArray[np.float64], scores: NDArray[np.float32], positions: NDArray[np.int64]
) -> list[Place]:
    """Some test tokens, by rank, with the activation there."""
    return [
        Place(position=int(positions[rank]), value=float(value), score=float(scores[rank]))
        for rank, value in zip(ranks.tolist(), values.tolist(), strict=True)
    ]


def strongest(column: Column, positions: NDArray[np.int64], n_ctx: int, n: int) -> NDArray[np.int64]:
    """Places in a column of its `n` largest activations, the largest first, at most one in each row of the corpus."""
    order = np.argsort(-column.values, kind="stable")
    rows = positions[column.ranks[order]] // n_ctx
    return order[np.sort(np.unique(rows, return_index=True)[1])[:n]]
