"""Build the feature index: one pass over the data for all latents."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.live import Reader
from sparselex.activations.masks import special_counts
from sparselex.base.artifacts import finished, stage
from sparselex.base.errors import UserError
from sparselex.base.memory import keep_freed_memory
from sparselex.base.progress import progress
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.features.config import IndexConfig
from sparselex.features.directions import logit_effects, neighbours
from sparselex.features.examples import Entries, histograms, interval_examples, top
from sparselex.features.index import FeatureIndex
from sparselex.features.latents import ColumnWriter, groups
from sparselex.features.stats import LatentStatistics
from sparselex.lm.pair import ModelPair
from sparselex.lm.subject import Readout, SubjectModel
from sparselex.text.corpus import TokenCorpus
from sparselex.text.splits import SPLITS


def build_index(
    model: SubjectModel | ModelPair,
    dictionary: Dictionary,
    corpus: TokenCorpus,
    config: IndexConfig,
    to: Path | str,
    *,
    inputs: Mapping[str, str],
) -> FeatureIndex:
    """Read all splits once through `model` and `dictionary` and write the index to `to`.

    `inputs` names the ids of model, dictionary and corpus. A killed build starts again and ends in the same bytes.
    Raises `UserError` when the dictionary reads another width than the hook gives.
    """
    to = Path(to)
    dictionary.check_width(model.width(config.hook), f"Hook {config.hook}")
    if finished(to, "index", config, inputs):
        return FeatureIndex(to, corpus)
    keep_freed_memory()
    reader = Reader(model, corpus, config.hook, config.mask, batch_rows=config.batch_rows, target=config.target or None)
    with stage(to, "index", config, inputs) as staging:
        for old in staging.folder.glob("*.npy"):
            old.unlink()  # of a build that was killed: one pass is short enough to begin again
        statistics = _walk(reader, dictionary, config, staging.folder)
        _write_examples(staging.folder, statistics, corpus, config)
        note = _write_directions(staging.folder, model, dictionary, config)
        _write_table(staging.folder, statistics)
        n_tokens = {split: int(n) for split, n in zip(SPLITS, statistics.n_tokens, strict=True)}
        masks = special_counts(corpus, SPLITS) | {"norm_outlier": reader.n_outliers}
        staging.finish(
            {
                "n_tokens": n_tokens,
                "d_sae": dictionary.d_sae,
                "masks": masks,
                "median_norms": reader.median_norms.tolist(),
                "logits": note,
            }
        )
    return FeatureIndex(to, corpus)


def _walk(reader: Reader, dictionary: Dictionary, config: IndexConfig, folder: Path) -> LatentStatistics:
    corpus = reader.corpus
    n_positions = corpus.n_rows * corpus.n_ctx
    statistics = LatentStatistics(dictionary.d_sae)
    columns = ColumnWriter(folder, dictionary.d_sae, n_positions)
    counted = np.zeros(n_positions, dtype=bool)
    with progress("index", n_indexed(corpus, config), "tokens") as bar, torch.no_grad():
        for split in SPLITS:
            for batch in reader.batches([split], most_rows=config.train_rows if split == "train" else None):
                codes = dictionary.encode_sparse(batch.x.to(dictionary.b_dec.device))
                latents, values = codes.indices.cpu().numpy(), codes.values.cpu().numpy()
                positions = np.repeat(batch.positions, codes.indptr.diff().cpu().numpy())
                statistics.update(split, len(batch.positions), latents, values)
                columns.add(latents, positions, values)
                counted[batch.positions] = True
                bar.advance(reader.batch_rows * corpus.n_ctx)
    columns.finish()
    np.save(folder / "counted.npy", np.packbits(counted))
    return statistics


def n_indexed(corpus: TokenCorpus, config: IndexConfig) -> int:
    """Positions that an index of this configuration reads."""
    train = len(corpus.row_ranges["train"])
    return (corpus.n_rows - train + min(train, config.train_rows or train)) * corpus.n_ctx


def _write_examples(folder: Path, statistics: LatentStatistics, corpus: TokenCorpus, config: IndexConfig) -> None:
    indptr = np.load(folder / "indptr.npy")
    positions, values = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("positions", "values"))
    extremes = statistics.finish()["max"]
    train_end = corpus.row_ranges["train"].stop * corpus.n_ctx
    parts: dict[str, list[NDArray]] = {}
    for group in groups(indptr):
        entries = _entries(indptr, positions, values, group)
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


def _entries(indptr: NDArray, positions: NDArray, values: NDArray, group: slice) -> Entries:
    span = slice(int(indptr[group.start]), int(indptr[group.stop]))
    counts = np.diff(indptr[group.start : group.stop + 1])
    latent = np.repeat(np.arange(len(counts)), counts)
    return Entries(latent, np.asarray(positions[span]).astype(np.int64), np.asarray(values[span]))


def _write_directions(
    folder: Path, model: SubjectModel | ModelPair, dictionary: Dictionary, config: IndexConfig
) -> str:
    """Write neighbours and logit effects; returns what limits the latter."""
    W_dec = dictionary.W_dec.detach().to(model.device)
    near = neighbours(dictionary.directions().to(model.device), config.n_neighbours)
    arrays = {"neighbours": near.places, "neighbour-cosines": near.value}
    note = "direct path through the residual stream; later layers and the final norm's scale are left out"
    try:
        rows, readout, which = _written(model, W_dec, config)
    except UserError as error:
        note = error.given
    else:
        note = which + note
        best, worst = logit_effects(rows, readout.write, readout.unembed, config.n_logits)
        arrays |= {"logits-top": best.places, "logits-top-values": best.value}
        arrays |= {"logits-bottom": worst.places, "logits-bottom-values": worst.value}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array.cpu().numpy())
    return note


def _written(model: SubjectModel | ModelPair, W_dec: Tensor, config: IndexConfig) -> tuple[Tensor, Readout, str]:
    """What of the directions reaches the residual stream in one linear step, how, and of several sites in words which
    of them it is.

    Outputs that a cross-layer transcoder writes are added to one stream, so there it is their sum; the sites of a
    crosscoder are states of the same stream at several moments, and it is the last of them, the second model counting
    as later. Raises `UserError` where no site writes to the stream.
    """
    places = model.places(config.target or config.hook)
    if len(places) == 1:
        return W_dec, places[0].model.readout(places[0].hook), ""
    if config.target and all(place.hook.endswith(("hook_mlp_out", "hook_attn_out")) for place in places):
        rows = torch.stack([W_dec[:, place.columns] for place in places]).sum(0)
        return (
            rows,
            places[-1].model.readout(places[-1].hook),
            f"of what is written to the {len(places)} sites together: ",
        )
    order = {point.name: number for number, point in enumerate(model.hooks())}
    models = [place.model for place in places]
    last = sorted(places, key=lambda place: (models.index(place.model), order.get(place.hook, -1)))
    for place in reversed(last):
        with suppress(UserError):
            which = f"of the part at {place.model.name}:{place.hook}, the last site that writes to the stream: "
            return W_dec[:, place.columns], place.model.readout(place.hook), which
    raise UserError(
        "None of the sites writes to the residual stream in one linear step.",
        "a residual or output site among them",
        "leave logit effects out for these hooks.",
    )


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
