"""Relatives: which latents of a run, and of others beside it, are active only where a wider one is, and two texts for
each pair that tell them apart."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sparselex.atlas.relatives.config import RelativesConfig
from sparselex.atlas.relatives.containment import Bounds, Held, Inside, find_inside, held_inside
from sparselex.atlas.relatives.figures import Kept, Telling, kept_figures, telling_figures
from sparselex.atlas.relatives.records import FILE, KIND, NOWHERE, PAIRS, Among, Kin, Kinship, Relatives
from sparselex.atlas.relatives.telling import Texts, seek_texts
from sparselex.atlas.splitting.dictionaries import Beside, Dictionary, beside, moved
from sparselex.atlas.splitting.links import Links, held
from sparselex.atlas.splitting.records import Level
from sparselex.atlas.universality.latents import Columns, Told
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.intervals import Floats
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.base.staging import stage


def relatives(
    dictionaries: Sequence[Dictionary], config: RelativesConfig, to: Path, *, inputs: Mapping[str, str]
) -> Relatives:
    """Find the relatives of a run's latents among its own and those of other dictionaries, with texts that tell each
    pair apart, and write them to `to`; unchanged work is not done again.

    Args:
        dictionaries: of one place and one text, the run's own first.
        config: how relatives and texts are found.
        to: where they are written.
        inputs: ids of what they are made of.

    Raises `UserError` for an index that keeps a sample of activations, and where one has no latent that is active often
    enough.
    """
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return Relatives(to)
        run = dictionaries[0]
        found = [_among(run, other, number, config) for number, other in enumerate(dictionaries)]
        columns = [_columns(one, number) for number, one in enumerate(found)]
        whole = {name: np.concatenate([one[name] for one in columns]) for name in Kin._fields}
        pq.write_table(pa.table(whole), staging.folder / PAIRS)
        kinship = Kinship(
            least_contained=config.least_contained,
            least_ratio=config.least_ratio,
            n_before=config.n_before,
            least_told=config.least_told,
            dictionaries=[
                Level(run=one.run, index=one.features.id, n_latents=one.features.d_sae, differs=one.differs)
                for one in dictionaries
            ],
            among=[one.among for one in found],
        )
        write_json(staging.folder / FILE, kinship.to_json())
        Figures(figures=[figure for one in found for figure in one.among.figures]).write(staging.folder)
        staging.finish()
    return Relatives(to)


class _Found(NamedTuple):
    """What was found between the run and one dictionary."""

    among: Among
    pairs: Inside
    """Pairs of relatives, by the numbers of their latents."""

    shares: tuple[Floats, Floats, Floats]
    """Of each how far it lies inside, the same by chance, and the ratio of sizes."""

    links: Floats
    """How alike the two are."""

    texts: Texts


class _Related(NamedTuple):
    """Pairs of training documents, and how they are on test documents."""

    pairs: Inside
    held: Held
    holds: NDArray[np.bool_]


def _among(run: Dictionary, other: Dictionary, number: int, config: RelativesConfig) -> _Found:
    there = beside(run, other, config.n_tokens, config.least_active, config.n_groups)
    left, right, n = there.left, there.right, len(there.left.kept)
    rng = generator(config.seed, "relatives", run.run, other.run)
    bounds = Bounds(config.least_contained, config.least_ratio, config.least_errors)
    with progress(f"{run.run} in {other.run}", 2 * n, "latents") as bar:
        found = _related(left, there, bounds, bar.advance)
        null = _related(moved(left, rng), there, bounds, bar.advance)
    once = found.pairs.wider | (number > 0)  # among the run's own latents a pair is found from both sides
    kept = Kept(
        having=_having(found.pairs, found.holds, n),
        without=_without(found, bounds, n),
        null=_having(null.pairs, null.holds, n),
        holds=found.holds[once],
        holds_without=found.held.without.within(bounds)[:, once],
        holds_null=null.holds,
        n_documents=there.n_documents,
    )
    stays = found.holds & once
    pairs, whole = found.pairs.at(stays), found.held.whole
    unmeasured = Links(pairs.left, pairs.right, np.zeros(len(pairs.left)))
    links = held(left.judged, right.judged, unmeasured, there.groups, there.n_groups).value
    texts = seek_texts(there, run.features.corpus, pairs, _foremost(pairs, links, config.most_pairs), config, rng)
    among = Among(
        run=other.run,
        n_own=n,
        n_other=len(right.kept),
        n_pairs=len(pairs.left),
        n_texts=int((texts.both != NOWHERE).sum()),
        n_tokens=len(there.chosen.positions),
        n_judged=len(there.judged.positions),
        n_documents=len(there.sizes),
        figures=[*kept_figures(other.run, kept), *telling_figures(other.run, _telling(texts))],
    )
    numbers = Inside(left.kept[pairs.left], right.kept[pairs.right], pairs.wider)
    return _Found(among, numbers, (whole.contained[stays], whole.chance[stays], whole.ratio[stays]), links, texts)


def _related(left: Columns, there: Beside, bounds: Bounds, told: Told) -> _Related:
    pairs = find_inside(left.chosen, there.right.chosen, bounds, told)
    found = held_inside(left.judged, there.right.judged, pairs, there.groups, there.n_groups)
    return _Related(pairs, found, found.whole.within(bounds))


_SIDES = {"narrower": False, "wider": True}


def _having(pairs: Inside, holds: NDArray[np.bool_], n: int) -> dict[str, NDArray[np.bool_]]:
    """Which latents have a relative on either side."""
    return {name: pairs.at(holds).having(n, wider=wider) for name, wider in _SIDES.items()}


def _without(found: _Related, bounds: Bounds, n: int) -> dict[str, NDArray[np.bool_]]:
    """The same without each group of documents."""
    each = [_having(found.pairs, holds, n) for holds in found.held.without.within(bounds)]
    return {name: np.stack([one[name] for one in each]) for name in _SIDES}


def _foremost(pairs: Inside, links: Floats, most: int) -> NDArray[np.int64]:
    """The closest relative of every latent first, then the second of each, and so on."""
    order = np.lexsort((-links, pairs.left))
    starts = np.searchsorted(pairs.left[order], pairs.left[order])
    place = np.arange(len(order)) - starts
    return np.sort(order[np.argsort(place, kind="stable")[:most]])


def _telling(texts: Texts) -> Telling:
    there = texts.both != NOWHERE
    return Telling(
        differing=texts.differing[there],
        at_random=texts.at_random[there],
        before=texts.back[there] > 0,
        told=texts.told[there],
        without=texts.without[:, there],
        null=texts.told_null[there],
        covered=texts.covered[there],
        n_documents=texts.n_documents,
    )


def _columns(found: _Found, number: int) -> dict[str, NDArray]:
    """Columns over the pairs of the run with one dictionary."""
    pairs, (contained, chance, ratio), texts = found.pairs, found.shares, found.texts
    own, other = np.zeros(len(pairs.left), dtype=np.int16), np.full(len(pairs.left), number, dtype=np.int16)
    return {
        **dict(_sides("narrow", (own, pairs.left), (other, pairs.right), pairs.wider)),
        **dict(_sides("wide", (other, pairs.right), (own, pairs.left), pairs.wider)),
        "contained": contained.astype(np.float32),
        "chance": chance.astype(np.float32),
        "ratio": ratio.astype(np.float32),
        "link": found.links.astype(np.float32),
        "both": texts.both,
        "only": texts.only,
        "differing": texts.differing.astype(np.int32),
        "back": texts.back.astype(np.int32),
        "at_random": texts.at_random.astype(np.float32),
        "told": texts.told.astype(np.float32),
        "told_null": texts.told_null.astype(np.float32),
        "n_told": texts.n_told.astype(np.int32),
        "covered": texts.covered.astype(np.float32),
    }


def _sides(
    name: str, one: tuple[NDArray, NDArray], other: tuple[NDArray, NDArray], wider: NDArray[np.bool_]
) -> Iterator[tuple[str, NDArray]]:
    yield f"{name}_of", np.where(wider, one[0], other[0])
    yield name, np.where(wider, one[1], other[1]).astype(np.int32)
