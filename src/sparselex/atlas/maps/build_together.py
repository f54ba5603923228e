"""Lay the latents of several dictionaries of one place on one plane and write the map, as in the 2023 paper (Bricken et
al., "Towards Monosemanticity"): wide latents lie beside the narrow ones from which they split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sparselex.atlas.config import MapConfig
from sparselex.atlas.maps.build import N_WORDS, described, how, packages, table, where
from sparselex.atlas.maps.joint import listed, medoids
from sparselex.atlas.maps.joint_figures import Placed, joint_figures
from sparselex.atlas.maps.layout import FEWEST, Floats32, check_installed, clusters_of, components, placed
from sparselex.atlas.maps.records import KIND, NOT_PLACED, PLACES, SUMMARY, LatentMap, MapSummary
from sparselex.atlas.maps.together import ALL_PLACES, TOGETHER, JointCluster, MapRun, Together
from sparselex.atlas.maps.words import typical_words
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.staging import stage


class Laid(NamedTuple):
    """A dictionary that is laid out with others."""

    run: str
    """Its run."""

    index_id: str
    """Id of its index."""

    rows: Floats32
    """`[d_sae, d_out]`, its decoder rows."""

    n_active: NDArray[np.int64]
    """`[d_sae]`, tokens on which each latent is active."""

    said: Mapping[int, str]
    """Explanations by latent."""

    differs: str = ""
    """How it was trained otherwise than the run that is asked about, in words."""


class _All(NamedTuple):
    """All latents on the map, of one dictionary after the other."""

    run: NDArray[np.int8]
    latent: NDArray[np.int32]
    unit: Floats32
    places: Floats32
    cluster: NDArray[np.int32]
    place: NDArray[np.int32]
    middle: NDArray[np.int64]
    """`[n_clusters]`, rows of the medoids."""


def build_together(
    dictionaries: Sequence[Laid], run: str, config: MapConfig, to: Path, *, inputs: Mapping[str, str]
) -> LatentMap:
    """Lay out the latents of all dictionaries that are ever active, and write their places and clusters to `to`, those
    of `run` as a map of its own too; unchanged work is not done again.

    Args:
        dictionaries: two or more of one place, the narrowest first.
        run: the run of that one whose map it is.
        config: how.
        to: the artifact's folder.
        inputs: ids of what these came from.

    Raises `UserError` where a package is missing, and for fewer latents than can be laid out.
    """
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return LatentMap(to)
        check_installed(config)
        every = _laid_out(dictionaries, config)
        together = _together(dictionaries, every, config)
        names = [one.run for one in dictionaries]
        own = names.index(run)
        summary = _of_one(dictionaries[own], every, own, together, [name for name in names if name != run])
        mine = every.run == own
        write_json(staging.folder / TOGETHER, together.to_json())
        write_json(staging.folder / SUMMARY, summary.to_json())
        pq.write_table(_table(every), staging.folder / ALL_PLACES)
        pq.write_table(table(every.latent[mine], every.places[mine], every.cluster[mine]), staging.folder / PLACES)
        Figures(figures=together.figures).write(staging.folder)
        staging.finish({"packages": packages(config)})
    return LatentMap(to)


def _laid_out(dictionaries: Sequence[Laid], config: MapConfig) -> _All:
    latents = [_on_the_map(one) for one in dictionaries]
    numbers = np.repeat(np.arange(len(latents), dtype=np.int8), [len(one) for one in latents])
    rows = np.concatenate([one.rows[mine] for one, mine in zip(dictionaries, latents, strict=True)])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    places = placed(unit, config) if len(unit) else np.zeros((0, 2), dtype=np.float32)
    cluster = clusters_of(unit, places, config)
    middle = medoids(unit, cluster)
    line = _line(np.concatenate([unit[cluster < 0], unit[middle]]), config)
    found = np.concatenate(latents).astype(np.int32)
    return _All(numbers, found, unit, places, cluster, listed(line, cluster, middle), middle)


def _on_the_map(one: Laid) -> NDArray[np.int64]:
    return np.flatnonzero((np.linalg.norm(one.rows, axis=1) > 0) & (one.n_active > 0))


def _line(unit: Floats32, config: MapConfig) -> Floats32:
    """`[n]`, where each row lies on a line: UMAP in one dimension, or the first principal component."""
    if config.layout == "umap" and len(unit) >= FEWEST:
        return placed(unit, config, 1)[:, 0]
    return components(unit, 1)[:, 0] if len(unit) else np.zeros(0, dtype=np.float32)


def _together(dictionaries: Sequence[Laid], every: _All, config: MapConfig) -> Together:
    parts = [(one, every.run == number) for number, one in enumerate(dictionaries)]
    return Together(
        words=how(config, every.unit.shape[1]),
        clusters_by=where(config),
        runs=[_level(one, int(mine.sum())) for one, mine in parts],
        n_alone=int((every.cluster < 0).sum()),
        clusters=_clusters(dictionaries, every),
        figures=joint_figures([Placed(one.run, every.unit[mine], every.cluster[mine]) for one, mine in parts]),
    )


def _level(one: Laid, n_placed: int) -> MapRun:
    n_latents = len(one.rows)
    return MapRun(run=one.run, index=one.index_id, n_latents=n_latents, n_placed=n_placed, differs=one.differs)


def _clusters(dictionaries: Sequence[Laid], every: _All) -> list[JointCluster]:
    said = {
        row: text
        for row, (number, latent) in enumerate(zip(every.run.tolist(), every.latent.tolist(), strict=True))
        if (text := dictionaries[number].said.get(latent))
    }
    words = typical_words(every.cluster, said, N_WORDS)
    order = np.argsort(every.cluster, kind="stable")
    borders = np.searchsorted(every.cluster[order], np.arange(len(words) + 1)).tolist()
    found = []
    for number, typical in enumerate(words):
        rows = order[borders[number] : borders[number + 1]]
        x, y = np.median(every.places[rows], axis=0).tolist()
        of = np.bincount(every.run[rows], minlength=len(dictionaries)).tolist()
        middle = int(every.middle[number])
        found.append(
            JointCluster(
                number=number,
                n=len(rows),
                of={one.run: n for one, n in zip(dictionaries, of, strict=True)},
                x=x,
                y=y,
                place=int(every.place[middle]),
                medoid_run=dictionaries[int(every.run[middle])].run,
                medoid=int(every.latent[middle]),
                words=typical,
            )
        )
    return found


def _of_one(one: Laid, every: _All, number: int, together: Together, others: list[str]) -> MapSummary:
    """The same as a map of one of the dictionaries."""
    mine = every.run == number
    latents, cluster = every.latent[mine], np.full(len(one.rows), NOT_PLACED, dtype=np.int32)
    cluster[latents] = every.cluster[mine]
    n_zero = int(((one.n_active > 0) & (np.linalg.norm(one.rows, axis=1) == 0)).sum())
    return MapSummary(
        words=together.words,
        n_placed=len(latents),
        n_silent=int((one.n_active == 0).sum()),
        n_zero=n_zero,
        n_alone=int((cluster == -1).sum()),
        clusters=described(every.places[mine], cluster, latents, one.said),
        clusters_by=together.clusters_by,
        together=others,
    )


def _table(every: _All) -> pa.Table:
    columns = {"run": every.run, "latent": every.latent, "x": every.places[:, 0], "y": every.places[:, 1]}
    return pa.table(columns | {"cluster": every.cluster, "place": every.place})
