"""What the dictionary leaves out: whether the model minds it more than it should, and what of it could be told from the
activation.

With e = a - a_hat, PR = KL(p(a) || p(a - e)) / E_u KL(p(a) || p(a + |e| u)). Against isotropic u it is far above 1
nearly everywhere, for such steps hardly move a model (Gurnee 2024); against u drawn as activations differ much of that
is gone, and what is left is the dictionary's own. Beside it the share of e that is linear in a (Engels et al. 2024,
arXiv:2410.14670), fitted on training text, and the loss that either part costs.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.estimates import figure_of
from sparselex.base.figures import Figure
from sparselex.base.seeds import derive, generator
from sparselex.evaluate.model_features.asked import Asked, by_group, unit
from sparselex.evaluate.model_features.moved import Along, moved
from sparselex.evaluate.model_features.records import KIND, Part

_RIDGE = 1e-6
"""Part of the mean variance that is added to every variance, so that the fit is defined where activations do not
vary."""


def errors(asked: Asked) -> Part:
    """The error test at tokens of the test rows."""
    numbers = asked.tokens(asked.config.n_tokens, "errors")
    positions, chosen = asked.test[2][numbers], torch.from_numpy(numbers)
    x = asked.test[1][chosen]
    left_out = x - asked.reconstructed(asked.test[0][chosen])
    told = _linear(asked, x)
    own = {"error": -left_out, "linear": -told, "rest": told - left_out}
    n, n_beside = len(positions), asked.config.n_beside
    table = torch.cat([*own.values(), asked.beside, _isotropic(asked)])
    sizes = left_out.norm(dim=-1).double().numpy()
    rng = generator(asked.config.seed, "model features", "errors")
    first = len(own) * n
    kinds = (len(asked.beside), len(table) - first - len(asked.beside))
    drawn = [
        Along(positions, first + shift + rng.integers(0, many, size=n), sizes)
        for shift, many in ((0, kinds[0]), (kinds[0], kinds[1]))
        for _ in range(n_beside)
    ]
    each = [Along(positions, place * n + np.arange(n), np.ones(n)) for place in range(len(own))]
    steps = Along.join([*each, *drawn])
    found = moved(asked, steps.position, steps.steps(table), "errors")
    kl, loss = (values.reshape(-1, n) for values in found)
    beside, isotropic = (kl[len(own) :][part * n_beside : (part + 1) * n_beside].mean(0) for part in (0, 1))
    columns = [kl[0], beside, isotropic, np.ones(n), *loss[: len(own)], *_shares(left_out, told)]
    groups = asked.groups(positions)
    sums = by_group(np.stack(columns, axis=1), groups, asked.documents.n_groups)[np.unique(groups)]
    return Part(figures=list(_figures(sums, n)))


def _linear(asked: Asked, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """What the best linear map of training activations to the dictionary's errors says of `x`."""
    given = asked.sample.double()
    left_out = given - asked.reconstructed(asked.train[0]).double()
    centred, wanted = given - given.mean(0), left_out - left_out.mean(0)
    products = centred.T @ centred / len(given)
    products += _RIDGE * products.trace() / len(products) * torch.eye(len(products), dtype=torch.float64)
    weights = torch.linalg.solve(products, centred.T @ wanted / len(given))
    return ((x.double() - given.mean(0)) @ weights + left_out.mean(0)).float()


def _isotropic(asked: Asked) -> Float[Tensor, "n d"]:
    rng = torch.Generator().manual_seed(derive(asked.config.seed, "model features", "isotropic"))
    return unit(torch.randn(asked.beside.shape, generator=rng))


def _shares(left_out: Float[Tensor, "n d"], told: Float[Tensor, "n d"]) -> list[NDArray[np.float64]]:
    """Of each token what is left of its error by the linear map, and the error's square, about the mean."""
    rest = (left_out - told).double().square().sum(-1).numpy()
    whole = (left_out - left_out.mean(0)).double().square().sum(-1).numpy()
    return [rest, whole]


def _figures(sums: NDArray[np.float64], n: int) -> Iterator[Figure]:
    ratio = lambda above, below: lambda s: s[..., above] / s[..., below]
    yield figure_of(
        f"{KIND}/error_ratio",
        sums,
        ratio(0, 1),
        "how far predictions move where the reconstruction stands in the activation's place, over how far they move by "
        "a step of the error's length as activations differ",
        null=1.0,
        better="lower",
        over="groups of documents",
        n=n,
    )
    yield figure_of(
        f"{KIND}/error_ratio_isotropic",
        sums,
        ratio(0, 2),
        "the same over a step of that length in any direction, which moves predictions less whatever the dictionary: "
        "printed because others print it",
        null=1.0,
        over="groups of documents",
        n=n,
    )
    yield figure_of(
        f"{KIND}/error_linear",
        sums,
        lambda s: 1 - s[..., 7] / s[..., 8],
        "share of the variance of the dictionary's error that a linear map of the activation tells, fitted on training "
        "text; null: nothing",
        null=0.0,
        over="groups of documents",
        n=n,
    )
    for column, name, words in (
        (4, "error_loss", "the whole error"),
        (5, "error_loss_linear", "the part of the error that is linear in the activation"),
        (6, "error_loss_rest", "the part of the error that is not linear in the activation"),
    ):
        yield figure_of(
            f"{KIND}/{name}",
            sums,
            ratio(column, 3),
            f"by how much the cross-entropy of what comes rises without {words}, the sum over the token and those "
            "looked at behind it, the mean over tokens",
            null=0.0,
            unit="nats",
            over="groups of documents",
            n=n,
        )
