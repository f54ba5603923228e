"""A run's features and sparse activations as Parquet files, which DuckDB, Polars and pandas read as they are.

| file | a row | sorted by |
|---|---|---|
| `features.parquet` | a latent | `latent` |
| `activations.parquet` | a place at which a latent is active | `latent`, `position` |
| `tokens.parquet` | a token of the corpus | `position` |
| `documents.parquet` | a document | `document` |
| `explanations.parquet` | what an explainer says of a latent | `latent` |
| `scores.parquet` | a score of an explanation | `latent` |
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray
from pyarrow.parquet import ParquetWriter, SortingColumn

from sparselex.base.files import check_room, new_folder
from sparselex.base.progress import progress
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.recipes.run import Run
from sparselex.recipes.stages.export import Export
from sparselex.text.rows import TokenRows
from sparselex.text.splits import SPLITS, Split

ROW_GROUP = 122_880
"""Rows in a group, DuckDB's own size: a query for one latent reads the groups that have it, and no others."""

_ENTRY_BYTES = 12
"""Of an activation, before compression: never less room is asked for than is taken."""

ACTIVATIONS = pyarrow.schema(
    [("latent", pyarrow.uint32()), ("position", pyarrow.int64()), ("value", pyarrow.float32())]
)
_WORDS = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
TOKENS = pyarrow.schema(
    [
        ("position", pyarrow.int64()),
        ("row", pyarrow.int32()),
        ("column", pyarrow.int32()),
        ("document", pyarrow.int32()),
        ("split", _WORDS),
        ("token", pyarrow.int32()),
        ("text", _WORDS),
        ("counted", pyarrow.bool_()),
    ]
)
EXPLANATIONS = pyarrow.schema(
    [("latent", pyarrow.uint32()), *((name, pyarrow.string()) for name in ("explainer", "status", "title", "text"))]
)
SCORES = pyarrow.schema(
    [
        ("latent", pyarrow.uint32()),
        *((name, pyarrow.string()) for name in ("explainer", "scorer", "metric")),
        *((name, pyarrow.float64()) for name in ("value", "ci_low", "ci_high", "null")),
        ("n", pyarrow.int64()),
    ]
)


def write_parquet(run: Run, stage: Export) -> None:
    """Write the tables to a new folder. Raises `UserError` without an index, for an existing folder, and where the disk
    has no room."""
    run.manifest("index")
    index = run.index
    latents = sorted(stage.chosen(index.d_sae))
    n_entries = int(index.table["n_active"][latents].sum())
    with new_folder(stage.to) as folder:
        check_room(folder, _ENTRY_BYTES * (n_entries + index.corpus.tokens.size))
        _write(folder / "features.parquet", iter([_features(index, latents)]), ["latent"])
        with progress("export", n_entries, "activations") as bar:
            batches = _activations(index, latents)
            _write(folder / "activations.parquet", _counted(batches, bar.advance), ["latent", "position"])
        _write(folder / "tokens.parquet", _tokens(index), ["position"])
        names = index.corpus.names
        documents = {"document": np.arange(len(names), dtype=np.int32), "name": names}
        _write(folder / "documents.parquet", iter([pyarrow.table(documents)]), ["document"])
        for name, table in _words(ExplanationStore(run.workspace.database), index.id, latents).items():
            _write(folder / f"{name}.parquet", iter([table]), ["latent"])


def _write(path: Path, tables: Iterator[pyarrow.Table], order: Sequence[str]) -> None:
    """Write tables of one form behind each other, in row groups with the least and largest value of every column."""
    first = next(tables)
    sorting = [SortingColumn(first.schema.get_field_index(name)) for name in order]
    with ParquetWriter(path, first.schema, compression="zstd", sorting_columns=sorting) as file:
        for table in chain([first], tables):
            if table.num_rows:  # an empty group would have no least and no largest value
                file.write_table(table, row_group_size=ROW_GROUP)


def _features(index: FeatureIndex, latents: Sequence[int]) -> pyarrow.Table:
    columns = {name: column[latents] for name, column in index.table.items()}
    return pyarrow.table({"latent": np.array(latents, dtype=np.uint32), **columns})


def _activations(index: FeatureIndex, latents: Sequence[int]) -> Iterator[pyarrow.Table]:
    """All activations of some latents, in tables of several row groups."""
    waiting: list[tuple[NDArray, NDArray, NDArray]] = []
    n_waiting = 0
    yield ACTIVATIONS.empty_table()
    for latent in latents:
        positions, values = index.column(latent)
        waiting.append((np.full(len(values), latent, dtype=np.uint32), positions, values))
        n_waiting += len(values)
        if n_waiting >= 8 * ROW_GROUP:
            yield _joined(waiting)
            waiting, n_waiting = [], 0
    if n_waiting:
        yield _joined(waiting)


def _joined(parts: list[tuple[NDArray, NDArray, NDArray]]) -> pyarrow.Table:
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return pyarrow.table(columns, schema=ACTIVATIONS)


def _counted(tables: Iterator[pyarrow.Table], advance: Any) -> Iterator[pyarrow.Table]:
    for table in tables:
        yield table
        advance(table.num_rows)


def _tokens(index: FeatureIndex) -> Iterator[pyarrow.Table]:
    """Every token of the corpus with its text, rows of the corpus at a time."""
    corpus = index.corpus
    vocabulary = corpus.vocabulary
    texts = pyarrow.array([vocabulary.text(token) for token in range(len(vocabulary) + 1)])
    splits = _splits(corpus)
    for start in range(0, max(1, corpus.n_rows), step := max(1, 8 * ROW_GROUP // corpus.n_ctx)):
        rows = np.arange(start, min(start + step, corpus.n_rows), dtype=np.int32)
        positions = (rows[:, None].astype(np.int64) * corpus.n_ctx + np.arange(corpus.n_ctx)).reshape(-1)
        tokens = np.asarray(corpus.tokens[start : start + step]).reshape(-1).astype(np.int32)
        named = pyarrow.DictionaryArray.from_arrays(np.minimum(tokens, len(vocabulary)), texts)
        columns = [
            positions,
            np.repeat(rows, corpus.n_ctx),
            np.tile(np.arange(corpus.n_ctx, dtype=np.int32), len(rows)),
            np.asarray(corpus.documents[start : start + step]).reshape(-1).astype(np.int32),
            pyarrow.DictionaryArray.from_arrays(np.repeat(splits[rows], corpus.n_ctx), pyarrow.array(SPLITS)),
            tokens,
            named,
            index.counted[positions],
        ]
        yield pyarrow.table(columns, schema=TOKENS)


def _splits(corpus: TokenRows) -> NDArray[np.int32]:
    """`[n_rows]`, the number of each row's split."""
    found = np.zeros(corpus.n_rows, dtype=np.int32)
    for number, split in enumerate[Split](SPLITS):
        rows = corpus.row_ranges[split]
        found[rows.start : rows.stop] = number
    return found


def _words(store: ExplanationStore, index_id: str, latents: Sequence[int]) -> dict[str, pyarrow.Table]:
    """What is said of the latents, and how well it predicts."""
    said = [one for latent in latents for one in store.of_latent(index_id, latent)]
    scores = [{"latent": latent, **dict(one)} for latent in latents for one in store.scores(index_id, latent=latent)]
    told = [{name: getattr(one, name) for name in EXPLANATIONS.names} for one in said]
    return {
        "explanations": pyarrow.Table.from_pylist(told, schema=EXPLANATIONS),
        "scores": pyarrow.Table.from_pylist(scores, schema=SCORES),
    }
