"""Evaluate a run: the dictionary, what its explanations predict, control dictionaries on the same activations, and the
densities of its latents."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparselex.activations.live import Reader
from sparselex.base.estimates import Estimate
from sparselex.base.figures import Figure
from sparselex.base.files import fingerprint
from sparselex.base.memory import keep_freed_memory
from sparselex.base.sites import Sited, Sites
from sparselex.base.staging import stage
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.config import LOOKUPS, PAIR_LOOKUP, TOKEN_LOOKUP, EvaluateConfig
from sparselex.evaluate.controls import control_dictionaries, made_from
from sparselex.evaluate.core import AT_MEAN, core_sums
from sparselex.evaluate.core_figures import core_estimates, pooled
from sparselex.evaluate.explained import explained_controls
from sparselex.evaluate.latents import density_histogram, latent_figures
from sparselex.evaluate.metrics import METRICS, WHAT, SiteSums
from sparselex.evaluate.moments import Moments, moments, training_sample
from sparselex.evaluate.records import Evaluation, Influences
from sparselex.evaluate.rows import rows_to_judge
from sparselex.evaluate.subjects import AsExplained, InPlaceOf, Itself, PairLookup, Subject, TokenLookup, not_spliced
from sparselex.explain.predictions import Predictions
from sparselex.explain.records import Explanation
from sparselex.features.index import FeatureIndex
from sparselex.lm.subject import Readable
from sparselex.text.rows import TokenRows

_SELF, _EXPLAINED = "dictionary", "explanations"

OF_EXPLAINED = ("loss_recovered_mean", "fvu", "ce_increase", "kl")
"""Metrics of what explanations predict, the foremost first."""


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
    explanations: Sequence[Explanation] = (),
) -> Evaluation:
    """Measure on test documents and write the evaluation to `to`; unchanged work is not done again.

    A transcoder is judged at what it writes; its control dictionaries are autoencoders of that. With several sites the
    figures of `core/` are of all sites' sums together (squares in each site's own units, each spliced alone), and each
    site has its own under `core/<model>:<hook>/`. The figures of `explained/` are those of the dictionary's decoder on
    what `explanations` predict. `asked_l0` is what the dictionary was trained for, if it was for an L0, for the report
    to say how far it is off.
    """
    to, sited = Path(to), Sited(sites=sites, options=config)
    with stage(to, "evaluation", sited, inputs) as staging:
        if staging.made:
            return Evaluation.read(to)
        keep_freed_memory()
        reader = Reader(model, index.corpus, sites, batch_rows=config.batch_rows)
        at = moments(reader, config.moment_rows)
        k = max(1, round(float(index.table["test_n_active"].sum()) / max(1, index.n_tokens["test"])))
        controls = control_dictionaries(
            config.controls,
            at.mean,
            at.covariance,
            lambda: training_sample(reader, config.moment_rows),
            d_sae=dictionary.d_sae,
            k=k,
            n_steps=config.pursuit_steps,
        )
        measured, influences = _measured(reader, dictionary, controls, at, explanations, config)
        of_rules = explained_controls(
            reader,
            index,
            {name: control for name, control in controls.items() if name in config.controls_explained},
            n_rows=config.explained_rows,
            n_latents=config.explained_latents,
        )
        found = Evaluation(
            figures=measured.pop(_SELF) + latent_figures(index, config.dense_above),
            controls={name: figures + of_rules.get(name, []) for name, figures in measured.items()},
            density=density_histogram(index),
            influences=influences,
        )
        found.write(staging.folder)
        staging.finish({"asked_l0": asked_l0})
    return found


def _measured(
    reader: Reader,
    dictionary: Dictionary,
    controls: Mapping[str, Dictionary],
    at: Moments,
    explanations: Sequence[Explanation],
    config: EvaluateConfig,
) -> tuple[dict[str, list[Figure]], Influences]:
    """Core figures of the dictionary, of what explanations predict of it, and of controls, which have as many active
    latents on each token where they can choose. And what they owe to each document."""
    rows, corpus = rows_to_judge(reader.corpus, config.n_rows), reader.corpus
    subjects: dict[str, Subject] = {_SELF: Itself(dictionary)}
    subjects |= {TOKEN_LOOKUP: TokenLookup(at, corpus), PAIR_LOOKUP: PairLookup(at, corpus)}
    subjects |= {name: InPlaceOf(control, _SELF) for name, control in controls.items()}
    why_not = not_spliced(dictionary, explanations)
    if not why_not:
        subjects[_EXPLAINED] = AsExplained(dictionary, Predictions(explanations), corpus)
    sums = core_sums(reader, subjects, at.mean, rows)
    sites = [f"{place.model.name}:{place.hook}" for place in reader.written]
    explained, at_mean = sums.pop(_EXPLAINED, None), sums.pop(AT_MEAN)
    found = {name: _estimates(part, at_mean, sites) for name, part in sums.items()}
    for lookup in LOOKUPS if explanations else ():
        found[lookup] = _explained(sums[lookup], at_mean) + found[lookup]
    if explained:
        found[_SELF] = _explained(explained, at_mean) + found[_SELF]
    figures = {name: [one.figure for one in part] for name, part in found.items()}
    if explanations and why_not:
        figures[_SELF] = _not_explained(why_not) + figures[_SELF]
    for name in (*LOOKUPS, *controls):
        figures[name] = [_told(figure, made_from(name, at, controls)) for figure in figures[name]]
    return figures, _influences(found, corpus, rows)


def _told(figure: Figure, more: str) -> Figure:
    return figure.model_copy(update={"definition": f"{figure.definition}; {more}"})


_PREDICTED = "what the explanations predict, decoded"


def _explained(sums: list[SiteSums], at_mean: list[SiteSums]) -> list[Estimate]:
    return core_estimates(pooled(sums), pooled(at_mean), "explained", OF_EXPLAINED, _PREDICTED, len(sums))


def _not_explained(why: str) -> list[Figure]:
    return [
        Figure(name=f"explained/{name}", definition=METRICS.get(name).words.replace(WHAT, _PREDICTED), failure=why)
        for name in OF_EXPLAINED
    ]


def _influences(found: Mapping[str, Sequence[Estimate]], corpus: TokenRows, rows: NDArray[np.int64]) -> Influences:
    documents = np.unique(corpus.documents[rows])
    return Influences(
        rows=fingerprint([corpus.id, rows.tolist()]),
        documents=[corpus.names[int(document)] for document in documents if document >= 0],
        subjects={
            "" if name == _SELF else name: {
                one.figure.name: one.jackknife.influences.tolist()
                for one in part
                if one.figure.value is not None and np.isfinite(one.jackknife.influences).all()
            }
            for name, part in found.items()
        },
    )


def _estimates(sums: list[SiteSums], at_mean: list[SiteSums], sites: list[str]) -> list[Estimate]:
    found = core_estimates(pooled(sums), pooled(at_mean), n_sites=len(sums))
    if len(sums) > 1:
        for site, part, null in zip(sites, sums, at_mean, strict=True):
            found += core_estimates(part, null, f"core/{site}")
    return found
