"""Which test rows are looked at: many documents rather than much of a few."""

import numpy as np
from numpy.typing import NDArray

from sparselex.activations.even import even_rows
from sparselex.text.rows import TokenRows


def rows_to_judge(corpus: TokenRows, n_rows: int) -> NDArray[np.int64]:
    """At most `n_rows` rows of the test split, ascending, spread over it and over its documents."""
    return even_rows(corpus.documents, corpus.row_ranges["test"], n_rows)
