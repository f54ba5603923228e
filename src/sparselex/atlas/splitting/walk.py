"""Splitting: dictionaries of one place in the order of their widths, and what latents of each become in the next."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sparselex.atlas.splitting.config import SplittingConfig
from sparselex.atlas.splitting.dictionaries import Dictionary, beside, moved
from sparselex.atlas.splitting.families import Families, families, without_groups
from sparselex.atlas.splitting.figures import Counted, Counts, splitting_figures
from sparselex.atlas.splitting.links import Held, Links, find_links, held, highest_links
from sparselex.atlas.splitting.records import FILE, KIND, Graph, Level, SplitGraph, Step
from sparselex.atlas.universality.latents import Columns, Told
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.intervals import Floats
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.base.staging import stage


class _Found(NamedTuple):
    """What was found between two dictionaries."""

    step: Step
    links: dict[str, NDArray]
    narrow: dict[str, NDArray]
    """Columns over all narrow latents."""

    wide: dict[str, NDArray]
    """Columns over all wide ones."""


def splitting(
    dictionaries: Sequence[Dictionary], config: SplittingConfig, to: Path, *, inputs: Mapping[str, str]
) -> Graph:
    """Link the latents of each dictionary to those of the next and write the graph to `to`; unchanged work is not done
    again.

    Args:
        dictionaries: two or more of one place and one text, the narrowest first.
        config: how links are found.
        to: where the graph is written.
        inputs: ids of what it is made of.

    Raises `UserError` for an index that keeps a sample of activations, and where one has no latent that is active often
    enough.
    """
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return Graph(to)
        found = [_between(narrow, wide, config) for narrow, wide in pairwise(dictionaries)]
        for number, dictionary in enumerate(dictionaries):
            table = _latents(dictionary.features.d_sae, found, number)
            pq.write_table(pa.table(table), staging.folder / f"latents-{number}.parquet")
        for number, one in enumerate(found):
            pq.write_table(pa.table(one.links), staging.folder / f"links-{number}.parquet")
        levels = [
            Level(run=one.run, index=one.features.id, n_latents=one.features.d_sae, differs=one.differs)
            for one in dictionaries
        ]
        links = {"least_link": config.least_link, "close_link": config.close_link}
        whole = SplitGraph(**links, levels=levels, steps=[one.step for one in found])
        write_json(staging.folder / FILE, whole.to_json())
        Figures(figures=[figure for one in found for figure in one.step.figures]).write(staging.folder)
        staging.finish()
    return Graph(to)


def _between(narrow: Dictionary, wide: Dictionary, config: SplittingConfig) -> _Found:
    there = beside(narrow, wide, config.n_tokens, config.least_active, config.n_groups)
    left, right, chosen, judged, groups, n_groups, sizes = there
    rng = generator(config.seed, "splitting", narrow.run, wide.run)
    bounded, away = moved(left, rng), moved(left, rng)
    with progress(f"{narrow.run} to {wide.run}", 4 * len(left.kept), "latents") as bar:
        # Latents that are active on many tokens are like every other where that is active.
        least = np.maximum(config.least_link, highest_links(bounded.chosen, right.chosen, bar.advance))
        found = _linked(left, right, least, groups, n_groups, bar.advance)
        null = _linked(away, right, least, groups, n_groups, bar.advance)
        among = _linked(left, left, least, groups, n_groups, bar.advance)
    n, bound = (len(left.kept), len(right.kept)), np.maximum(least, config.close_link)
    links = _in_order(found.links.at(found.holds)._replace(value=found.held.value[found.holds]))
    counted = Counted(
        found=families(links, *n),
        null=families(null.links.at(null.holds), *n),
        without=without_groups(found.links, found.held.without, least[found.links.narrow], *n),
        siblings=_counts(among, n[0], least, own=True),
        close=_counts(found, n[0], bound, own=False),
        close_siblings=_counts(among, n[0], bound, own=True),
        close_null=_counts(null, n[0], bound, own=False).found,
        holds=found.holds,
        holds_without=found.held.without >= least[found.links.narrow],
        holds_null=null.holds,
        n_documents=there.n_documents,
    )
    step = Step(
        narrow=narrow.run,
        wide=wide.run,
        n_narrow=n[0],
        n_wide=n[1],
        n_links=len(links.narrow),
        n_tokens=len(chosen.positions),
        n_judged=len(judged.positions),
        n_documents=len(sizes),
        spread=_spread(counted.found),
        spread_null=_spread(counted.null),
        figures=splitting_figures(f"{narrow.run}/{wide.run}", counted, config.least_link, config.close_link),
    )
    table = {
        "narrow": left.kept[links.narrow].astype(np.int32),
        "wide": right.kept[links.wide].astype(np.int32),
        "link": links.value.astype(np.float32),
    }
    own = {"children": counted.found.children, "led": counted.found.led}
    return _Found(
        step,
        table,
        {name: _among(values, left.kept, narrow.features.d_sae) for name, values in own.items()},
        {"parents": _among(counted.found.parents, right.kept, wide.features.d_sae)},
    )


class _Linked(NamedTuple):
    links: Links
    held: Held
    holds: NDArray[np.bool_]


def _linked(
    left: Columns, right: Columns, least: Floats, groups: NDArray[np.int64], n_groups: int, told: Told
) -> _Linked:
    """Links that are found on the tokens that choose, and whether they hold on others."""
    links = find_links(left.chosen, right.chosen, least, told)
    there = held(left.judged, right.judged, links, groups, n_groups)
    return _Linked(links, there, there.value >= least[links.narrow])


def _counts(found: _Linked, n: int, least: Floats, *, own: bool) -> Counts:
    """To how many others each narrow latent is linked, at `least` `[n]` or more, with and without each group of
    documents; `own`: these are of its own dictionary, and it is none of them itself."""
    narrow = found.links.narrow
    others = (narrow != found.links.wide) | (not own)
    count = lambda values: np.bincount(narrow[others & (values >= least[narrow])], minlength=n)
    return Counts(count(found.held.value), [count(one) for one in found.held.without])


def _in_order(links: Links) -> Links:
    order = np.lexsort((links.wide, -links.value, links.narrow))
    return Links(links.narrow[order], links.wide[order], links.value[order])


def _spread(found: Families) -> dict[int, int]:
    return dict(sorted(Counter(found.children.tolist()).items()))


def _latents(d_sae: int, found: Sequence[_Found], level: int) -> dict[str, NDArray]:
    """Columns over all latents of one dictionary."""
    nothing = np.full(d_sae, -1, dtype=np.int32)
    own = found[level].narrow if level < len(found) else {"children": nothing, "led": nothing}
    return {
        "latent": np.arange(d_sae, dtype=np.int32),
        **own,
        **(found[level - 1].wide if level else {"parents": nothing}),
    }


def _among(values: NDArray[np.int64], kept: NDArray[np.int64], d_sae: int) -> NDArray[np.int32]:
    found = np.full(d_sae, -1, dtype=np.int32)
    found[kept] = values
    return found
