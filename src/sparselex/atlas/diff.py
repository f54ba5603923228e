"""Compare two models by their crosscoder: read both on test documents, follow every latent, write the table."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from sparselex.activations.live import Reader
from sparselex.atlas.config import DiffConfig
from sparselex.atlas.difference import LatentDiff, diff_figures, directions, is_specific
from sparselex.atlas.records import DIFF, DIFF_CLASSES, LATENTS, LatentDifference, ModelDiff
from sparselex.atlas.scaling import LatentScaling
from sparselex.base.artifacts import record_of
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.memory import keep_freed_memory
from sparselex.base.progress import progress, steps
from sparselex.base.sites import Sited, Sites
from sparselex.base.staging import stage
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.lm.pair import ModelPair
from sparselex.lm.subject import Readable
from sparselex.text.rows import TokenRows


@torch.no_grad()
def diff(
    model: Readable,
    dictionary: Dictionary,
    corpus: TokenRows,
    sites: Sites,
    config: DiffConfig,
    to: Path | str,
    *,
    inputs: Mapping[str, str],
) -> ModelDiff:
    """Compare the two models on test documents and write figures, summary and the table of latents to `to`; unchanged
    work is not done again.

    Raises `UserError` if one model is read, several hooks of two, or two of unequal width.
    """
    names, found = _both_names(model), directions(dictionary)
    to, sited = Path(to), Sited(sites=sites, options=config)
    with stage(to, "diff", sited, inputs) as staging:
        if staging.made:
            return record_of(ModelDiff, to, DIFF)
        keep_freed_memory()
        reader = Reader(model, corpus, sites, batch_rows=config.batch_rows)
        scaling = LatentScaling(found, dictionary.b_dec)
        add_test_rows(scaling, reader, dictionary, config.n_rows)
        latents = scaling.finish()
        summary = _summary(latents, names, scaling.n_tokens, config)
        Figures(figures=summary.figures).write(staging.folder)
        write_json(staging.folder / DIFF, summary.to_json())
        write_table(latents, staging.folder / LATENTS)
        staging.finish()
    return summary


def _both_names(model: Readable) -> tuple[str, str]:
    if isinstance(model, ModelPair):
        return model.first.name, model.second.name
    raise UserError(
        f"This run reads one model, {model.name}.",
        "a run on two models",
        "harvest with --second-model under a --run of its own, and train there.",
    )


def add_test_rows(scaling: LatentScaling, reader: Reader, dictionary: Dictionary, n_rows: int) -> None:
    """Add at most `n_rows` rows of the test documents, coded where the dictionary lies."""
    n_ctx, n = reader.corpus.n_ctx, min(n_rows, len(reader.corpus.row_ranges["test"]))
    batches = zip(steps(n, reader.batch_rows), reader.batches(["test"], most_rows=n_rows), strict=True)
    with progress("diff", n * n_ctx, "tokens") as bar:
        for n_read, batch in batches:
            codes = dictionary.encode_sparse(batch.x.to(dictionary.b_dec.device))
            scaling.update(batch.x, codes.cpu(), dictionary.decode_sparse(codes).cpu())
            bar.advance(n_read * n_ctx)


def _summary(found: LatentDiff, models: tuple[str, str], n_tokens: int, config: DiffConfig) -> ModelDiff:
    active = found.n_active > 0
    return ModelDiff(
        models=models,
        n_tokens=n_tokens,
        n_latents={name: int((active & (found.label == name)).sum()) for name in DIFF_CLASSES},
        n_silent=int((~active).sum()),
        figures=diff_figures(found, n_tokens),
        most_specific={name: _most_specific(found, name, config) for name in ("only_a", "only_b")},
    )


def write_table(found: LatentDiff, to: Path) -> None:
    """One row for each latent: its number, everything in `LatentDiff` (the class as text, the own model as `a` or `b`),
    and whether it is specific. What is not known is null."""
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
            latent=j,
            relative_norm=float(found.relative_norm[j]),
            cosine=float(found.cosine[j]),
            n_active=int(found.n_active[j]),
            nu_error=float(found.nu_error[j]),
            nu_reconstruction=float(found.nu_reconstruction[j]),
        )
        for j in which.nonzero()[0].tolist()
    ]
    return sorted(chosen, key=lambda one: max(one.nu_error, one.nu_reconstruction))[: config.n_shown]
