"""What the division of a corpus is worth, counted when it is made."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sparselex.text.config import CorpusConfig
from sparselex.text.records import Division
from sparselex.text.splits import Split, is_held_out
from sparselex.text.taking import Taken
from sparselex.text.windows import copied


def division(taken: Taken, splits: Sequence[Split], config: CorpusConfig) -> Division:
    """How well apart the `splits` of the documents `taken` are."""
    lengths, at = np.array(taken.spool.lengths, dtype=np.int64), np.array(splits, dtype=str)
    sizes = [n for n in Counter(taken.groups).values() if n > 1]
    compared = taken.scale is not None
    held_out, learned = config.held_out, None
    if held_out is not None:
        is_learned = [not is_held_out(name, held_out) for name in taken.names]
        learned = int(lengths[(at == "test") & np.array(is_learned, dtype=np.bool_)].sum())
    found = copied(taken.spool, at == "test", at == "train")
    return Division(
        copies=sum(sizes) if compared else None,
        groups=len(sizes) if compared else None,
        largest_group=max(sizes, default=1) if compared else None,
        scale=taken.scale,
        test_tokens=int(lengths[at == "test"].sum()),
        learned_test_tokens=learned,
        windows=found.n_windows,
        windows_in_train=found.n_in_train,
    )
