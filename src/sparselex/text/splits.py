"""Train, validation and test: every document belongs to one, once and for all later stages.

The split is drawn when the corpus is made, below everything that learns from text, so that no stage can
train on, explain with or choose by a document that another stage scores on.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from sparselex.base.seeds import derive
from sparselex.text.config import CorpusConfig, HeldOutDocuments

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def split_of(name: str, shares: tuple[float, float, float], seed: int) -> Split:
    """The split of document `name`: drawn by hash, so it does not depend on the other documents.

    Args:
        name: unique name of the document.
        shares: expected shares of train, validation and test; they sum to 1.
        seed: another seed gives another division.
    """
    return _at(derive(seed, "split", name) / 2**63, shares)


def is_held_out(name: str, held_out: HeldOutDocuments) -> bool:
    """Whether a model that held back `held_out` has not learned from document `name`."""
    return split_of(name, (1 - held_out.share, 0.0, held_out.share), held_out.seed) == "test"


def divided(names: Sequence[str], groups: Iterable[int], config: CorpusConfig) -> list[Split]:
    """The split of each document; those of one group share that of the one whose name comes first by the alphabet.

    Where the model is known to have held documents out, groups of these alone are the test split, and all others are
    drawn for train and validation: a copy of something that the model has learned is no test.
    """
    groups = list(groups)
    first, learned = dict[int, str](), set[int]()
    for name, group in zip(names, groups, strict=True):
        first[group] = min(name, first.get(group, name))
        if config.held_out and not is_held_out(name, config.held_out):
            learned.add(group)
    drawn: dict[int, Split] = {}
    for group, name in first.items():
        if config.held_out is None:
            drawn[group] = split_of(name, config.shares, config.seed)
        else:
            drawn[group] = _of_learned(name, config) if group in learned else "test"
    return [drawn[group] for group in groups]


def _of_learned(name: str, config: CorpusConfig) -> Split:
    # A draw of its own: that for the split may be the one by which the model's documents were held out.
    train, validation, _ = config.shares
    share = train / (train + validation)
    return _at(derive(config.seed, "split of what was learned", name) / 2**63, (share, 1 - share, 0.0))


def _at(draw: float, shares: tuple[float, float, float]) -> Split:
    if draw < shares[0]:
        return "train"
    return "validation" if draw < shares[0] + shares[1] else "test"
