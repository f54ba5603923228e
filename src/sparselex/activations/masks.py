"""Which tokens are left out: everything that is no text, and tokens whose norm is far from all others."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.sites import Mask
from sparselex.text.rows import TokenRows
from sparselex.text.splits import Split


def special_counts(corpus: TokenRows, rows: Mapping[Split, NDArray[np.int64]]) -> dict[str, int]:
    """How many positions of these rows of each split are no text, by kind."""
    found = {"bos": 0, "padding": 0, "separator": 0}
    for split, chosen in rows.items():
        every = corpus.row_ranges[split]
        of_all = _no_text(corpus, np.arange(every.start, every.stop))
        here = of_all if len(chosen) == len(every) else _no_text(corpus, chosen)
        # Where there are separators documents are packed, and only the last row of the split is padded.
        ends = of_all == corpus.n_padding[split] or every.stop - 1 in chosen
        padding = min(here, corpus.n_padding[split]) if ends else 0
        found["bos"] += len(chosen) if corpus.bos_id is not None else 0
        found["padding"] += padding
        found["separator"] += here - padding
    return found


def _no_text(corpus: TokenRows, rows: NDArray[np.int64]) -> int:
    """Positions of these rows that are no text, their first left out where it is a BOS."""
    n_first = len(rows) if corpus.bos_id is not None else 0
    return len(rows) * corpus.n_ctx - int(corpus.text_mask(rows).sum()) - n_first


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
