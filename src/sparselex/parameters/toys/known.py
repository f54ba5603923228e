"""How near components come to the mechanisms of a toy: one for each feature, its column of the matrix that reads."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


class Nearness(NamedTuple):
    """For each feature, the component that is nearest to its column of the matrix."""

    cosine: Float[Tensor, " n_features"]
    """Largest cosine between the feature's column and that of any component: mean, it is the MMCS of the paper."""

    length_ratio: Float[Tensor, " n_features"]
    """Length of that component's column, the feature's own being 1."""

    whole_cosine: Float[Tensor, " n_features"]
    """Largest cosine between whole matrices, the one that has the feature's column and else zeros, and a component: 1
    where the component has nothing in any other column."""


def nearness(
    weight: Float[Tensor, "d_out n_features"], u: Float[Tensor, "n d_out"], v: Float[Tensor, "n n_features"]
) -> Nearness:
    """How near components `u_c v_cᵀ` come to the columns of `weight` (Bushnaq, Braun and Sharkey 2025, MMCS and ML2R of
    arXiv:2506.20790). Without any component all of it is 0.

    A column of a component is `u_c v_cj`, so that the cosine knows the sign of `v_cj` and not its size: a component
    that has next to nothing there counts like any other. Few dimensions and many components therefore give a high
    cosine by chance, which the null says; `whole_cosine` asks for more.
    """
    if not len(u):
        none = weight.new_zeros(weight.shape[1])
        return Nearness(none, none, none)
    columns = functional.normalize(weight.T, dim=-1)
    along = columns @ functional.normalize(u, dim=-1).T
    cosine, which = (along * v.T.sign()).max(-1)
    lengths = u[which].norm(dim=-1) * v[which, torch.arange(weight.shape[1])].abs()
    whole = (along * functional.normalize(v, dim=-1).T).max(-1).values
    return Nearness(cosine, lengths / weight.norm(dim=0), whole)


def random_nearness(weight: Float[Tensor, "d_out n_features"], n: int, generator: torch.Generator) -> Nearness:
    """The same of as many components whose `u` and `v` are drawn at random."""
    draws = [torch.randn(n, width, generator=generator, dtype=weight.dtype) for width in weight.shape]
    u, v = (functional.normalize(one, dim=-1) for one in draws)
    return nearness(weight, u, v)
