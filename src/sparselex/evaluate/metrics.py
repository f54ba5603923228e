"""What is measured of a dictionary: each metric a function of sums over tokens, defined once.

Another package adds one through an entry point of the group `sparselex.metric`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.figures import Better
from sparselex.base.intervals import Floats
from sparselex.base.registry import Registry

Sums = Mapping[str, Floats]
"""Summed columns by name, `[...]` each.

Of every counted token: `n` (1), `spread` (squared distance from the mean of all) and the columns of all metrics. Of
every predicted token: `n_predicted` (1), the model's loss `ce`, its loss with the site replaced by the reconstruction
(`ce_spliced`), by zeros (`ce_zero`) and by its mean (`ce_mean`), and the divergences `kl` and `kl_mean` of the
reconstruction's and the mean's predictions from the model's own.
"""

WHAT = "the reconstruction"
"""What stands in the site's place, in the words of metrics; where it is something else, that is said in its place."""

SiteSums = dict[str, Floats]
"""Of one dictionary at one site: the same columns `[n_documents]`, but for `spread`, which follows from the summed
target `x`, `[n_documents, width]`."""


class Column(NamedTuple):
    """One number for each counted token, summed by document."""

    of: Callable[[Tensor, Tensor, Tensor], Tensor]
    """From activations and reconstruction `[n, d]` and numbers of active latents `[n]`, all float64, to `[n]`."""

    squared: bool = False
    """Whether it is in squared units of the activations; where there are several sites, each has its own unit."""


class Metric(NamedTuple):
    """How a figure comes from sums over tokens."""

    words: str
    """What it is, in words."""

    statistic: Callable[[Sums], Floats]
    """From summed columns to the value."""

    unit: str = ""
    """Its unit; empty for a pure number."""

    predicted: bool = False
    """Whether it is over predicted tokens rather than counted ones."""

    columns: Mapping[str, Column] = {}
    """What it sums of each counted token, if that is not there yet, by name; other metrics may use it as well."""

    better: Better = ""
    """Which values are better; empty where that is no question."""

    scale: Callable[[Sums], Floats] | None = None
    """What it is measured in units of, in nats, where that is itself measured and may be nothing: unless it is above 0
    beyond doubt, there is no value."""

    ablated: str = ""
    """How the site stands in that scale, in words."""

    null: bool = True
    """Whether its value with the site at its mean, the same for all tokens, is worth to be beside it."""


def _recovered(words: str, ablated: str, site: str) -> Metric:
    """Loss recovered, of what the model loses with the site at a constant."""
    return Metric(
        words,
        lambda s: 1 - (s["ce_spliced"] - s["ce"]) / (s[ablated] - s["ce"]),
        predicted=True,
        better="higher",
        scale=lambda s: (s[ablated] - s["ce"]) / s["n_predicted"],
        ablated=site,
    )


def _error(x: Tensor, x_hat: Tensor, l0: Tensor) -> Tensor:
    return (x - x_hat).square().sum(-1)


def _square(x: Tensor, x_hat: Tensor, l0: Tensor) -> Tensor:
    return x.square().sum(-1)


def _cosine(x: Tensor, x_hat: Tensor, l0: Tensor) -> Tensor:
    return (x * x_hat).sum(-1) / (x.norm(dim=-1) * x_hat.norm(dim=-1)).clamp_min(1e-300)


def _norm_ratio(x: Tensor, x_hat: Tensor, l0: Tensor) -> Tensor:
    return x_hat.norm(dim=-1) / x.norm(dim=-1).clamp_min(1e-300)


METRICS: Registry[Metric] = Registry(
    "metric",
    {
        "l0": Metric(
            "mean number of latents that are not 0",
            lambda s: s["l0"] / s["n"],
            unit="latents/token",
            null=False,
            columns={"l0": Column(lambda x, x_hat, l0: l0)},
        ),
        "fvu": Metric(
            f"fraction of variance unexplained by {WHAT}: squared error over squared distance from the mean of the "
            "same test tokens, both summed over tokens in float64",
            lambda s: s["error"] / s["spread"],
            columns={"error": Column(_error, squared=True), "square": Column(_square, squared=True)},
            better="lower",
        ),
        "cosine": Metric(
            f"mean cosine of activation and {WHAT}",
            lambda s: s["cosine"] / s["n"],
            columns={"cosine": Column(_cosine)},
            better="higher",
        ),
        "norm_ratio": Metric(
            f"mean norm of {WHAT} over that of the activation",
            lambda s: s["norm_ratio"] / s["n"],
            columns={"norm_ratio": Column(_norm_ratio)},
        ),
        "ce_loss": Metric(
            "cross-entropy of the model itself",
            lambda s: s["ce"] / s["n_predicted"],
            unit="nats/token",
            predicted=True,
            null=False,
        ),
        "ce_increase": Metric(
            f"cross-entropy with {WHAT} spliced in, less that of the model itself, over predictions at all tokens, "
            "those too where nothing is replaced",
            lambda s: (s["ce_spliced"] - s["ce"]) / s["n_predicted"],
            unit="nats/token",
            predicted=True,
            better="lower",
        ),
        "loss_recovered_mean": _recovered(
            "1 - (CE spliced - CE) / (CE with the site at its mean - CE)", "ce_mean", "at its mean"
        ),
        "loss_recovered_zero": _recovered(
            "1 - (CE spliced - CE) / (CE with the site at zero - CE); the farther zero lies from the data, the higher",
            "ce_zero",
            "at zero",
        ),
        "kl": Metric(
            f"KL divergence from the model's own predictions to those with {WHAT}, over predictions at all tokens, "
            "those too where nothing is replaced",
            lambda s: s["kl"] / s["n_predicted"],
            unit="nats/token",
            predicted=True,
            better="lower",
        ),
        "kl_recovered_mean": Metric(
            "1 - KL spliced / KL with the site at its mean",
            lambda s: 1 - s["kl"] / s["kl_mean"],
            predicted=True,
            better="higher",
        ),
    },
)
"""Every metric of a dictionary; the figure is `core/<name>`."""

OF_PREDICTIONS = ("n_predicted", "ce", "ce_spliced", "ce_zero", "ce_mean", "kl", "kl_mean")
"""Columns of predicted tokens."""

_TAKEN = ("n", "spread", "x", *OF_PREDICTIONS)


def token_columns() -> dict[str, Column]:
    """What all metrics sum of each counted token, in their order. Raises `UserError` where two mean different things by
    one name."""
    found: dict[str, Column] = {}
    for name, metric in METRICS.items():
        for column, how in metric.columns.items():
            if column in _TAKEN or found.setdefault(column, how) != how:
                raise UserError(
                    f"The metric {name!r} sums a column {column!r}, and there is another of that name.",
                    "a column with a name of its own, or exactly that of another metric",
                    "rename it in the package that brings the metric, for example after the metric itself.",
                )
    return found
