"""How well short rules do for control dictionaries: the search that the dictionary's latents went through, on
directions drawn from each control."""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sparselex.activations.live import Reader, spread
from sparselex.base.figures import Figure
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.moments import target_of
from sparselex.explain.config import ExplainConfig
from sparselex.explain.keys import KeyTable
from sparselex.explain.overall import Tally, counts
from sparselex.explain.rules import Rule
from sparselex.explain.search import RuleSearch, beats
from sparselex.features.counted import Column, CountedTokens, drawn_shift
from sparselex.features.index import FeatureIndex
from sparselex.text.splits import SPLITS, Split

_PREFIX = "explain/rule"


class _Drawn(NamedTuple):
    """Some directions of a control."""

    dictionary: Dictionary

    numbers: NDArray[np.int64]
    """`[n]`, those drawn, ascending."""


Columns = list[Column]
"""Where each of some directions is active in one split, by size."""


def explained_controls(
    reader: Reader, index: FeatureIndex, controls: Mapping[str, Dictionary], *, n_rows: int | None, n_latents: int
) -> dict[str, list[Figure]]:
    """Figures of rules for `n_latents` directions of each control at most, from at most `n_rows` rows of each split
    (None: all that the index was counted on, from which the dictionary's rules come).

    On each token a control has as many active directions as the index has of the dictionary's latents.
    """
    drawn = {name: _draw(name, control, n_latents) for name, control in controls.items()}
    tables: dict[Split, KeyTable] = {}
    columns: dict[str, dict[Split, Columns]] = {name: {} for name in controls}
    for split in SPLITS:
        rows = _rows(index, split, n_rows)
        counted = CountedTokens(index.corpus, _among(index, rows), split)
        tables[split] = KeyTable(counted)
        for name, found in _read(reader, index, drawn, rows, counted).items():
            columns[name][split] = found
    search = RuleSearch(tables["train"], tables["validation"])
    return {name: _figures(drawn[name], columns[name], tables, search) for name in controls}


def _draw(name: str, control: Dictionary, n: int) -> _Drawn:
    numbers = generator(0, "explained", name).permutation(control.d_sae)[:n]
    return _Drawn(control, np.sort(numbers))


def _rows(index: FeatureIndex, split: Split, n_rows: int | None) -> NDArray[np.int64]:
    """Rows of a split of which the index has counted something, ascending and spread over them."""
    there = index.corpus.row_ranges[split]
    counted = index.counted.reshape(index.corpus.n_rows, -1)[there.start : there.stop].any(1)
    rows = there.start + np.flatnonzero(counted)
    return rows[spread(range(len(rows)), n_rows)]


def _among(index: FeatureIndex, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`[n_rows * n_ctx]`, the counted tokens in these rows."""
    chosen = np.zeros((index.corpus.n_rows, index.corpus.n_ctx), dtype=bool)
    chosen[rows] = True
    return index.counted & chosen.reshape(-1)


@torch.no_grad()
def _read(
    reader: Reader, index: FeatureIndex, drawn: Mapping[str, _Drawn], rows: NDArray[np.int64], counted: CountedTokens
) -> dict[str, Columns]:
    found: dict[str, list[_Entries]] = {name: [] for name in drawn}
    places = {name: _places(one) for name, one in drawn.items()}
    n_active, is_counted = index.active_by_position, index.counted
    with progress("rules of controls", len(rows) * index.corpus.n_ctx, "tokens") as bar:
        for part in np.split(rows, np.arange(reader.batch_rows, len(rows), reader.batch_rows)):
            batch = reader.read(part)
            batch = batch.at(is_counted[batch.positions])
            as_sparse = torch.from_numpy(n_active[batch.positions].astype(np.int64))
            for name, (control, _) in drawn.items():
                codes = control.encode_as_sparse(target_of(batch).to(control.b_dec.device), as_sparse)
                directions = places[name][codes.indices.cpu().numpy()]
                kept = np.flatnonzero(directions >= 0)
                positions = np.repeat(batch.positions, codes.indptr.diff().cpu().numpy())[kept]
                found[name].append(_Entries(directions[kept], positions, np.abs(codes.values.cpu().numpy()[kept])))
            bar.advance(len(part) * index.corpus.n_ctx)
    return {name: _by_direction(found.pop(name), len(drawn[name].numbers), counted) for name in drawn}


class _Entries(NamedTuple):
    """Where directions are active, by position."""

    directions: NDArray[np.int16]
    positions: NDArray[np.int64]
    sizes: NDArray[np.float32]


def _places(drawn: _Drawn) -> NDArray[np.int16]:
    """`[d_sae]`, which of those drawn a direction of the control is; -1 for the others."""
    found = np.full(drawn.dictionary.d_sae, -1, dtype=np.int16)
    found[drawn.numbers] = np.arange(len(drawn.numbers))
    return found


def _by_direction(parts: list[_Entries], n: int, counted: CountedTokens) -> Columns:
    """Columns of `n` directions from entries, all of them by position."""
    directions = np.concatenate([part.directions for part in parts])
    order = np.argsort(directions, kind="stable")  # of so small numbers in one pass over their bytes
    ranks = counted.ranks_of(np.concatenate([part.positions for part in parts]))[order]
    sizes = np.concatenate([part.sizes for part in parts])[order].astype(np.float64)
    return [Column(ranks[a:b], sizes[a:b]) for a, b in pairwise(np.searchsorted(directions[order], np.arange(n + 1)))]


def _figures(
    drawn: _Drawn, columns: Mapping[Split, Columns], tables: Mapping[Split, KeyTable], search: RuleSearch
) -> list[Figure]:
    tally = Tally(tables["test"].counted.per_document)
    for place in range(len(drawn.numbers)):
        here = {split: columns[split][place] for split in SPLITS}
        if sum(len(column.ranks) for column in here.values()):
            tally.add(counts(_rule(here, tables, place, search), tables["test"], here["test"]))
    n = sum(table.n for table in tables.values())
    of = f"the directions alive of {len(drawn.numbers):,} drawn from {drawn.dictionary.d_sae:,}, on {n:,} tokens"
    return tally.figures(_PREFIX, of, against_others=False)


def _rule(
    columns: Mapping[Split, Column], tables: Mapping[Split, KeyTable], place: int, search: RuleSearch
) -> Rule | None:
    """The best rule of a direction, if there is enough to see and it beats its null."""
    if len(columns["train"].ranks) < ExplainConfig().min_active:
        return None
    rng = generator(0, "shift", place)
    moved = {
        split: column.shifted(drawn_shift(rng, tables[split].n), tables[split].n) for split, column in columns.items()
    }
    found, null = (search.best(where["train"], where["validation"]) for where in (columns, moved))
    return found.rule if found and beats(found, null) else None
