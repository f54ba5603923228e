"""Build the feature index: one pass over the data for all latents."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from numpy.typing import NDArray

from sparselex.activations.live import Reader, rows_at_once
from sparselex.activations.masks import special_counts
from sparselex.base.errors import UserError
from sparselex.base.files import read_json, remove, write_json
from sparselex.base.memory import keep_freed_memory
from sparselex.base.progress import Bar, progress, steps
from sparselex.base.sites import Sited, Sites
from sparselex.base.staging import Staging, stage, watched
from sparselex.dictionaries.coder import Coder, check_reads, device_of
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.features.chunks import Chunk, ChunkFiles, Read, indexed_rows, planned
from sparselex.features.config import IndexConfig
from sparselex.features.directions import logit_effects, neighbours
from sparselex.features.drawn import counts_by_split, drawn_tokens
from sparselex.features.examples import Entries
from sparselex.features.folded import FoldedFiles
from sparselex.features.index import FeatureIndex
from sparselex.features.kept import Kept, measured_of
from sparselex.features.latents import Columns, ColumnWriter, joined
from sparselex.features.measured import Measured, measured
from sparselex.features.ranges import MOST_ENTRIES, groups
from sparselex.features.relations import write_relations
from sparselex.features.sample import Sampling
from sparselex.features.stats import log_histograms
from sparselex.features.stream import written_to_stream
from sparselex.lm.subject import Readable
from sparselex.text.rows import TokenRows
from sparselex.text.splits import SPLITS

DIRECT_PATH = (
    "direct path through the residual stream, relative to the median of 512 to 1,023 tokens at even distances in the "
    "vocabulary (of all of a smaller one); later layers and the final norm's scale are left out, so that the order of "
    "tokens says more than the size"
)
"""What logit effects are of, as the index notes it."""

NO_DIRECTIONS = "What was indexed codes activations and has no directions of its own."
"""Why an index has neither logit effects nor neighbours, as it notes it."""


In = TypeVar("In")
Out = TypeVar("Out")

_FEWEST_CODED, _MOST_CODED = 256, 1 << 23
"""Tokens that are coded at a time at least, and what they have of latents together at most: 32 MB where all of them are
computed before most are dropped."""

_CHUNKS, _BEGUN = ".chunks", "begun.json"


class Totals(NamedTuple):
    """Sums over all that was read."""

    n_tokens: NDArray[np.int64]
    """`[n_splits]`, tokens that statistics are of."""

    n_counted: NDArray[np.int64]
    """`[n_splits]`, tokens that were not masked: the same, but where some of each row are drawn."""

    n_outliers: int
    """Tokens left out for their norm."""


def build_index(
    model: Readable,
    coder: Coder,
    corpus: TokenRows,
    sites: Sites,
    config: IndexConfig,
    to: Path | str,
    *,
    inputs: Mapping[str, str],
    ranks: Ranks = ALONE,
) -> FeatureIndex:
    """Read all splits once through `model` at `sites` and code them with `coder`, and write the index to `to`.

    `inputs` names the ids of model, dictionary and corpus; `ranks` are the processes that build it together, each of
    which calls this with the same arguments and reads its share of the rows. Killed at any moment and run again, by as
    many processes or others, a build goes on after the last chunk of rows and ends in the same bytes. Raises
    `UserError` when the coder reads another width than the hooks give.
    """
    to, asked = Path(to), Sited(sites=sites, options=config)
    if ranks.is_main:
        check_reads(coder, sum(map(model.width, sites.hooks)), f"Hook {'+'.join(sites.hooks)}")
    with _staged(to, asked, inputs, ranks) as staging:
        if not staging.made:
            keep_freed_memory()
            reader = Reader(model, corpus, sites, batch_rows=_batch_rows(staging, config, model, corpus, ranks))
            sampling = Sampling.of(corpus, coder, config)
            files = _files(reader, coder, config, staging.folder / _CHUNKS, ranks)
            _walk(reader, coder, files, sampling, ranks)
            if ranks.is_main:
                _begin_anew(staging.folder)
                totals = _write_evidence(staging.folder, files, corpus, config)
                limits = _write_directions(staging.folder, model, coder, sites, config, corpus)
                sampled = sampling.sampled(staging.folder, files, corpus) if isinstance(files, ChunkFiles) else None
                limits |= write_relations(staging.folder, coder, corpus, sampled, model.device, config.n_neighbours)
                staging.finish(_notes(reader, coder, config, totals) | limits)
        ranks.wait()
    return FeatureIndex(to, corpus)


@contextmanager
def _staged(to: Path, asked: Sited, inputs: Mapping[str, str], ranks: Ranks) -> Iterator[Staging]:
    """The stage of an index: the first process opens it, the others write chunks into its folder."""
    if not ranks.is_main:
        ranks.wait()
        yield watched(to, "index", asked, inputs)
        return
    with stage(to, "index", asked, inputs, resumes=True) as staging:
        ranks.wait()
        yield staging


def _batch_rows(staging: Staging, config: IndexConfig, model: Readable, corpus: TokenRows, ranks: Ranks) -> int:
    """Rows in a forward pass: as many as when the build began, since the last digits of what a model gives depend on
    it."""
    path = staging.folder / _CHUNKS / _BEGUN
    if ranks.is_main and read_json(path) is None:
        path.parent.mkdir(exist_ok=True)
        write_json(path, config.batch_rows or rows_at_once(model, corpus.n_ctx))
    ranks.wait()
    return int(read_json(path) or 1)


def _begin_anew(folder: Path) -> None:
    """Take away what an earlier start has written behind the chunks: it may be half of a file."""
    for path in folder.glob("*.npy"):
        remove(path)


def _notes(reader: Reader, coder: Coder, config: IndexConfig, totals: Totals) -> dict[str, Any]:
    return {
        "n_tokens": {split: int(n) for split, n in zip(SPLITS, totals.n_tokens, strict=True)},
        "d_sae": coder.d_sae,
        "masks": special_counts(reader.corpus, indexed_rows(reader.corpus, config))
        | {"norm_outlier": totals.n_outliers},
        "median_norms": reader.median_norms.tolist(),
        "sampled": not config.store,
        "n_counted": {split: int(n) for split, n in zip(SPLITS, totals.n_counted, strict=True)},
    }


def _files(reader: Reader, coder: Coder, config: IndexConfig, folder: Path, ranks: Ranks) -> ChunkFiles | FoldedFiles:
    """Where the chunks of the index go: with every activation, or with what stays of them."""
    corpus, chunks = reader.corpus, planned(reader.corpus, config, reader.batch_rows)
    if config.store:
        return ChunkFiles(folder, chunks, coder.d_sae, corpus)
    return FoldedFiles(folder, chunks, coder.d_sae, corpus, config, _share(len(chunks), ranks))


def _share(n_chunks: int, ranks: Ranks) -> range:
    """The chunks of this process: neighbours, which it can merge by itself."""
    return range(n_chunks * ranks.data // ranks.n_data, n_chunks * (ranks.data + 1) // ranks.n_data)


def _walk(reader: Reader, coder: Coder, files: ChunkFiles | FoldedFiles, sampling: Sampling, ranks: Ranks) -> None:
    """Make every chunk that no earlier start has finished, of those of this process.

    While the model reads the rows of one chunk, a thread orders and writes the one before: two are in memory at most.
    """
    corpus = reader.corpus
    mine = [files.chunks[number] for number in _share(len(files.chunks), ranks)]
    n_tokens = sum(len(chunk.rows) for chunk in mine) * corpus.n_ctx
    waiting: list[Future[None]] = []
    with (
        ThreadPoolExecutor(1) as writer,
        progress("index", n_tokens, "tokens", shown=ranks.is_main) as bar,
        torch.no_grad(),
    ):
        for chunk in mine:
            if files.has(chunk):
                bar.advance(len(chunk.rows) * corpus.n_ctx)
                continue
            read = _read(reader, coder, chunk, sampling, bar)
            for written in waiting:
                written.result()
            waiting = [writer.submit(files.write, chunk, read)]
        for written in waiting:
            written.result()
    ranks.wait()


def _read(reader: Reader, coder: Coder, chunk: Chunk, sampling: Sampling, bar: Bar) -> Read:
    """The codes of a chunk's rows; the bar moves with every pass of the model."""
    positions, codes, kept, before, device = [], [], [], reader.n_outliers, device_of(coder)
    taken = steps(len(chunk.rows), reader.batch_rows)
    for n_rows, batch in zip(taken, reader.checked(chunk.rows, chunk.split), strict=True):
        positions.append(batch.positions)
        for x in batch.x.split(max(_FEWEST_CODED, _MOST_CODED // coder.d_sae)):
            found = coder.encode_sparse(x.to(device))
            # Copies: a dictionary may give the beginning of an array that has room for far more.
            parts = (found.indptr, found.indices.int(), found.values)
            codes.append(tuple(part.cpu().numpy().copy() for part in parts))
        if chunk.split == "train":
            read = torch.from_numpy(sampling.read(batch.positions))
            kept.append(batch.x[read].float().cpu().numpy())
        bar.advance(n_rows * reader.corpus.n_ctx)
    return Read(positions, codes, reader.n_outliers - before, kept)


def _write_evidence(folder: Path, files: ChunkFiles | FoldedFiles, corpus: TokenRows, config: IndexConfig) -> Totals:
    """Write columns, and what follows from them: statistics, histograms, examples, tokens."""
    if isinstance(files, FoldedFiles):
        kept = files.whole()
        arrays, totals = measured_of(kept, corpus, config), _write_kept(folder, kept)
    else:
        totals = _write_counted(folder, files, corpus, config)
        arrays = _write_columns(folder, files, corpus, config)
    table = _statistics(arrays, totals)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", _small(array, corpus))
    _write_table(folder, table, arrays, totals)
    return totals


def _write_kept(folder: Path, kept: Kept) -> Totals:
    """Write the places that stay, and how often each token was counted."""
    for name, array in (("indptr", kept.indptr), ("positions", kept.position), ("values", kept.value)):
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "token-counts.npy", kept.token_counts)
    return Totals(kept.n_tokens, kept.n_tokens, int(kept.n_outliers[0]))


def _write_columns(folder: Path, files: ChunkFiles, corpus: TokenRows, config: IndexConfig) -> dict[str, NDArray]:
    """Write every activation; returns what is kept of each latent beside, by name."""
    columns, parts = Columns(files), list[Measured]()
    ranges, drawn = groups(columns.indptr, MOST_ENTRIES), _drawn(folder, corpus, config)
    work = lambda latents: _measured(*columns.group(latents), corpus, config, drawn)
    with ColumnWriter(folder, columns.indptr, files.dtype) as writer:
        for entries, part in _in_order(work, ranges, torch.get_num_threads()):
            writer.write(entries)
            parts.append(part)
    arrays = joined([part.arrays for part in parts])
    arrays["log-histogram"], arrays["log-edges"] = log_histograms([part.log_counts for part in parts])
    return arrays


def _drawn(folder: Path, corpus: TokenRows, config: IndexConfig) -> NDArray[np.bool_] | None:
    """`[n_rows * n_ctx]`, which tokens were drawn; None where all count."""
    if config.tokens_per_row is None:
        return None
    return np.unpackbits(np.load(folder / "drawn.npy"), count=corpus.n_rows * corpus.n_ctx).astype(bool)


def _measured(
    entries: Entries,
    counts: NDArray[np.int64],
    corpus: TokenRows,
    config: IndexConfig,
    drawn: NDArray[np.bool_] | None,
) -> tuple[Entries, Measured]:
    """`measured`, of the entries at drawn tokens alone where only some count; the columns themselves stay whole."""
    if drawn is None:
        return measured(entries, counts, corpus, config)
    chosen = entries.take(drawn[entries.position])
    return entries, measured(chosen, counts_by_split(chosen, counts.shape[1], corpus), corpus, config)[1]


def _in_order(work: Callable[[In], Out], items: Iterable[In], n_threads: int) -> Iterator[Out]:
    """What `work` makes of each, in order; a few of them are under way at a time."""
    waiting: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        for item in items:
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, item))
        while waiting:
            yield waiting.popleft().result()


