"""Measure what the model does without each latent of a run, and without each direction of control dictionaries."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from torch import Tensor

from sparselex.activations.live import Reader
from sparselex.base.errors import UserError
from sparselex.base.figures import FIGURES, Figures
from sparselex.base.files import fingerprint, make_folder, write_file
from sparselex.base.memory import keep_freed_memory
from sparselex.base.progress import progress
from sparselex.base.sites import Sited, Sites
from sparselex.base.staging import stage
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.controls import control_dictionaries
from sparselex.evaluate.effects.config import EffectsConfig
from sparselex.evaluate.effects.figures import causal_figures
from sparselex.evaluate.effects.measured import AtPlaces, measured
from sparselex.evaluate.effects.nulls import Directions
from sparselex.evaluate.effects.records import COLUMNS, KIND, TABLE, EffectsIndex
from sparselex.evaluate.effects.subjects import Subject, of_controls, of_dictionary
from sparselex.evaluate.effects.tables import Measured, table
from sparselex.evaluate.moments import training_sample
from sparselex.evaluate.rows import rows_to_judge
from sparselex.evaluate.versions import in_rows
from sparselex.features.index import FeatureIndex
from sparselex.lm.subject import Readable, SubjectModel

_SAMPLE_ROWS = 1024
"""Training rows, spread over all of them, from which covariance and controls are taken."""

_SELF = "dictionary"
_PARTS = "parts"


@torch.no_grad()
def effects(
    model: Readable,
    dictionary: Dictionary,
    index: FeatureIndex,
    sites: Sites,
    config: EffectsConfig,
    to: Path | str,
    *,
    inputs: Mapping[str, str],
) -> EffectsIndex:
    """Measure what the model does without each latent, and write the artifact to `to`; unchanged work is not done
    again, and a killed measurement goes on and ends in the same bytes.

    What is taken away is what the index has of a latent's activation, times its direction; the dictionary's error and
    all other latents stay as they are. Raises `UserError` for two models read side by side, and where an ablation
    leaves the model without finite numbers.
    """
    to, sited = Path(to), Sited(sites=sites, options=config)
    with stage(to, KIND, sited, inputs, resumes=True) as staging:
        if staging.made:
            return EffectsIndex(to)
        one = _single(model)
        keep_freed_memory()
        reader = Reader(model, index.corpus, sites, batch_rows=config.batch_rows)
        rows = rows_to_judge(index.corpus, config.n_rows)
        subjects = {_SELF: of_dictionary(one, dictionary, index, sites, rows, config)}
        sample = training_sample(reader, _SAMPLE_ROWS)
        controls = _controls(sample, dictionary, index, config)
        subjects |= of_controls(reader, one, controls, index, rows, config)
        directions = Directions.drawn(sample, subjects[_SELF].latents.columns, config.seed)
        found = _walk(reader, one, subjects, directions, config, staging.folder)
        figures = {name: causal_figures(part, config, subjects[name].words) for name, part in found.items()}
        files = _write(found[_SELF], staging.folder)
        Figures(figures=figures.pop(_SELF), controls=figures).write(staging.folder)
        staging.finish({"n_latents": len(found[_SELF].latents)}, files=dict.fromkeys([*files, FIGURES]))
    return EffectsIndex(to)


def _single(model: Readable) -> SubjectModel:
    if isinstance(model, SubjectModel):
        return model
    raise UserError(
        "Effects of latents of two models read side by side were asked for.",
        "a run of one model, which is edited",
        "name a run of one of them.",
    )


def _controls(
    sample: Tensor, dictionary: Dictionary, index: FeatureIndex, config: EffectsConfig
) -> dict[str, Dictionary]:
    return control_dictionaries(
        config.controls,
        sample.mean(0),
        torch.cov(sample.double().T),
        lambda: sample,
        d_sae=dictionary.d_sae,
        k=max(1, round(float(index.table["test_n_active"].sum()) / max(1, index.n_tokens["test"]))),
        n_steps=config.pursuit_steps,
    )


def _walk(
    reader: Reader,
    model: SubjectModel,
    subjects: Mapping[str, Subject],
    directions: Directions,
    config: EffectsConfig,
    folder: Path,
) -> dict[str, Measured]:
    """The effects of all subjects, some rows at a time; those that an earlier start has written are read."""
    make_folder(folder / _PARTS)
    found = {}
    total = sum(len(subject.places.latent) for subject in subjects.values())
    with progress("effects", total, "places") as bar:
        for name, subject in subjects.items():
            whole = AtPlaces.none(len(subject.places.latent), config, model.n_vocab)
            for part in in_rows(subject.places.position, reader.corpus.n_ctx, reader.batch_rows):
                # With less memory free a later start takes fewer rows at a time: a part is told by what is in it.
                path = folder / _PARTS / f"{name}-{fingerprint(part.tolist())}.npz"
                if not path.exists():
                    here = measured(reader, model, subject.latents, subject.places.of(part), directions, config)
                    _keep(here, path)
                with np.load(path) as kept:
                    for column, values in whole._asdict().items():
                        values[part] = kept[column]
                bar.advance(len(part))
            found[name] = Measured.of(subject.places, whole, reader.corpus)
    return found


def _keep(found: AtPlaces, path: Path) -> None:
    written = io.BytesIO()
    np.savez(written, **found._asdict())
    write_file(path, written.getvalue())


def _write(found: Measured, folder: Path) -> list[str]:
    """The table of latents, and a file for each column of the places; gives their names."""
    # What each column is stands in the file, for whoever reads it elsewhere.
    pyarrow.parquet.write_table(pyarrow.table(table(found)).replace_schema_metadata(COLUMNS), folder / TABLE)
    columns = found.places._asdict() | found.effects._asdict()
    columns["latent"], columns["kind"] = columns["latent"].astype(np.int32), columns["kind"].astype(np.int8)
    for name, column in columns.items():
        np.save(folder / f"{name}.npy", column)
    return [TABLE, *(f"{name}.npy" for name in columns)]
