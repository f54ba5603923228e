"""Build the feature index: one pass over the data for all latents."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from numpy.typing import NDArray

from sparselex.activations.live import Reader
from sparselex.activations.masks import special_counts
from sparselex.base.errors import UserError
from sparselex.base.memory import keep_freed_memory
from sparselex.base.progress import progress, steps
from sparselex.base.sites import Sited, Sites
from sparselex.base.staging import stage
from sparselex.dictionaries.coder import Coder, check_reads, device_of
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.features.config import IndexConfig
from sparselex.features.directions import logit_effects, neighbours
from sparselex.features.examples import Entries, histograms, interval_examples, top
from sparselex.features.index import FeatureIndex
from sparselex.features.latents import ColumnWriter, groups
from sparselex.features.relations import write_relations
from sparselex.features.sample import TokenSample
from sparselex.features.stats import LatentStatistics
from sparselex.features.stream import written_to_stream
from sparselex.lm.subject import Readable
from sparselex.text.rows import TokenRows, split_positions
from sparselex.text.splits import SPLITS, Split

DIRECT_PATH = (
    "direct path through the residual stream, relative to the median token; later layers and the final norm's scale "
    "are left out, so that the order of tokens says more than the size"
)
"""What logit effects are of, as the index notes it."""

NO_DIRECTIONS = "What was indexed codes activations and has no directions of its own."
"""Why an index has neither logit effects nor neighbours, as it notes it."""


def build_index(
    model: Readable,
    coder: Coder,
    corpus: TokenRows,
    sites: Sites,
    config: IndexConfig,
    to: Path | str,
    *,
    inputs: Mapping[str, str],
) -> FeatureIndex:
    """Read all splits once through `model` at `sites` and code them with `coder`, and write the index to `to`.

    `inputs` names the ids of model, dictionary and corpus. A killed build starts again and ends in the same bytes.
    Raises `UserError` when the coder reads another width than the hooks give.
    """
    to, asked = Path(to), Sited(sites=sites, options=config)
    with stage(to, "index", asked, inputs) as staging:
        if staging.made:
            return FeatureIndex(to, corpus)
        check_reads(coder, sum(map(model.width, sites.hooks)), f"Hook {'+'.join(sites.hooks)}")
        keep_freed_memory()
        reader = Reader(model, corpus, sites, batch_rows=config.batch_rows)
        sample = TokenSample(coder.d_sae, coder.d_in, config.seed, n_indexed(corpus, config))
        statistics = _walk(reader, coder, config, staging.folder, sample)
        _write_examples(staging.folder, statistics, corpus, config)
        limits = _write_directions(staging.folder, model, coder, sites, config, corpus)
        _write_table(staging.folder, statistics)
        related = write_relations(staging.folder, coder, corpus, sample, model.device, config.n_neighbours)
        staging.finish(_notes(reader, statistics) | limits | related)
    return FeatureIndex(to, corpus)


def _notes(reader: Reader, statistics: LatentStatistics) -> dict[str, Any]:
    n_tokens = {split: int(n) for split, n in zip(SPLITS, statistics.n_tokens, strict=True)}
    return {
        "n_tokens": n_tokens,
        "d_sae": statistics.d_sae,
        "masks": special_counts(reader.corpus, SPLITS) | {"norm_outlier": reader.n_outliers},
        "median_norms": reader.median_norms.tolist(),
    }


def _walk(reader: Reader, coder: Coder, config: IndexConfig, folder: Path, sample: TokenSample) -> LatentStatistics:
    corpus = reader.corpus
    n_positions = corpus.n_rows * corpus.n_ctx
    statistics = LatentStatistics(coder.d_sae)
    columns = ColumnWriter(folder, coder.d_sae, n_positions)
    device = device_of(coder)
    counted = np.zeros(n_positions, dtype=bool)
    with progress("index", n_indexed(corpus, config), "tokens") as bar, torch.no_grad():
        for split in SPLITS:
            taken = steps(_n_rows(corpus, split, config), reader.batch_rows)
            batches = reader.batches([split], most_rows=config.train_rows if split == "train" else None)
            for n_rows, batch in zip(taken, batches, strict=True):
                codes = coder.encode_sparse(batch.x.to(device))
                latents, values = codes.indices.cpu().numpy(), codes.values.cpu().numpy()
                indptr = codes.indptr.cpu().numpy()
                positions = np.repeat(batch.positions, np.diff(indptr))
                _check_codes(latents, positions, values)
                statistics.update(split, len(batch.positions), latents, values)
                columns.add(latents, positions, values)
                if split == "train":
                    sample.update(batch.positions, indptr, latents, values, batch.x.numpy())
                counted[batch.positions] = True
                bar.advance(n_rows * corpus.n_ctx)
    columns.finish()
    np.save(folder / "counted.npy", np.packbits(counted))
    return statistics


def _check_codes(latents: NDArray, positions: NDArray[np.int64], values: NDArray[np.float32]) -> None:
    """Raise `UserError` for codes that are not finite: finite weights can make them of finite activations."""
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise UserError(
            f"Latent {latents[bad[0]]} is {values[bad[0]]} at position {positions[bad[0]]} of the corpus.",
            "finite latents",
            "check the dictionary: its weights are too large for what it reads, or belong to another place.",
        )


def n_indexed(corpus: TokenRows, config: IndexConfig) -> int:
    """Positions that an index of this configuration reads."""
    return sum(_n_rows(corpus, split, config) for split in SPLITS) * corpus.n_ctx


def _n_rows(corpus: TokenRows, split: Split, config: IndexConfig) -> int:
    n = len(corpus.row_ranges[split])
    return min(n, config.train_rows or n) if split == "train" else n


def _write_examples(folder: Path, statistics: LatentStatistics, corpus: TokenRows, config: IndexConfig) -> None:
    indptr = np.load(folder / "indptr.npy")
    positions, values = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("positions", "values"))
    extremes = statistics.finish()["max"]
    train_end = split_positions(corpus, "train").stop
    parts: dict[str, list[NDArray]] = {}
    for group in groups(indptr):
        entries = Entries.of_group(indptr, positions, values, group)
        train = entries.take(entries.position < train_end)
        largest = np.abs(extremes[:, group]).max(0)
        peak = np.abs(extremes[SPLITS.index("train"), group])
        best = top(train, peak, corpus.n_ctx, config.n_top)
        drawn, counts = interval_examples(
            train, peak, corpus.n_ctx, config.n_intervals, config.n_per_interval, config.seed
        )
        for name, array in (
            ("histogram", histograms(entries, largest, config.n_bins)),
            ("top-positions", best.position),
            ("top-values", best.value),
            ("interval-counts", counts.reshape(len(peak), -1)),
            ("interval-positions", drawn.position.reshape(len(peak), config.n_intervals, -1)),
            ("interval-values", drawn.value.reshape(len(peak), config.n_intervals, -1)),
        ):
            parts.setdefault(name, []).append(array)
    for name, arrays in parts.items():
        np.save(folder / f"{name}.npy", np.concatenate(arrays))


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
        np.save(folder / f"{name}.npy", array.cpu().numpy())
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


def _write_table(folder: Path, statistics: LatentStatistics) -> None:
    """Statistics by split as arrays for the reader, and the feature table as Parquet for everybody else."""
    columns = statistics.finish()
    for name, array in columns.items():
        np.save(folder / f"statistics-{name}.npy", array)
    n_active = columns["n_active"].sum(0)
    table: dict[str, NDArray] = {"latent": np.arange(statistics.d_sae), "n_active": n_active}
    table["density"] = n_active / max(1, int(statistics.n_tokens.sum()))
    for number, split in enumerate(SPLITS):
        table |= {f"{split}_{name}": array[number] for name, array in columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(table), folder / "features.parquet")