def _write_counted(folder: Path, files: ChunkFiles, corpus: TokenRows, config: IndexConfig) -> Totals:
    """Write which positions were counted and which of them drawn, and how often each token stands at these."""
    counted, drawn = (np.zeros(corpus.n_rows * corpus.n_ctx, dtype=bool) for _ in range(2))
    flat, n_outliers = corpus.tokens.reshape(-1), 0
    n_tokens, n_counted = (np.zeros(len(SPLITS), dtype=np.int64) for _ in range(2))
    token_counts = np.zeros(max(len(corpus.vocabulary), int(flat.max(initial=0)) + 1), dtype=np.int64)
    for chunk, positions in zip(files.chunks, files.counted(), strict=True):
        counted[positions] = True
        n_counted[SPLITS.index(chunk.split)] += len(positions)
        chosen = positions[drawn_tokens(positions, corpus.n_ctx, config)]
        drawn[chosen] = True
        token_counts += np.bincount(flat[chosen], minlength=len(token_counts))
        n_tokens[SPLITS.index(chunk.split)] += len(chosen)
        n_outliers += files.counts(chunk)["n_outliers"]
    np.save(folder / "counted.npy", np.packbits(counted))
    if config.tokens_per_row is not None:
        np.save(folder / "drawn.npy", np.packbits(drawn))
    np.save(folder / "token-counts.npy", token_counts)
    return Totals(n_tokens, n_counted, n_outliers)


