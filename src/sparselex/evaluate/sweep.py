"""The report of a sweep: every dictionary's figures on the same test documents, the Pareto fronts, stability between
seeds."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.activations.live import Reader, spread
from sparselex.atlas.fronts import fronts_of
from sparselex.atlas.matching import stability_figures
from sparselex.atlas.records import SweepReport, SweepRow
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.dictionaries.controls.bases import principal_components
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.core import core_sums, moments
from sparselex.evaluate.core_figures import core_figures, pooled


class Measured(NamedTuple):
    """One dictionary to be measured."""

    row: SweepRow
    dictionary: Dictionary | None
    """None where training failed."""
    n_dead: int


def sweep_report(
    readers: Mapping[str, Reader], members: Sequence[Measured], *, n_rows: int, moment_rows: int
) -> SweepReport:
    """Measure all dictionaries, those of one hook in one pass of the model over `n_rows` test rows."""
    rows: dict[str, SweepRow] = {}
    controls: dict[str, list[Figure]] = {}
    for hook, reader in readers.items():
        here = [member for member in members if member.row.hook == hook]
        rows |= {member.row.name: member.row for member in here}
        trained = {member.row.name: member for member in here if member.dictionary is not None}
        if trained:
            measured, beside = _on_one_hook(reader, trained, n_rows, moment_rows)
            rows |= measured
            controls |= {f"{hook}/{name}": figures for name, figures in beside.items()}
    ordered = [rows[member.row.name] for member in members]
    ordered = [row.model_copy(update={"fronts": fronts_of(row, ordered)}) for row in ordered]
    return SweepReport(rows=ordered, controls=controls, stability=_stability(members))


def _on_one_hook(
    reader: Reader, trained: Mapping[str, Measured], n_rows: int, moment_rows: int
) -> tuple[dict[str, SweepRow], dict[str, list[Figure]]]:
    """The rows with their figures, and the figures of principal components at the same L0."""
    mean, covariance = moments(reader, moment_rows)
    rows = spread(reader.corpus.row_ranges["test"], n_rows)
    dictionaries = {name: member.dictionary for name, member in trained.items() if member.dictionary is not None}
    ks = sorted({min(len(mean), max(1, round(k))) for k in _sparsities(reader, dictionaries, rows)})
    pca = {f"pca-k{k}": principal_components(mean, covariance, k) for k in ks}
    sums = core_sums(reader, dictionaries, mean, rows, controls=pca)
    found = {}
    for name, dictionary in dictionaries.items():
        row, n_dead = trained[name].row, trained[name].n_dead
        figures = [*core_figures(pooled(sums[name])), _dead_share(n_dead, dictionary.d_sae)]
        found[name] = row.model_copy(update={"figures": figures})
    return found, {name: core_figures(pooled(sums[name])) for name in pca}


def _dead_share(n_dead: int, d_sae: int) -> Figure:
    words = f"share of {d_sae:,} latents that counted as dead when training ended"
    return mean_figure("train/dead_share", np.arange(d_sae) < n_dead, words, over="latents")


def _sparsities(reader: Reader, dictionaries: Mapping[str, Dictionary], rows: NDArray[np.int64]) -> list[float]:
    """L0 of each dictionary on a few rows: what its control is given."""
    x = reader.read(rows[: reader.batch_rows]).x
    return [len(dictionary.encode_sparse(x).indices) / max(1, len(x)) for dictionary in dictionaries.values()]


def _stability(members: Sequence[Measured]) -> list[Figure]:
    def alike(member: Measured) -> str:
        return f"{member.row.hook} {sorted(member.row.settings.items())}"

    found: list[Figure] = []
    alive = sorted((member for member in members if member.dictionary is not None), key=alike)
    for _, group in groupby(alive, key=alike):
        same = list(group)
        prefix = f"stability/{same[0].row.name.rpartition('-s')[0]}"
        found += stability_figures([member.dictionary for member in same if member.dictionary is not None], prefix)
    return found
