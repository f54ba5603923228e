"""What the model reads of a dictionary, to first order: from gradients to figures beside those of other directions."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.estimates import Apart, interval_figure, mean_figure, median_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Jackknife, jackknife
from sparselex.base.progress import progress
from sparselex.evaluate.model_features.asked import LATENTS, Asked, unit
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.model_features.gradients import gradients
from sparselex.evaluate.model_features.records import KIND, NULL, LatentOfModel, Relevance
from sparselex.evaluate.model_features.relevance import Floats, OutputMetric, in_span
from sparselex.evaluate.model_features.thresholds import Threshold

_PER_DIMENSION = 10
"""Gradients for each dimension of the site below which it is not said which directions are read: a matrix of fewer is
theirs more than the model's."""


class _Told(NamedTuple):
    """All that figures are made of."""

    metric: OutputMetric
    span: Float[Tensor, "d r"]
    n_documents: float
    """Documents of one size that would tell as much."""

    half: Threshold
    """Relevance that half of the directions drawn as the activations vary have."""

    floor: Threshold
    """Relevance that all but a few of them have."""


def relevance(asked: Asked) -> Relevance:
    """How much of each latent and of other directions the model reads. Raises `UserError` for a model without
    gradients, a site that nothing reads, and a dictionary that is never active."""
    config, variances = asked.config, asked.variances
    alive = (variances > 0).nonzero()[:, 0]
    if not len(alive):
        raise UserError(
            "No latent is active on training text.", "a dictionary that says something", "train it longer, or sparser."
        )
    directions = {LATENTS: unit(asked.directions)[alive], NULL: asked.null}
    directions |= {name: unit(rows) for name, rows in asked.subjects.items() if name != LATENTS}
    metric = _metric(asked, directions)
    null = metric.relevance(NULL), metric.without(NULL)
    half, floor = (Threshold.of(*null, share) for share in (0.5, config.unread_below))
    told = _Told(metric, metric.read_span(config.read_share), asked.documents.n_effective, half, floor)
    shares = {LATENTS: variances[alive].numpy()}
    figures = {name: list(_figures(name, told, config, shares.get(name))) for name in directions}
    return Relevance(
        n_tokens=int(metric.n_tokens.sum()),
        n_documents=len(asked.documents.names),
        n_read=told.span.shape[1],
        width=len(asked.covariance),
        unread_below=floor.whole,
        figures=figures.pop(LATENTS),
        controls=figures,
        latents=list(_latents(alive.numpy(), told, variances[alive].numpy())),
    )


def _metric(asked: Asked, directions: dict[str, Tensor]) -> OutputMetric:
    corpus, config = asked.reader.corpus, asked.config
    metric = OutputMetric(directions, asked.covariance, asked.documents.n_groups)
    with progress("gradients", len(asked.rows) * corpus.n_ctx, "tokens") as bar, torch.enable_grad():
        given = asked.model, asked.reader, asked.hook, asked.rows, config.seed, config.batch_rows
        for found, owners in gradients(*given):
            metric.add(found, torch.from_numpy(asked.documents.group(owners)))
            bar.advance(len(found))
    if metric.through.sum() <= 0:
        raise UserError(f"Nothing that differs at {asked.hook} is read.", "a site that is read", "name another site.")
    return metric


def _figures(name: str, told: _Told, config: ModelFeaturesConfig, variances: Floats | None) -> Iterator[Figure]:
    metric, path = told.metric, KIND
    each, without = metric.relevance(name), metric.without(name)
    half, floor = told.half, told.floor
    above = lambda limit: float((each > limit).mean())
    below = lambda limit: float((each < limit).mean())
    yield median_figure(
        f"{path}/relevance",
        each,
        "median over latents of the relevance of their directions to what the model predicts there and later, to first "
        f"order; null: {config.n_null:,} directions drawn as the activations vary, whose own uncertainty the interval "
        "takes in",
        over="latents",
        apart=Apart(without, told.n_documents, half.variance),
        null=half.whole,
        better="higher",
    )
    yield mean_figure(
        f"{path}/above_covariance",
        each > half.whole,
        f"share of latents more relevant than half of {config.n_null:,} directions drawn as the activations vary",
        over="latents",
        apart=Apart(without > half.without[:, None], told.n_documents, _variance(half.by_draws(above))),
        share=True,
        null=0.5,
        better="higher",
    )
    yield mean_figure(
        f"{path}/unread",
        each < floor.whole,
        f"share of latents less relevant than {1 - config.unread_below:.0%} of {config.n_null:,} directions drawn as "
        "the activations vary",
        over="latents",
        apart=Apart(without < floor.without[:, None], told.n_documents, _variance(floor.by_draws(below))),
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
        undefined=_too_few(metric),
    )
    if variances is not None:
        yield _unread_variance(name, told, variances, config)
        yield _correlation(name, told, variances)