def _small(array: NDArray, corpus: TokenRows) -> NDArray:
    """Counts and positions in half the bytes, where the text is short enough for them."""
    is_whole = array.dtype == np.int64 and corpus.n_rows * corpus.n_ctx < 2**31
    return array.astype(np.int32) if is_whole else array


def _statistics(arrays: dict[str, NDArray], totals: Totals) -> dict[str, NDArray]:
    """`[n_splits, d_sae]` columns: n_active, mean, mean_square, max. They take the place of the sums in `arrays`."""
    n = np.maximum(totals.n_tokens, 1)[:, None]
    found = {
        "n_active": arrays.pop("n_active").T,
        "mean": arrays.pop("sum").T / n,
        "mean_square": arrays.pop("sum_square").T / n,
        "max": arrays.pop("max").T,
    }
    arrays |= {f"statistics-{name}": np.ascontiguousarray(array) for name, array in found.items()}
    return found


def _write_directions(
    folder: Path, model: Readable, coder: Coder, sites: Sites, config: IndexConfig, corpus: TokenRows
) -> dict[str, str]:
    """Write neighbours and logit effects; returns what limits either, or why it is missing."""
    if not isinstance(coder, Dictionary):
        return {"logits": NO_DIRECTIONS, "neighbours": NO_DIRECTIONS}
    near = neighbours(coder.directions().to(model.device), config.n_neighbours)
    arrays = {"neighbours": near.places.int(), "neighbour-cosines": near.value}
    try:
        written = written_to_stream(model, coder.W_dec.detach().to(model.device), sites)
    except UserError as error:
        note = error.given
    else:
        ranked = torch.from_numpy(ranked_tokens(corpus, config.logit_count)).to(model.device)
        among = f"ranked are the {len(ranked):,} of {len(corpus.vocabulary):,} tokens that stand in the text"
        often = f" {config.logit_count:,} times or more" if config.logit_count > 1 else ""
        note = f"{written.which}{DIRECT_PATH}" + (f"; {among}{often}" if len(ranked) < len(corpus.vocabulary) else "")
        effects = logit_effects(written.rows, written.write, written.unembed[:, ranked], config.n_logits)
        for name, found in (("top", effects.raised), ("bottom", effects.lowered)):
            arrays |= {f"logits-{name}": ranked[found.places].int(), f"logits-{name}-values": found.value}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", (array if array.is_floating_point() else array.int()).cpu().numpy())
    return {"logits": note, "neighbours": ""}


