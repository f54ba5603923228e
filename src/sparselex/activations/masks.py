"""Which tokens are left out: everything that is no text, and tokens whose norm is far from all others."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.sites import Mask
from sparselex.text.rows import TokenRows
from sparselex.text.splits import Split


def special_counts(corpus: TokenRows, splits: tuple[Split, ...]) -> dict[str, int]:
    """How many positions of these splits are no text, by kind."""
    rows = [corpus.row_ranges[split] for split in splits]
    n_rows = sum(map(len, rows))
    n_text = sum(int(corpus.text_mask(part).sum()) for part in rows)
    bos = n_rows if corpus.bos_id is not None else 0
    padding = sum(corpus.n_padding[split] for split in splits)
    return {"bos": bos, "padding": padding, "separator": n_rows * corpus.n_ctx - n_text - bos - padding}


def within_norm(
    norms: Float[Tensor, "n n_sites"], medians: Float[Tensor, " n_sites"], config: Mask
) -> NDArray[np.bool_]:
    """`[n]`, False where the norm at any site exceeds `config.norm_outlier` of its medians.

    A token that holds NaN or infinity is no outlier but a fault: it stays, so that whoever reads it refuses it.
    """
    if not config.norm_outlier:
        return np.ones(len(norms), dtype=bool)
    near = (norms <= config.norm_outlier * medians).all(-1)
    return (near | ~torch.isfinite(norms).all(-1)).cpu().numpy()
