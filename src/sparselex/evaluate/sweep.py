"""The report of a sweep: every dictionary's figures on the same test documents, the Pareto fronts, stability between
seeds."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
from torch import Tensor

from sparselex.activations.live import Reader
from sparselex.atlas.fronts import fronts_of, remarks_on
from sparselex.atlas.matching import stability_figures
from sparselex.atlas.records import SweepReport, SweepRow
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.dictionaries.controls.bases import principal_components
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.core import AT_MEAN, core_sums
from sparselex.evaluate.core_figures import core_figures, pooled
from sparselex.evaluate.moments import moments, training_sample
from sparselex.evaluate.rows import rows_to_judge
from sparselex.evaluate.subjects import InPlaceOf, Itself, Subject


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
    stability: list[Figure] = []
    for hook, reader in readers.items():
        here = [member for member in members if member.row.hook == hook]
        rows |= {member.row.name: member.row for member in here}
        trained = {member.row.name: member for member in here if member.dictionary is not None}
        if trained:
            measured, beside = _on_one_hook(reader, trained, n_rows, moment_rows)
            rows |= measured
            controls |= {f"{hook}/{name}": figures for name, figures in beside.items()}
            stability += _stability(here, partial(_points, reader, moment_rows))
    ordered = [rows[member.row.name] for member in members]
    ordered = [row.model_copy(update={"fronts": fronts_of(row, ordered)}) for row in ordered]
    remarks = remarks_on(ordered, controls)
    return SweepReport(rows=ordered, controls=controls, stability=stability, remarks=remarks)


def _on_one_hook(
    reader: Reader, trained: Mapping[str, Measured], n_rows: int, moment_rows: int
) -> tuple[dict[str, SweepRow], dict[str, list[Figure]]]:
    """The rows with their figures, and the figures of principal components in the place of one dictionary of each
    setting, with as many coefficients on each token as it has active latents."""
    at = moments(reader, moment_rows)
    pca = principal_components(at.mean, at.covariance, 1)
    dictionaries = {name: member.dictionary for name, member in trained.items() if member.dictionary is not None}
    subjects: dict[str, Subject] = {}
    for name, dictionary in dictionaries.items():
        subjects[name] = Itself(dictionary)
        # Seeds differ by less than what a control is there to show.
        subjects.setdefault(f"pca:{_setting(trained[name].row)}", InPlaceOf(pca, name))
    sums = core_sums(reader, subjects, at.mean, rows_to_judge(reader.corpus, n_rows))
    at_mean = pooled(sums.pop(AT_MEAN))
    figures = {name: core_figures(pooled(part), at_mean) for name, part in sums.items()}
    found = {}
    for name, dictionary in dictionaries.items():
        own = [*figures.pop(name), _dead_share(trained[name].n_dead, dictionary.d_sae)]
        found[name] = trained[name].row.model_copy(update={"figures": own})
    return found, figures


def _setting(row: SweepRow) -> str:
    """What a dictionary has in common with those that differ in their seed alone."""
    return row.name.rpartition("-s")[0]


def _dead_share(n_dead: int, d_sae: int) -> Figure:
    words = f"share of {d_sae:,} latents that counted as dead when training ended"
    return mean_figure("train/dead_share", np.arange(d_sae) < n_dead, words, over="latents")


def _stability(members: Sequence[Measured], points: Callable[[], Tensor]) -> list[Figure]:
    """Of dictionaries on one hook that differ in their seed alone. `points` are asked for where there are any."""

    def alike(member: Measured) -> str:
        return str(sorted(member.row.settings.items()))

    found: list[Figure] = []
    alive = sorted((member for member in members if member.dictionary is not None), key=alike)
    groups = [list(group) for _, group in groupby(alive, key=alike)]
    several = [group for group in groups if len(group) > 1]
    sample = points() if several else None
    for group in several:
        dictionaries = [member.dictionary for member in group if member.dictionary is not None]
        found += stability_figures(dictionaries, f"stability/{_setting(group[0].row)}", sample)
    return found


def _points(reader: Reader, n_rows: int) -> Tensor:
    """Activations less their mean, of several sites each in units of its own size, as directions are."""
    x = training_sample(reader, n_rows)
    x = x - x.mean(0)
    for place in reader.written if len(reader.written) > 1 else ():
        x[:, place.columns] /= x[:, place.columns].square().sum(-1).mean().sqrt().clamp_min(1e-30)
    return x
