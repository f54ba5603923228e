"""Harvest: run the model over a corpus and keep the activations of one hook as shards."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveInt
from safetensors.torch import save

from sparselex.activations.live import Reader
from sparselex.activations.masks import MaskConfig, special_counts
from sparselex.activations.source import Batch
from sparselex.activations.store import ActivationStore, shard_name
from sparselex.base.artifacts import Staging, finished, read_json, stage, write_json
from sparselex.base.config import Config
from sparselex.base.progress import progress
from sparselex.lm.subject import SubjectModel
from sparselex.text.corpus import TokenCorpus
from sparselex.text.splits import Split


class HarvestConfig(Config):
    """What is harvested, and how it lies on disk."""

    hook: str
    """Where the model is read."""

    splits: tuple[Split, ...] = ("train",)
    """Splits of the corpus."""

    batch_rows: PositiveInt = 32
    """Rows of the corpus in a forward pass."""

    shard_rows: PositiveInt = 1024
    """Rows of the corpus in a shard, a multiple of `batch_rows` for full speed."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision on disk."""

    mask: MaskConfig = MaskConfig()
    """Tokens left out."""


def harvest(model: SubjectModel, corpus: TokenCorpus, config: HarvestConfig, to: Path | str) -> ActivationStore:
    """Write the activations of `config.hook` to `to`. Killed at any moment and run again, it gives the same bytes.

    Each shard covers a fixed range of rows, so a new start keeps whole shards and makes the others. Raises `UserError` for an
    unknown hook, a full disk, or another process at work on `to`.
    """
    to = Path(to)
    inputs = {"model": model.id, "corpus": corpus.id}
    if finished(to, "activations", config, inputs):
        return ActivationStore(to)
    reader = Reader(model, corpus, config.hook, config.mask, batch_rows=config.batch_rows)
    with stage(to, "activations", config, inputs) as staging:
        spans = list(_spans(corpus, config))
        with progress("harvest", sum(len(span) for span in spans) * corpus.n_ctx, "tokens") as bar:
            notes = []
            for number, rows in enumerate(spans):
                notes.append(_shard(reader, rows, number, config, staging))
                bar.advance(len(rows) * corpus.n_ctx)
        staging.finish(
            {
                "d_in": reader.d_in,
                "n_tokens": sum(note["n"] for note in notes),
                "shards": [note["n"] for note in notes],
                "median_norm": reader.median_norm,
                "masks": special_counts(corpus, config.splits) | {"norm_outlier": sum(n["outliers"] for n in notes)},
            },
            drop=("done",),
        )
    return ActivationStore(to)


def _spans(corpus: TokenCorpus, config: HarvestConfig) -> Iterator[range]:
    for split in config.splits:
        rows = corpus.row_ranges[split]
        for start in range(rows.start, rows.stop, config.shard_rows):
            yield range(start, min(start + config.shard_rows, rows.stop))


def _shard(reader: Reader, rows: range, number: int, config: HarvestConfig, staging: Staging) -> dict[str, int]:
    """Make one shard, or keep it if an earlier start finished it; returns its size and its count of outliers."""
    note_path = staging.folder / "done" / f"{number}.json"
    path = staging.folder / shard_name(number)
    note = read_json(note_path)
    if note is not None and path.exists() and path.stat().st_size == note["bytes"]:
        return note
    before = reader.n_outliers
    batch = reader.read(np.arange(rows.start, rows.stop))
    _write(batch, path, config)
    note = {"n": len(batch.positions), "outliers": reader.n_outliers - before, "bytes": path.stat().st_size}
    note_path.parent.mkdir(exist_ok=True)
    write_json(note_path, note)
    return note


def _write(batch: Batch, path: Path, config: HarvestConfig) -> None:
    aside = path.with_suffix(".aside")
    tensors = {
        "acts": batch.x.to(getattr(torch, config.dtype)).contiguous(),
        "positions": torch.from_numpy(batch.positions),
    }
    aside.write_bytes(save(tensors))  # not save_file: it hides why the disk refused
    os.replace(aside, path)
