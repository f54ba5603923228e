"""How well rules do over all latents together: each latent that lives counts, whatever came of it."""

import numpy as np
from numpy.typing import NDArray

from sparselex.base.estimates import Apart, estimate, mean_figure, median_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import LEAST_DOCUMENTS, Floats, effective_units, even_groups
from sparselex.explain.keys import KeyTable
from sparselex.explain.measures import confusion, f1_of
from sparselex.explain.rules import Rule
from sparselex.features.counted import Column

N_GROUPS = 30
"""Groups of documents that are left out in turn, for the intervals of what is over latents."""

GOOD = 0.5
"""F1 from which a rule says most of what there is to say."""

ABOVE = 0.05
"""F1 that it must have beyond that of another latent's rule, to say something of its own latent."""

_MOST = 2.0
"""Even shares of all tokens that a document may count for where activations are pooled: what a single long one is like
would else be the figure."""

_EMPTY = "no latent is ever active"
_ANOTHER = "the rule of another latent, the one that does best on validation documents"


def counts(rule: Rule | None, table: KeyTable, column: Column) -> Floats:
    """`[n_documents, 3]`: hits, called and active tokens of a latent by its rule, which may be none."""
    if rule is not None:
        return np.stack(confusion(rule, table, column), axis=1).astype(float)
    active = np.bincount(table.document[column.ranks], minlength=table.n_documents)
    return np.stack([np.zeros(len(active)), np.zeros(len(active)), active], axis=1)


def effective_documents(sizes: NDArray[np.int64]) -> float:
    """Documents of one size that would tell as much of latents as those of these `sizes`, none of which counts for more
    than `_MOST` even shares."""
    return effective_units(sizes * _weights(sizes))


def _weights(sizes: NDArray[np.int64]) -> Floats:
    most = _MOST * sizes.sum() / max(1, len(sizes))
    return np.asarray(np.minimum(1, most / np.maximum(1, sizes)))


class Tally:
    """Rules of many latents against their activations, taken up one after another.

    Args:
        sizes: `[n_documents]`, counted tokens of each document.
    """

    def __init__(self, sizes: NDArray[np.int64]):
        self._sizes, self._groups = sizes, even_groups(sizes, N_GROUPS)
        self._weights = _weights(sizes)[:, None]
        self._own, self._another = _Sums(), _Sums()

    def add(self, own: Floats, another: Floats | None = None) -> None:
        """Take up a latent by the counts of its rule, and of that of another latent."""
        for found, sums in ((own, self._own), (own * [0, 0, 1] if another is None else another, self._another)):
            grouped = np.zeros((int(self._groups.max(initial=-1)) + 1, 3))
            np.add.at(grouped, self._groups, found)
            sums.add(found * self._weights, grouped)

    def figures(self, prefix: str, of: str = "living latents", *, against_others: bool = True) -> list[Figure]:
        """Figures of all latents taken up, as `prefix/<name>`, in words those `of`. Without rules of others, not
        `against_others`, there is no null."""
        own, another = self._own.f1, self._another.f1
        n_documents = effective_documents(self._sizes)
        enough, of_another = own >= GOOD, another >= GOOD
        counted = f"{of}, 0 for those without a rule and those that are silent on test documents"
        said = f"; the null is {_ANOTHER}" if against_others else ""
        nulls: dict[str, float | None] = {}
        if against_others and len(own[0]):
            nulls = {
                "median": float(np.median(another[0])),
                "half": float(of_another[0].mean()),
                "pooled": float(f1_of(self._another.by_document.sum(0))),
            }
        found = [
            median_figure(
                f"{prefix}/f1_of_all",
                own[0],
                f"median over all {counted}, of F1{said}",
                over="latents",
                apart=Apart(own[1:], n_documents),
                null=nulls.get("median"),
                better="higher",
                empty=_EMPTY,
            ),
            mean_figure(
                f"{prefix}/half_share",
                enough[0],
                f"share, of all {counted}, with an F1 of at least {GOOD:g}{said}",
                over="latents",
                apart=Apart(enough[1:], n_documents),
                null=nulls.get("half"),
                better="higher",
                empty=_EMPTY,
            ),
        ]
        if against_others:
            clear = enough & (own >= another + ABOVE)
            words = (
                f"share, of all {of}, with an F1 of at least {GOOD:g} and at least {ABOVE:g} above that of {_ANOTHER}"
            )
            apart = Apart(clear[1:], n_documents)
            own_share = mean_figure(
                f"{prefix}/own_share", clear[0], words, over="latents", apart=apart, better="higher", empty=_EMPTY
            )
            found.append(own_share)
        pooled = estimate(
            f"{prefix}/pooled_f1",
            self._own.by_document,
            f1_of,
            f"F1 of all activations of all {of} together, so that latents count as often as they are active, and no "
            f"document for more than twice its even share{said}",
            over="documents",
            sizes=self._sizes * self._weights[:, 0],
            also=("latents", np.array(self._own.by_latent).reshape(-1, 3)),
            share=True,
            least=LEAST_DOCUMENTS,
            n=int(self._sizes.sum()) if len(own[0]) else 0,
            null=nulls.get("pooled"),
            better="higher",
            empty=_EMPTY,
        )
        return [*found, pooled.figure]


class _Sums:
    """Hits, called and active tokens of many latents."""

    def __init__(self) -> None:
        self.by_document: Floats = np.zeros((0, 3))
        self.by_latent: list[Floats] = []
        self._by_group: list[Floats] = []

    def add(self, weighted: Floats, grouped: Floats) -> None:
        self.by_document = weighted if not len(self.by_document) else self.by_document + weighted
        self.by_latent.append(weighted.sum(0))
        self._by_group.append(grouped)

    @property
    def f1(self) -> Floats:
        """`[1 + n_groups, n_latents]`: over all documents, then without each group; 0 where nothing is active."""
        by_group = np.stack(self._by_group, axis=1) if self._by_group else np.zeros((0, 0, 3))
        whole = by_group.sum(0)
        return np.nan_to_num(_f1(np.concatenate([whole[None], whole - by_group])))


def _f1(sums: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(f1_of(sums))
