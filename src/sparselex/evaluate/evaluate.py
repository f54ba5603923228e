"""Evaluate a run: the dictionary, control dictionaries on the same activations, and the densities of its latents."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sparselex.activations.live import Reader, spread
from sparselex.base.artifacts import finished, stage, write_json
from sparselex.base.figures import Figure
from sparselex.base.intervals import bootstrap_interval
from sparselex.base.memory import keep_freed_memory
from sparselex.base.sites import Sites
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.config import EvaluateConfig
from sparselex.evaluate.controls import control_dictionaries
from sparselex.evaluate.core import Floats, core_figures, core_sums, moments, pooled, training_sample
from sparselex.evaluate.records import DensityHistogram, Evaluation
from sparselex.features.index import FeatureIndex
from sparselex.lm.subject import Readable

FIGURES = "evaluation.json"


def evaluate(
    model: Readable,
    dictionary: Dictionary,
    index: FeatureIndex,
    hook: str,
    config: EvaluateConfig,
    to: Path | str,
    *,
    inputs: Mapping[str, str],
    target: str | None = None,
) -> Evaluation:
    """Measure on test documents and write the evaluation to `to`; unchanged work is not done again.

    A transcoder reads `hook` and is judged at `target`; its baselines are autoencoders of the target. With several
    sites the figures of `core/` are averages over sites (each in its own units, spliced alone), and each site has its
    own under `core/<model>:<hook>/`.
    """
    to = Path(to)
    if finished(to, "evaluation", config, inputs):
        return Evaluation.model_validate_json((to / FIGURES).read_text(encoding="utf-8"))
    keep_freed_memory()
    at = Sites.at(hook, target, mask=config.mask)
    reader = Reader(model, index.corpus, at, batch_rows=config.batch_rows)
    with stage(to, "evaluation", config, inputs) as staging:
        found_moments = moments(reader, config.moment_rows)
        k = max(1, round(float(index.table["n_active"].sum() / max(1, index.n_tokens_total))))
        controls = control_dictionaries(
            config.controls,
            found_moments,
            lambda: training_sample(reader, config.moment_rows),
            d_sae=dictionary.d_sae,
            k=k,
            n_steps=config.pursuit_steps,
        )
        rows = spread(index.corpus.row_ranges["test"], config.n_rows)
        sums = core_sums(reader, {"dictionary": dictionary}, found_moments.mean, rows, baselines=controls)
        sites = [f"{place.model.name}:{place.hook}" for place in reader.written]
        found = Evaluation(
            figures=_figures(sums.pop("dictionary"), sites) + latent_figures(index, config.dense_above),
            baselines={name: _figures(part, sites) for name, part in sums.items()},
            density=density_histogram(index),
        )
        write_json(staging.folder / FIGURES, json.loads(found.model_dump_json()))
        staging.finish({"k_controls": k})
    return found


def _figures(sums: list[dict[str, Floats]], sites: list[str]) -> list[Figure]:
    found = core_figures(pooled(sums))
    if len(sums) > 1:
        for site, part in zip(sites, sums, strict=True):
            found += core_figures(part, f"core/{site}")
    return found


def latent_figures(index: FeatureIndex, dense_above: float) -> list[Figure]:
    """Shares of latents that are alive, dead and dense, with intervals over latents."""
    density = index.table["density"]
    n = index.d_sae
    where = f"of {n:,} latents, over {index.n_tokens_total:,} counted tokens; 95 % bootstrap interval over latents"
    shares = {
        "alive_share": (density > 0, "active on at least one token"),
        "dead_share": (density == 0, "never active"),
        "dense_share": (density > dense_above, f"active on more than {dense_above:.0%} of tokens"),
    }
    figures = []
    for name, (which, words) in shares.items():
        found = bootstrap_interval(np.stack([which, np.ones(n)], axis=1), lambda s: s[..., 0] / s[..., 1], n_draws=200)
        figures.append(
            Figure(
                name=f"core/{name}",
                value=found.value,
                ci_low=found.low,
                ci_high=found.high,
                n=n,
                definition=f"share {words}, {where}",
            )
        )
    return figures


def density_histogram(index: FeatureIndex, n_bins: int = 40) -> DensityHistogram:
    """log10 density of all living latents in equal bins from one token in the corpus to every token."""
    density = index.table["density"]
    edges = np.linspace(np.log10(1 / max(2, index.n_tokens_total)), 0, n_bins + 1)
    alive = density[density > 0]
    counts = np.histogram(np.log10(alive).clip(edges[0], 0), edges)[0]
    return DensityHistogram(edges=edges.tolist(), counts=counts.tolist(), n_dead=int((density == 0).sum()))
