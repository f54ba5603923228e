"""Evaluate a run: the dictionary, control dictionaries on the same activations, and the densities of its latents."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sparselex.activations.live import Reader
from sparselex.base.estimates import Estimate
from sparselex.base.figures import Figure
from sparselex.base.memory import keep_freed_memory
from sparselex.base.sites import Sited, Sites
from sparselex.base.staging import stage
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.config import EvaluateConfig
from sparselex.evaluate.controls import control_dictionaries
from sparselex.evaluate.core import Subject, core_sums
from sparselex.evaluate.core_figures import core_estimates, pooled
from sparselex.evaluate.latents import density_histogram, latent_figures
from sparselex.evaluate.metrics import SiteSums
from sparselex.evaluate.moments import moments, training_sample
from sparselex.evaluate.records import Evaluation, Influences
from sparselex.evaluate.rows import rows_to_judge
from sparselex.features.index import FeatureIndex
from sparselex.lm.subject import Readable

_SELF = "dictionary"


def evaluate(
    model: Readable,
    dictionary: Dictionary,
    index: FeatureIndex,
    sites: Sites,
    config: EvaluateConfig,
    to: Path | str,
    *,
    inputs: Mapping[str, str],
    asked_l0: float | None = None,
) -> Evaluation:
    """Measure on test documents and write the evaluation to `to`; unchanged work is not done again. `asked_l0` is what
    the dictionary was trained for, if it was for an L0, for the report to say how far it is off.

    A transcoder is judged at what it writes; its control dictionaries are autoencoders of that. With several sites the
    figures of `core/` are averages over sites (each in its own units, spliced alone), and each site has its own under
    `core/<model>:<hook>/`.
    """
    to, sited = Path(to), Sited(sites=sites, options=config)
    with stage(to, "evaluation", sited, inputs) as staging:
        if staging.made:
            return Evaluation.read(to)
        keep_freed_memory()
        reader = Reader(model, index.corpus, sites, batch_rows=config.batch_rows)
        k = max(1, round(float(index.table["test_n_active"].sum()) / max(1, index.n_tokens["test"])))
        measured, influences = _measured(reader, dictionary, config, k)
        found = Evaluation(
            figures=measured.pop(_SELF) + latent_figures(index, config.dense_above),
            controls=measured,
            density=density_histogram(index),
            influences=influences,
        )
        found.write(staging.folder)
        staging.finish({"asked_l0": asked_l0})
    return found


def _measured(
    reader: Reader, dictionary: Dictionary, config: EvaluateConfig, k: int
) -> tuple[dict[str, list[Figure]], Influences]:
    """Core figures of the dictionary, and of control dictionaries with as many active latents on each token; those that
    cannot choose how many take `k`. And what they owe to each document."""
    at = moments(reader, config.moment_rows)
    controls = control_dictionaries(
        config.controls,
        at,
        lambda: training_sample(reader, config.moment_rows),
        d_sae=dictionary.d_sae,
        k=k,
        n_steps=config.pursuit_steps,
    )
    rows = rows_to_judge(reader.corpus, config.n_rows)
    subjects = {_SELF: Subject(dictionary)} | {name: Subject(control, _SELF) for name, control in controls.items()}
    sums = core_sums(reader, subjects, at.mean, rows)
    sites = [f"{place.model.name}:{place.hook}" for place in reader.written]
    found = {name: _estimates(part, sites) for name, part in sums.items()}
    documents = np.unique(reader.corpus.documents[rows])
    influences = Influences(
        documents=[reader.corpus.names[int(document)] for document in documents if document >= 0],
        subjects={
            "" if name == _SELF else name: {
                one.figure.name: one.jackknife.influences.tolist()
                for one in part
                if one.figure.value is not None and np.isfinite(one.jackknife.influences).all()
            }
            for name, part in found.items()
        },
    )
    return {name: [one.figure for one in part] for name, part in found.items()}, influences


def _estimates(sums: list[SiteSums], sites: list[str]) -> list[Estimate]:
    found = core_estimates(pooled(sums))
    if len(sums) > 1:
        for site, part in zip(sites, sums, strict=True):
            found += core_estimates(part, f"core/{site}")
    return found
