"""Gradients of a few rows of a large matrix, without a matrix of zeros to carry them."""

import torch
from jaxtyping import Int
from torch import Tensor


class Leaves:
    """Selected rows as leaves of the graph of their own, whose gradients are added to those of the weights afterwards.

    Autograd gives a selection's gradient as a whole matrix, nearly all of it zeros: made, filled and added, for `W_enc`
    and `W_dec` alike, that takes longer than all else AuxK does. Use `select` in place of `torch.index_select` in the
    forward pass, and `add_gradients` after the backward pass.
    """

    def __init__(self) -> None:
        self._taken: list[tuple[Tensor, int, Tensor, Tensor]] = []

    def select(self, weights: Tensor, dim: int, numbers: Int[Tensor, " m"]) -> Tensor:
        """`weights.index_select(dim, numbers)`, the numbers all different; of computed weights with autograd's own
        gradient."""
        if not (weights.is_leaf and weights.requires_grad):
            return weights.index_select(dim, numbers)
        leaf = weights.detach().index_select(dim, numbers).requires_grad_()
        self._taken.append((weights, dim, numbers, leaf))
        return leaf

    @torch.no_grad()
    def add_gradients(self) -> None:
        """Add what has reached the leaves to the gradients of the weights."""
        for weights, dim, numbers, leaf in self._taken:
            if leaf.grad is None:
                continue
            if weights.grad is None:
                weights.grad = torch.zeros_like(weights)
            weights.grad.index_add_(dim, numbers, leaf.grad)
        self._taken.clear()
