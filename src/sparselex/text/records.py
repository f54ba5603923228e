"""What is said of a corpus in its notes; a record that takes nothing to load."""

from collections.abc import Mapping
from typing import Any

from sparselex.base.config import Config

ALTERED = "documents that the tokenizer does not give back byte for byte"
"""Those with characters that it has no tokens for, or that it writes in another way (small letters, NFC)."""


class Left(Config):
    """What was read with a text and left out of the corpus, or altered in it. In the corpus' notes."""

    what: str
    """What was left out or altered, in the plural."""

    n: int
    """How many; of a text that was read in part, those that were met."""

    first: str
    """Where the first of them is, and what is wrong with it."""

    @classmethod
    def said(cls, notes: Mapping[str, Any]) -> str:
        """In words what the `notes` of a corpus say of it: empty where that is nothing."""
        said = []
        for kind in ("skipped", "altered"):
            if found := [cls.parse(values) for values in notes.get(kind, [])]:
                said.append(f"{kind}: " + ", ".join(f"{one.what} ({one.n:,})" for one in found))
        return "; ".join(said)


class Part(Config):
    """What was taken of one of the sources of a mixture. In the corpus' notes."""

    source: str
    """The source, as given."""

    share: float
    """Share of the tokens that it was to have."""

    n_documents: int
    """Its documents in the corpus."""

    n_tokens: int
    """Tokens in them."""

    ran_out: bool
    """Whether the mixture ended because this source had no more."""

    @classmethod
    def said(cls, notes: Mapping[str, Any]) -> str:
        """In words what the `notes` of a corpus say of its sources: empty where there is one."""
        parts = [cls.parse(values) for values in notes.get("parts", [])]
        ended = ", which ran out"
        return ", ".join(f"{one.n_tokens:,} tokens of {one.source}{ended if one.ran_out else ''}" for one in parts)


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

    @classmethod
    def said(cls, notes: Mapping[str, Any]) -> str:
        """In words what the `notes` of a corpus say of it; an earlier version's say nothing."""
        return str(cls.parse(notes["division"])) if notes.get("division") else "copies were not looked for"

    def __str__(self) -> str:
        if self.copies is None:
            copies = "copies were not looked for"
        elif self.copies:
            copies = f"{self.copies:,} of them copies, in {self.groups:,} groups that no split divides"
        else:
            copies = "no copies among them"
        share = f"{self.windows_in_train / self.windows:.1%} of" if self.windows else "no"
        learned = "not known of" if self.learned_test_tokens is None else f"{self.learned_test_tokens:,} of"
        return (
            f"{copies}; of test, {share} windows of 32 tokens stand in train too, and the model was trained on: "
            f"{learned} {self.test_tokens:,} tokens"
        )
