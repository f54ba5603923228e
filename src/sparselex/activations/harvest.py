"""Harvest: run the model over a corpus and keep what it computes at some sites as shards."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from sparselex.activations.config import HarvestConfig, Precision
from sparselex.activations.int8 import quantise
from sparselex.activations.live import Reader, spread
from sparselex.activations.masks import special_counts
from sparselex.activations.source import Batch, check_finite
from sparselex.activations.store import ActivationStore, shard_name
from sparselex.base.config import Config
from sparselex.base.files import FileEntry, read_json, write_file, write_json
from sparselex.base.memory import keep_freed_memory
from sparselex.base.progress import Bar, progress
from sparselex.base.sites import Sited, Sites
from sparselex.base.staging import Staging, stage
from sparselex.lm.subject import Readable
from sparselex.text.rows import TokenRows

_DONE = "done"


class _Shard(Config):
    """One finished shard, noted beside it while the harvest runs."""

    n: int
    """Tokens kept."""

    n_outliers: int
    """Tokens left out for their norm."""

    file: FileEntry
    """Size and checksum."""


def harvest(model: Readable, corpus: TokenRows, sites: Sites, config: HarvestConfig, to: Path | str) -> ActivationStore:
    """Write the activations at `sites` to `to`, the target's beside them. Killed at any moment and run again, it gives
    the same bytes.

    Each shard covers a fixed range of rows, so a new start keeps whole shards and makes the others. Raises `UserError`
    for an unknown hook, a full disk, activations that are not finite (naming shard and row), or another process at work
    on `to`.
    """
    to = Path(to)
    inputs, asked = {"model": model.id, "corpus": corpus.id}, Sited(sites=sites, options=config)
    with stage(to, "activations", asked, inputs, resumes=True) as staging:
        if staging.made:
            return ActivationStore(to)
        keep_freed_memory()
        reader = Reader(model, corpus, sites, batch_rows=config.batch_rows)
        shards = _shards(reader, list(_spans(corpus, config)), config, staging)
        written = {shard_name(number): shard.file for number, shard in enumerate(shards)}
        staging.finish(_notes(reader, shards, config), files=written)
    return ActivationStore(to)


def _notes(reader: Reader, shards: list[_Shard], config: HarvestConfig) -> dict[str, Any]:
    n_outliers = sum(shard.n_outliers for shard in shards)
    rows = {split: spread(reader.corpus.row_ranges[split], None) for split in config.splits}
    return {
        "d_in": reader.d_in,
        "d_out": reader.d_out,
        "n_tokens": sum(shard.n for shard in shards),
        "shards": [shard.n for shard in shards],
        "median_norms": reader.median_norms.tolist(),
        "masks": special_counts(reader.corpus, rows) | {"norm_outlier": n_outliers},
    }


def _spans(corpus: TokenRows, config: HarvestConfig) -> Iterator[range]:
    for split in config.splits:
        rows = corpus.row_ranges[split]
        for start in range(rows.start, rows.stop, config.shard_rows):
            yield range(start, min(start + config.shard_rows, rows.stop))


def _shards(reader: Reader, spans: list[range], config: HarvestConfig, staging: Staging) -> list[_Shard]:
    """Make every shard that an earlier start has not finished.

    While the model reads the rows of one shard, a thread hashes and writes the one before: two are in memory at most.
    """
    (staging.folder / _DONE).mkdir(exist_ok=True)
    n_ctx = reader.corpus.n_ctx
    made: list[_Shard | Future[_Shard]] = []
    with ThreadPoolExecutor(1) as writer, progress("harvest", sum(map(len, spans)) * n_ctx, "tokens") as bar:
        for number, rows in enumerate(spans):
            kept = _finished_shard(number, staging)
            if kept is None:
                before = reader.n_outliers
                batch = _read(reader, np.arange(rows.start, rows.stop), bar)
                n_outliers = reader.n_outliers - before
                if made and isinstance(made[-1], Future):
                    made[-1] = made[-1].result()
                made.append(writer.submit(_write, batch, n_outliers, number, config, staging))
            else:
                made.append(kept)
                bar.advance(len(rows) * n_ctx)
        return [shard.result() if isinstance(shard, Future) else shard for shard in made]


def _read(reader: Reader, rows: NDArray[np.int64], bar: Bar) -> Batch:
    """The rows of a shard; the bar moves with every pass of the model."""
    parts = []
    for start in range(0, len(rows), reader.batch_rows):
        part = rows[start : start + reader.batch_rows]
        parts.append(reader.read(part))
        bar.advance(len(part) * reader.corpus.n_ctx)
    return Batch.join(parts)


def _finished_shard(number: int, staging: Staging) -> _Shard | None:
    note = read_json(_note(number, staging))
    path = staging.folder / shard_name(number)
    if note is None or not path.exists():
        return None
    shard = _Shard.parse(note)
    return shard if path.stat().st_size == shard.file.n_bytes else None


def _write(batch: Batch, n_outliers: int, number: int, config: HarvestConfig, staging: Staging) -> _Shard:
    # Here and not only when the shard is read: an integer cannot say that it was a NaN.
    check_finite(batch, f"Shard {shard_name(number)}")
    tensors = _packed(batch.x, config.dtype) | {"positions": torch.from_numpy(batch.positions)}
    if batch.target is not None:
        tensors |= {f"target_{name}": value for name, value in _packed(batch.target, config.dtype).items()}
    # Not save_file: it hides why the disk refused.
    entry = write_file(staging.folder / shard_name(number), save(tensors))
    shard = _Shard(n=len(batch.positions), n_outliers=n_outliers, file=entry)
    write_json(_note(number, staging), shard.to_json())
    return shard


def _packed(x: Tensor, dtype: Precision) -> dict[str, Tensor]:
    if dtype == "int8":
        return quantise(x)._asdict()
    return {"acts": x.to(getattr(torch, dtype)).contiguous()}


def _note(number: int, staging: Staging) -> Path:
    return staging.folder / _DONE / f"{number}.json"
