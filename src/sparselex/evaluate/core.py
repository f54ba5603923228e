"""Core figures: how sparse the codes are, how well they reconstruct, and what the model loses by the reconstruction.

Everything is a function of sums by document, kept in float64; the intervals draw documents again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.live import Reader
from sparselex.activations.source import Batch
from sparselex.base.figures import Figure
from sparselex.base.intervals import bootstrap_interval
from sparselex.base.progress import progress
from sparselex.causal.splice import Replace, divergences, logits_of, spliced_logits, to_constant, token_losses
from sparselex.dictionaries.dictionary import Dictionary

Floats = NDArray[np.float64]

RECONSTRUCTION = ("n", "l0", "error", "square", "cosine", "norm_ratio")
PREDICTION = ("n_predicted", "ce", "ce_spliced", "ce_zero", "ce_mean", "kl", "kl_mean")
COLUMNS = (*RECONSTRUCTION, *PREDICTION)


class Moments(NamedTuple):
    """Mean and covariance of the activations of training documents."""

    mean: Tensor
    covariance: Tensor


class Definition(NamedTuple):
    """How a figure comes from summed columns."""

    unit: str
    statistic: Callable[[dict[str, Floats]], Floats]
    words: str
    predicted: bool = False


def _recovered(clean: str, spliced: str, ablated: str) -> Callable[[dict[str, Floats]], Floats]:
    return lambda s: 1 - (s[spliced] - s[clean]) / (s[ablated] - s[clean])


CORE: dict[str, Definition] = {
    "l0": Definition("latents/token", lambda s: s["l0"] / s["n"], "mean number of latents that are not 0"),
    "fvu": Definition(
        "",
        lambda s: s["error"] / s["spread"],
        "fraction of variance unexplained: squared error over squared distance from the mean, summed over tokens in "
        "float64",
    ),
    "cosine": Definition("", lambda s: s["cosine"] / s["n"], "mean cosine of activation and reconstruction"),
    "norm_ratio": Definition("", lambda s: s["norm_ratio"] / s["n"], "mean of |reconstruction| / |activation|"),
    "ce_loss": Definition(
        "nats/token", lambda s: s["ce"] / s["n_predicted"], "cross-entropy of the model itself", True
    ),
    "ce_increase": Definition(
        "nats/token",
        lambda s: (s["ce_spliced"] - s["ce"]) / s["n_predicted"],
        "cross-entropy with the reconstruction spliced in, less that of the model itself",
        True,
    ),
    "loss_recovered_mean": Definition(
        "",
        _recovered("ce", "ce_spliced", "ce_mean"),
        "1 - (CE spliced - CE) / (CE with the site at its mean - CE)",
        True,
    ),
    "loss_recovered_zero": Definition(
        "",
        _recovered("ce", "ce_spliced", "ce_zero"),
        "1 - (CE spliced - CE) / (CE with the site at zero - CE); zero is a weak baseline, so this flatters",
        True,
    ),
    "kl": Definition(
        "nats/token",
        lambda s: s["kl"] / s["n_predicted"],
        "KL divergence from the model's own predictions to those with the reconstruction",
        True,
    ),
    "kl_recovered_mean": Definition(
        "", lambda s: 1 - s["kl"] / s["kl_mean"], "1 - KL spliced / KL with the site at its mean", True
    ),
}
"""Every core figure, defined once."""


def training_sample(reader: Reader, n_rows: int) -> Tensor:
    """What is reconstructed (the target, or the activations themselves) over the first rows of the training split, `[n,
    width]`."""
    rows = reader.corpus.row_ranges["train"]
    return _target(reader.read(np.arange(rows.start, min(rows.start + n_rows, rows.stop))))


@torch.no_grad()
def moments(reader: Reader, n_rows: int) -> Moments:
    """Mean and covariance of what is reconstructed over the first rows of the training split, in float64."""
    x = training_sample(reader, n_rows).double()
    mean = x.mean(0)
    centred = x - mean
    return Moments(mean.float(), centred.T @ centred / len(x))


@torch.no_grad()
def core_sums(
    reader: Reader,
    dictionaries: Mapping[str, Dictionary],
    mean: Tensor,
    rows: NDArray[np.int64],
    *,
    baselines: Mapping[str, Dictionary] | None = None,
) -> dict[str, list[dict[str, Floats]]]:
    """Sums by document over the given rows, for each dictionary and each site of its target.

    `dictionaries` read the reader's hook, `baselines` the target itself. Columns are `[n_documents]`; `x`, the summed
    target, is `[n_documents, width]`. Sites are spliced one at a time, from codes of the undisturbed model.
    """
    corpus = reader.corpus
    numbers = np.unique(corpus.documents[rows])
    numbers = numbers[numbers >= 0]
    places = reader.written
    subjects = {name: (dictionary, False) for name, dictionary in dictionaries.items()}
    subjects |= {name: (dictionary, True) for name, dictionary in (baselines or {}).items()}
    widths = [place.columns.stop - place.columns.start for place in places]
    sums = {
        name: [
            {column: np.zeros((len(numbers), width) if column == "x" else len(numbers)) for column in (*COLUMNS, "x")}
            for width in widths
        ]
        for name in subjects
    }
    with progress("evaluate", len(rows) * corpus.n_ctx, "tokens") as bar:
        for start in range(0, len(rows), reader.batch_rows):
            part = rows[start : start + reader.batch_rows]
            _add_rows(reader, subjects, mean, part, numbers, sums)
            bar.advance(len(part) * corpus.n_ctx)
    return sums


def _add_rows(
    reader: Reader,
    subjects: Mapping[str, tuple[Dictionary, bool]],
    mean: Tensor,
    rows: NDArray[np.int64],
    numbers: NDArray[np.int32],
    sums: dict[str, list[dict[str, Floats]]],
) -> None:
    tokens = reader.tokens(rows)
    owners = np.asarray(reader.corpus.documents[rows])
    text = owners >= 0
    everywhere = reader.values(rows)
    counted = text & reader.keeps(everywhere).reshape(text.shape)
    batch = everywhere.at(np.flatnonzero(counted))
    owner = np.searchsorted(numbers, owners[counted])
    # A prediction counts where the token it predicts is text; its loss belongs to that token's document.
    predicts = text[:, 1:]
    predicted_in = np.searchsorted(numbers, owners[:, 1:][predicts])
    reconstructions = {name: _reconstruct(*subject, batch) for name, subject in subjects.items()}
    for number, place in enumerate(reader.written):
        target, level = _target(batch)[:, place.columns], mean[place.columns]
        sums_of_target = torch.zeros(len(numbers), target.shape[1], dtype=torch.float64)
        sums_of_target.index_add_(0, torch.from_numpy(owner), target.double())

        def splice(replace: Replace, place=place) -> Tensor:
            return spliced_logits(place.model, tokens, place.hook, replace, torch.from_numpy(counted))

        clean = logits_of(place.model, tokens)
        ablated = {"mean": splice(to_constant(level)), "zero": splice(torch.zeros_like)}
        shared = {"ce": token_losses(clean, tokens), "kl_mean": divergences(clean, ablated["mean"])}
        shared |= {f"ce_{name}": token_losses(logits, tokens) for name, logits in ablated.items()}
        for name, (x_hat, l0) in reconstructions.items():
            spliced = splice(lambda _, new=x_hat[:, place.columns]: new)  # type: ignore[misc]
            per_token = shared | {"ce_spliced": token_losses(spliced, tokens), "kl": divergences(clean, spliced)}
            per_token["n_predicted"] = torch.ones_like(per_token["kl"])
            into = sums[name][number]
            for column, value in per_token.items():
                into[column] += np.bincount(predicted_in, value.double().cpu().numpy()[predicts], len(numbers))
            for column, value in _errors(target, x_hat[:, place.columns], l0).items():
                into[column] += np.bincount(owner, value.numpy(), len(numbers))
            into["x"] += sums_of_target.numpy()


def _target(batch: Batch) -> Tensor:
    return batch.x if batch.target is None else batch.target


def _reconstruct(dictionary: Dictionary, reads_target: bool, batch: Batch) -> tuple[Tensor, Tensor]:
    """Reconstruction of the target, and active latents of each token."""
    x = (_target(batch) if reads_target else batch.x).to(dictionary.b_dec.device)
    codes = dictionary.encode_sparse(x)
    return dictionary.reconstruct(x, codes).cpu(), codes.indptr.diff().double().cpu()


def _errors(x: Tensor, x_hat: Tensor, l0: Tensor) -> dict[str, Tensor]:
    """Per-token columns of `RECONSTRUCTION`, float64."""
    x, x_hat = x.double(), x_hat.double()
    norm, norm_hat = x.norm(dim=-1), x_hat.norm(dim=-1)
    return {
        "n": torch.ones(len(x), dtype=torch.float64),
        "l0": l0,
        "error": (x - x_hat).square().sum(-1),
        "square": x.square().sum(-1),
        "cosine": (x * x_hat).sum(-1) / (norm * norm_hat).clamp_min(1e-300),
        "norm_ratio": norm_hat / norm.clamp_min(1e-300),
    }


def pooled(sites: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """The sums of all sites as those of one: each site's squares in units of its own mean square, every column averaged
    over sites."""
    if len(sites) == 1:
        return dict(sites[0])
    units = [site["square"].sum() / max(1.0, site["n"].sum()) or 1.0 for site in sites]
    powers = {"error": 1.0, "square": 1.0}
    found = {
        column: sum(site[column] * unit ** -powers.get(column, 0.0) for site, unit in zip(sites, units, strict=True))
        / len(sites)
        for column in COLUMNS
    }
    # The squared sums of all sites' coordinates add up like the squares above.
    found["x"] = np.concatenate(
        [site["x"] / np.sqrt(unit * len(sites)) for site, unit in zip(sites, units, strict=True)], axis=1
    )
    return found


def core_figures(sums: dict[str, Floats], prefix: str = "core") -> list[Figure]:
    """Every figure of `CORE` from the sums of one dictionary."""
    columns = [sums[name][:, None] for name in COLUMNS]
    table = np.concatenate([*columns, sums["x"]], axis=1)
    n_documents = len(table)

    def named(summed: Floats) -> dict[str, Floats]:
        parts = {name: summed[..., i] for i, name in enumerate(COLUMNS)}
        parts["spread"] = parts["square"] - np.square(summed[..., len(COLUMNS) :]).sum(-1) / parts["n"]
        return parts

    figures = []
    for name, definition in CORE.items():
        n = int(sums["n_predicted" if definition.predicted else "n"].sum())
        where = (
            f"over {n:,} {'predicted' if definition.predicted else 'counted'} tokens of {n_documents} test documents"
        )
        words = f"{definition.words}; {where}; 95 % bootstrap interval over documents"
        if not n:
            figures.append(
                Figure(
                    name=f"{prefix}/{name}",
                    unit=definition.unit,
                    definition=words,
                    failure="no token of the test documents was counted",
                )
            )
            continue
        found = bootstrap_interval(table, lambda s, d=definition: d.statistic(named(s)))  # type: ignore[misc]
        if not np.isfinite(found.value):
            figures.append(
                Figure(
                    name=f"{prefix}/{name}",
                    unit=definition.unit,
                    definition=words,
                    failure="not a finite number: the quantity it is divided by is zero",
                )
            )
            continue
        low, high = (end if np.isfinite(end) else None for end in found[1:])
        figures.append(
            Figure(
                name=f"{prefix}/{name}",
                value=found.value,
                unit=definition.unit,
                ci_low=low,
                ci_high=high,
                n=n,
                definition=words,
            )
        )
    return figures
