"""What is said of a corpus in its notes; a record that takes nothing to load."""

from sparselex.base.config import Config


class Division(Config):
    """How well apart the splits of a corpus are: how many documents are copies, how much of test stands in train, how
    much of it the model has learned. In the corpus' notes."""

    copies: int | None
    """Documents that share a split with others because they are copies of each other; None where none were looked
    for."""

    groups: int | None
    """Groups of such documents."""

    largest_group: int | None
    """Documents in the largest group, 1 where there is none."""

    scale: int | None
    """Texts were compared by one shingle of 64 bytes in so many; near copies of less than some ten times as many bytes
    were not known as such."""

    test_tokens: int
    """Tokens in test documents."""

    learned_test_tokens: int | None
    """Those in documents that the model read was trained on; None where that is not known."""

    windows: int
    """Windows of 32 tokens in test documents that were looked for in train."""

    windows_in_train: int
    """Those that stand in a training document too, word for word."""