def ranked_tokens(corpus: TokenRows, least: int) -> NDArray[np.int64]:
    """`[n]`, ascending: the tokens that stand `least` times or more in the text of all splits, whose logits are ranked.
    Of the tokenizer's own tokens always: padded vocabularies have more rows in their unembedding. All of these where
    hardly any stands in the text."""
    n_vocab, counts = len(corpus.vocabulary), np.zeros(len(corpus.vocabulary), dtype=np.int64)
    for start in range(0, corpus.n_rows, _ROWS_COUNTED):
        rows = slice(start, min(start + _ROWS_COUNTED, corpus.n_rows))
        there = np.asarray(corpus.tokens[rows])[corpus.text_mask(rows)]
        counts += np.bincount(there, minlength=n_vocab)[:n_vocab]
    found = np.flatnonzero(counts >= least)
    return found if len(found) >= _FEWEST_RANKED else np.arange(n_vocab)


_ROWS_COUNTED, _FEWEST_RANKED = 8192, 100


def _write_table(folder: Path, columns: Mapping[str, NDArray], arrays: Mapping[str, NDArray], totals: Totals) -> None:
    """The feature table as Parquet for everybody but the reader, which has the arrays."""
    n_active, share = columns["n_active"].sum(0), arrays["tally-counts"][:, 0] / np.maximum(arrays["tally-total"], 1)
    table: dict[str, NDArray] = {"latent": np.arange(len(n_active)), "n_active": n_active}
    table["density"] = n_active / max(1, int(totals.n_tokens.sum()))
    table |= {"token": arrays["tally-tokens"][:, 0], "token_share": share}
    for number, split in enumerate(SPLITS):
        table |= {f"{split}_{name}": array[number] for name, array in columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(table), folder / "features.parquet")
