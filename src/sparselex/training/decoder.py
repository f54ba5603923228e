"""Constraints on the decoder during training."""

import torch
from torch import Tensor


@torch.no_grad()
def project_out(W_dec: Tensor) -> None:
    """Take from the gradient of each row its part along the row, which unit norm would undo anyway but Adam would
    remember."""
    assert W_dec.grad is not None
    along = (W_dec * W_dec.grad).sum(-1, keepdim=True) / W_dec.square().sum(-1, keepdim=True)
    W_dec.grad.addcmul_(W_dec, along, value=-1)


@torch.no_grad()
def normalise(W_dec: Tensor) -> None:
    """Bring every row back to unit norm."""
    W_dec.div_(W_dec.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(W_dec.dtype).tiny))