def _unread_variance(name: str, told: _Told, variances: Floats, config: ModelFeaturesConfig) -> Figure:
    """Whether a dictionary spends its variance on what is read."""
    each, without, floor = told.metric.relevance(name), told.metric.without(name), told.floor
    share = lambda unread: (unread * variances).sum(-1) / variances.sum()
    unread = each < floor.whole
    sums = np.stack([unread * variances, variances], axis=1)
    over_latents = jackknife(sums, lambda s: s[..., 0] / s[..., 1])
    by_draws = floor.by_draws(lambda limit: float(share(each < limit)))
    found = _over_documents(over_latents, share(without < floor.without[:, None]), told, by_draws)
    return interval_figure(
        f"{KIND}/unread_variance",
        found.interval(share=True),
        "share of the variance of what latents write that unread ones write; null: their share of all latents, were "
        "variance and relevance unrelated, and were latents drawn as the activations vary; 95 % jackknife interval "
        "over latents, groups of documents and draws",
        over="latents",
        spread=(len(each), found.n_effective, found.se),
        null=config.unread_below,
        better="lower",
    )


def _correlation(name: str, told: _Told, variances: Floats) -> Figure:
    """Whether latents that write more are read more."""
    each, without = told.metric.relevance(name), told.metric.without(name)
    inside = (each > 0) & (variances > 0)
    n = int(inside.sum())
    of = lambda values: float(spearmanr(variances[inside], values[inside]).statistic) if n > 3 else float("nan")
    rho = of(each)
    # The standard error of a rank correlation of unrelated values, on Fisher's scale.
    influences = np.full(n, (1 - rho**2) * 1.03 / np.sqrt(max(1, n - 3)) / np.sqrt(max(1, n)))
    found = _over_documents(Jackknife(rho, influences, float(n)), np.array([of(one) for one in without]), told)
    return interval_figure(
        f"{KIND}/variance_and_relevance",
        found.interval(correlation=True),
        "rank correlation over latents of the variance of what they write and their relevance; interval by Fisher's z, "
        "over latents and groups of documents",
        over="latents",
        spread=(n, found.n_effective, found.se),
        null=0.0,
        better="higher",
    )


def _over_documents(found: Jackknife, without: Floats, told: _Told, *more: Floats) -> Jackknife:
    """What is uncertain over latents, over documents besides: its values `without` each group of these; and what it
    owes to anything else."""
    by_documents = (found.value - without) * np.sqrt((len(without) - 1) / len(without))
    influences = np.concatenate([found.influences, by_documents, *more])
    return Jackknife(found.value, influences, min(found.n_effective, told.n_documents))


def _variance(influences: Floats) -> float:
    return float(np.square(influences).sum())


def _latents(alive: np.ndarray, told: _Told, variances: Floats) -> Iterator[LatentOfModel]:
    each, without = told.metric.relevance(LATENTS), told.metric.without(LATENTS)
    shares = in_span(told.metric.directions[LATENTS], told.span)
    scale = np.sqrt((len(without) - 1) / len(without))
    for place, latent in enumerate(alive.tolist()):
        influences = (each[place] - without[:, place]) * scale
        low, high = Jackknife(float(each[place]), influences, min(told.n_documents, len(without))).interval().ends
        yield LatentOfModel(
            latent=latent,
            relevance=float(each[place]),
            ci_low=low,
            ci_high=high,
            read_share=float(shares[place]),
            variance=float(variances[place]),
            unread=bool(each[place] < told.floor.whole),
        )


def _too_few(metric: OutputMetric) -> str:
    """What is wrong with so many gradients, where they are too few to say which directions are read."""
    n, width = int(metric.n_tokens.sum()), len(metric.covariance)
    wanted = _PER_DIMENSION * width
    if n >= wanted:
        return ""
    return f"{n:,} tokens, where {_PER_DIMENSION} for each of {width} dimensions, {wanted:,}, are needed (--n-rows)"
