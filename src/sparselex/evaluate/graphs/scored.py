"""The scores of a graph as figures."""

import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.base.estimates import interval_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Interval
from sparselex.causal.graphs.influence import scores
from sparselex.causal.graphs.local import Direct, LocalModel

_ONE = (1, 1.0, float("nan"))
"""One prompt: no interval."""


def score_figures(local: LocalModel, direct: Direct) -> list[Figure]:
    """Both scores of the whole graph; the null has every MLP's output at a token as one error."""
    weights = local.weights()
    found = scores(direct.adjacency, weights, local.mask("inputs"), local.mask("errors"))
    null = _null(direct.whole, weights[local.span("outputs")], local.n_ctx)
    start = "the tokens' embeddings" if local.stack.first == 0 else f"the stream that enters block {local.stack.first}"
    replaced = (
        f"of the influence on outputs that begins, along all paths, in {start} or in errors, the share of the former"
    )
    complete = (
        "share of direct effects on features and outputs that does not come from errors, targets weighed by their "
        "influence; control: as circuit-tracer counts it, inputs and errors themselves as complete targets"
    )
    figures = [
        _score("graph/replacement", found.replacement, replaced, null),
        _score("graph/completeness", found.completeness, complete, null),
    ]
    if figures[1].failure is None:
        controls = {"every node counted": found.completeness_of_all}
        figures[1] = figures[1].model_copy(update={"controls": controls})
    return figures


def _score(name: str, value: float, words: str, null: float) -> Figure:
    words += "; over one prompt, which has no interval; null: with every MLP's output at a token as one error"
    interval = Interval(value, float("nan"), float("nan"))
    return interval_figure(name, interval, words, over="prompts", spread=_ONE, null=null, better="higher")


def _null(whole: Float[Tensor, "k m"], weights: Float[Tensor, " k"], n_ctx: int) -> float:
    """The share of inputs, which stand last, in what reaches the outputs."""
    shares = whole.abs() / whole.abs().sum(-1, keepdim=True).clamp_min(torch.finfo(whole.dtype).tiny)
    return float((weights @ shares)[-n_ctx:].sum() / weights.sum())
