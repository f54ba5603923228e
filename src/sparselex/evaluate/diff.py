"""Compare two models by their crosscoder: read both on test documents, follow every latent, write the table."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import PositiveInt

from sparselex.activations.live import Reader
from sparselex.activations.masks import MaskConfig
from sparselex.base.artifacts import finished, stage, write_json
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.memory import keep_freed_memory
from sparselex.base.progress import progress
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.model_diff import LatentDiff, LatentScaling, diff_figures, directions, is_specific
from sparselex.evaluate.records import DIFF, DIFF_CLASSES, LatentDifference, ModelDiff
from sparselex.lm.pair import ModelPair
from sparselex.lm.subject import SubjectModel
from sparselex.text.corpus import TokenCorpus

TABLE = "latents.parquet"


class DiffConfig(Config):
    """On how much two models are compared."""

    n_rows: PositiveInt = 2000
    """Rows of the test split, spread evenly over it."""

    batch_rows: PositiveInt = 32
    """Rows in a forward pass."""

    n_shown: PositiveInt = 20
    """Latents of each model named in the summary; the table has all."""

    least_active: PositiveInt = 100
    """Tokens on which a latent must be active to be named: factors from a few tokens say little."""

    mask: MaskConfig = MaskConfig()
    """Tokens left out."""


@torch.no_grad()
def diff(
    model: SubjectModel | ModelPair,
    dictionary: Dictionary,
    corpus: TokenCorpus,
    hook: str,
    config: DiffConfig,
    to: Path | str,
    *,
    inputs: Mapping[str, str],
) -> ModelDiff:
    """Compare the two models on test documents and write figures and the table of latents to `to`; unchanged work is not done again.

    Raises `UserError` if one model is read, several hooks of two, or two of unequal width.
    """
    if not isinstance(model, ModelPair):
        raise UserError(f"This run reads one model, {model.name}.", "a run on two models",
                        "harvest with --second-model under a --run of its own, and train there.")  # fmt: skip
    found = directions(dictionary)
    to = Path(to)
    if finished(to, "diff", config, inputs):
        return ModelDiff.parse(json.loads((to / DIFF).read_text(encoding="utf-8")), str(to / DIFF))
    keep_freed_memory()
    reader = Reader(model, corpus, hook, config.mask, batch_rows=config.batch_rows)
    with stage(to, "diff", config, inputs) as staging:
        scaling = LatentScaling(found, dictionary.b_dec)
        with progress("diff", min(config.n_rows, len(corpus.row_ranges["test"])) * corpus.n_ctx, "tokens") as bar:
            for batch in reader.batches(["test"], most_rows=config.n_rows):
                codes = dictionary.encode_sparse(batch.x)
                scaling.update(batch.x, codes, dictionary.decode_sparse(codes))
                bar.advance(len(batch.positions))
        latents = scaling.finish()
        summary = ModelDiff(
            models=(model.first.name, model.second.name),
            n_tokens=scaling.n_tokens,
            n_latents={name: int(((latents.label == name) & (latents.n_active > 0)).sum()) for name in DIFF_CLASSES},
            n_silent=int((latents.n_active == 0).sum()),
            figures=diff_figures(latents, scaling.n_tokens),
            most_specific={name: _most_specific(latents, name, config) for name in ("only_a", "only_b")},
        )
        write_json(staging.folder / DIFF, summary.to_json())
        write_table(latents, staging.folder / TABLE)
        staging.finish()
    return summary


def write_table(found: LatentDiff, to: Path) -> None:
    """One row for each latent: its number, everything in `LatentDiff` (the class as text, the own model as `a` or `b`), and whether it is
    specific. What is not known is null."""
    columns = {"latent": pa.array(range(len(found.own)), pa.int32())}
    for name, values in found._asdict().items():
        if name == "own":
            columns["own"] = pa.array(["ab"[number] for number in values])
        elif name == "label":
            columns["class"] = pa.array(values.tolist())
        else:
            columns[name] = pa.array(values, from_pandas=True)  # NaN becomes null
    columns["specific"] = pa.array(is_specific(found), mask=found.n_active == 0)
    pq.write_table(pa.table(columns), to)


def _most_specific(found: LatentDiff, name: str, config: DiffConfig) -> list[LatentDifference]:
    """Latents of one class by the larger of their two ratios, smallest first."""
    known = np.isfinite(found.nu_error) & np.isfinite(found.nu_reconstruction)
    which = (found.label == name) & (found.n_active >= config.least_active) & known
    chosen = [
        LatentDifference(
            latent=j, relative_norm=float(found.relative_norm[j]), cosine=float(found.cosine[j]), n_active=int(found.n_active[j]),
            nu_error=float(found.nu_error[j]), nu_reconstruction=float(found.nu_reconstruction[j]),
        )
        for j in which.nonzero()[0].tolist()
    ]  # fmt: skip
    return sorted(chosen, key=lambda one: max(one.nu_error, one.nu_reconstruction))[: config.n_shown]
