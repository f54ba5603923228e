"""Train, validation and test: every document belongs to one, once and for all later stages.

The split is drawn when the corpus is made, below everything that learns from text, so that no stage can
train on, explain with or choose by a document that another stage scores on.
"""

from typing import Literal, get_args

from sparselex.base.seeds import derive

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def split_of(name: str, shares: tuple[float, float, float], seed: int) -> Split:
    """The split of document `name`: drawn by hash, so it does not depend on the other documents.

    Args:
        name: unique name of the document.
        shares: expected shares of train, validation and test; they sum to 1.
        seed: another seed gives another division.
    """
    draw = derive(seed, "split", name) / 2**63
    if draw < shares[0]:
        return "train"
    return "validation" if draw < shares[0] + shares[1] else "test"
