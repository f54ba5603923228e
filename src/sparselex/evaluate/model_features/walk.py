"""What the model reads of a run's dictionary: from gradients to figures beside those of other directions."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from sparselex.activations.live import Reader
from sparselex.base.errors import UserError
from sparselex.base.estimates import Apart, figure_of, interval_figure, mean_figure, median_figure
from sparselex.base.figures import Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.intervals import Jackknife, effective_units, even_groups
from sparselex.base.progress import progress
from sparselex.base.seeds import derive
from sparselex.base.sites import Hook
from sparselex.base.staging import stage
from sparselex.dictionaries.controls.rows import covariance_matched_rows
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.controls import control_dictionaries
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.model_features.gradients import gradients
from sparselex.evaluate.model_features.records import FILE, KIND, LatentRelevance, ModelFeatures
from sparselex.evaluate.model_features.relevance import Floats, OutputMetric, in_span
from sparselex.evaluate.moments import training_sample
from sparselex.evaluate.rows import rows_to_judge
from sparselex.lm.subject import SubjectModel

_LATENTS, _NULL = "latents", "covariance"
_GROUPS = 30
"""Groups of documents that are left out in turn."""

_LEAST_DOCUMENTS = 5
"""Documents below which nothing can be said of others."""

_TOKENS = 4096
"""Tokens that are coded at a time."""


def model_features(
    model: SubjectModel,
    reader: Reader,
    hook: Hook,
    dictionary: Dictionary,
    config: ModelFeaturesConfig,
    to: Path,
    *,
    inputs: Mapping[str, str],
) -> ModelFeatures:
    """Measure what the model reads of an autoencoder at `hook`, and leave it as the artifact `to`; unchanged work is
    not done again.

    Raises `UserError` for a model without gradients, a site that nothing reads, a dictionary that is never active, and
    for fewer than five documents to test on.
    """
    with stage(to, KIND, config, inputs) as staging:
        if not staging.made:
            found = _measured(model, reader, hook, dictionary, config)
            write_json(staging.folder / FILE, found.to_json())
            Figures(figures=found.figures, controls=found.controls).write(staging.folder)
            staging.finish()
    return ModelFeatures.from_file(to / FILE)


class _Told(NamedTuple):
    """All that figures are made of."""

    metric: OutputMetric
    span: Float[Tensor, "d r"]
    n_documents: float
    """Documents of one size that would tell as much."""

    floor: float
    """Relevance that all but a few directions drawn as the activations vary have."""


@torch.no_grad()
def _measured(
    model: SubjectModel, reader: Reader, hook: Hook, dictionary: Dictionary, config: ModelFeaturesConfig
) -> ModelFeatures:
    sample = training_sample(reader, config.sample_rows)
    variances = _variances(dictionary, sample)
    alive = (variances > 0).nonzero()[:, 0]
    if not len(alive):
        raise UserError(
            "No latent is active on training text.", "a dictionary that says something", "train it longer, or sparser."
        )
    covariance, rows = torch.cov(sample.double().T), rows_to_judge(reader.corpus, config.n_rows)
    directions = {_LATENTS: _unit(dictionary.directions())[alive], **_controls(sample, covariance, config)}
    documents = np.asarray(reader.corpus.documents[rows])
    names, sizes = np.unique(documents[documents >= 0], return_counts=True)
    if len(names) < _LEAST_DOCUMENTS:
        raise UserError(
            f"There are {len(names)} documents to test on.",
            f"{_LEAST_DOCUMENTS} or more: figures are uncertain over documents",
            "harvest more text, or give the test split a larger share (--shares).",
        )
    groups = even_groups(sizes.astype(np.float64), _GROUPS)
    metric = OutputMetric(directions, covariance, int(groups.max()) + 1)
    with progress("gradients", len(rows) * reader.corpus.n_ctx, "tokens") as bar, torch.enable_grad():
        for found, owners in gradients(model, reader, hook, rows, config.seed, config.batch_rows):
            metric.add(found, torch.from_numpy(groups[np.searchsorted(names, owners)]))
            bar.advance(len(found))
    if metric.through.sum() <= 0:
        raise UserError(f"Nothing that differs at {hook} is read.", "a site that is read", "name another site.")
    floor = float(np.quantile(metric.relevance(_NULL), config.unread_below))
    told = _Told(metric, metric.read_span(config.read_share), effective_units(sizes), floor)
    shares = {_LATENTS: variances[alive].numpy()}
    figures = {name: list(_figures(name, told, config, shares.get(name))) for name in directions}
    return ModelFeatures(
        n_tokens=int(metric.n_tokens.sum()),
        n_documents=len(names),
        n_read=told.span.shape[1],
        width=len(covariance),
        figures=figures.pop(_LATENTS),
        controls=figures,
        latents=list(_latents(alive.numpy(), told, variances[alive].numpy())),
    )


def _controls(sample: Tensor, covariance: Tensor, config: ModelFeaturesConfig) -> dict[str, Tensor]:
    """Other directions at the site, of unit length: first those that every figure is held against."""
    mean, n = sample.mean(0), config.n_directions
    draws = torch.Generator().manual_seed(derive(config.seed, "model features", _NULL))
    found = {_NULL: _unit(covariance_matched_rows(mean, covariance, n, 1, draws).directions())}
    names = [name for name in config.controls if name != _NULL]
    made = control_dictionaries(names, mean, covariance, lambda: sample, d_sae=n, k=1, n_steps=1)
    return found | {name: _unit(control.directions()) for name, control in made.items()}


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows.detach().float().cpu(), dim=-1)


def _variances(dictionary: Dictionary, sample: Float[Tensor, "n d"]) -> Float[Tensor, " d_sae"]:
    """Variance of what each latent writes: of its activation times its row."""
    sums, squares = torch.zeros(2, dictionary.d_sae, dtype=torch.float64)
    device, dtype = dictionary.W_dec.device, dictionary.W_dec.dtype
    for part in sample.split(_TOKENS):
        codes = dictionary.encode_sparse(part.to(device, dtype)).cpu()
        sums.index_add_(0, codes.indices, codes.values.double())
        squares.index_add_(0, codes.indices, codes.values.double().square())
    n, lengths = max(1, len(sample)), dictionary.W_dec.detach().double().cpu().square().sum(-1)
    return (squares / n - (sums / n).square()).clamp_min(0) * lengths


def _figures(name: str, told: _Told, config: ModelFeaturesConfig, variances: Floats | None) -> Iterator[Figure]:
    metric, path = told.metric, KIND
    each, without = metric.relevance(name), metric.without(name)
    null = metric.relevance(_NULL)
    apart = Apart(without, told.n_documents)
    yield median_figure(
        f"{path}/relevance",
        each,
        "median over latents of the relevance of their directions to what the model predicts there and later, to first "
        "order; null: directions drawn as the activations vary",
        over="latents",
        apart=apart,
        null=float(np.median(null)),
        better="higher",
    )
    yield mean_figure(
        f"{path}/above_covariance",
        each > np.median(null),
        "share of latents more relevant than half of the directions drawn as the activations vary",
        over="latents",
        apart=Apart(without > np.median(null), told.n_documents),
        share=True,
        null=0.5,
        better="higher",
    )
    unread = each < told.floor
    yield mean_figure(
        f"{path}/unread",
        unread,
        f"share of latents less relevant than {1 - config.unread_below:.0%} of the directions drawn as the activations "
        "vary",
        over="latents",
        apart=Apart(without < told.floor, told.n_documents),
        share=True,
        null=config.unread_below,
        better="lower",
    )
    yield median_figure(
        f"{path}/read_span",
        in_span(metric.directions[name], told.span),
        f"median over latents of the share of their squared length in the {told.span.shape[1]} of "
        f"{len(metric.covariance)} directions that hold {config.read_share:.0%} of what is read; null: the share of "
        "the activations' variance there",
        over="latents",
        null=metric.span_null(told.span),
        better="higher",
    )
    if variances is not None:
        yield from _of_variance(path, each, unread, variances, config)


def _of_variance(
    path: str, each: Floats, unread: np.ndarray, variances: Floats, config: ModelFeaturesConfig
) -> Iterator[Figure]:
    """Whether a dictionary spends its variance on what is read."""
    yield figure_of(
        f"{path}/unread_variance",
        np.stack([unread * variances, variances], axis=1),
        lambda sums: sums[..., 0] / sums[..., 1],
        "share of the variance of what latents write that unread ones write; null: their share of all latents, were "
        "variance and relevance unrelated, and were latents drawn as the activations vary",
        over="latents",
        share=True,
        null=config.unread_below,
        better="lower",
    )
    inside = (each > 0) & (variances > 0)
    n = int(inside.sum())
    rho = float(spearmanr(variances[inside], each[inside]).statistic) if n > 3 else float("nan")
    # The standard error of a rank correlation of unrelated values, on Fisher's scale.
    influences = np.full(n, (1 - rho**2) * 1.03 / np.sqrt(max(1, n - 3)) / np.sqrt(max(1, n)))
    found = Jackknife(rho, influences, float(n))
    yield interval_figure(
        f"{path}/variance_and_relevance",
        found.interval(correlation=True),
        "rank correlation over latents of the variance of what they write and their relevance; interval by Fisher's z",
        over="latents",
        spread=(n, float(n), found.se),
        null=0.0,
        better="higher",
    )


def _latents(alive: np.ndarray, told: _Told, variances: Floats) -> Iterator[LatentRelevance]:
    each, without = told.metric.relevance(_LATENTS), told.metric.without(_LATENTS)
    shares = in_span(told.metric.directions[_LATENTS], told.span)
    scale = np.sqrt((len(without) - 1) / len(without))
    for place, latent in enumerate(alive.tolist()):
        influences = (each[place] - without[:, place]) * scale
        low, high = Jackknife(float(each[place]), influences, min(told.n_documents, len(without))).interval().ends
        yield LatentRelevance(
            latent=latent,
            relevance=float(each[place]),
            ci_low=low,
            ci_high=high,
            read_share=float(shares[place]),
            variance=float(variances[place]),
            unread=bool(each[place] < told.floor),
        )
