"""What a model writes while a latent is held, as records."""

from typing import Literal, get_args

from sparselex.base.config import Config
from sparselex.base.errors import UserError

At = Literal["all", "last"]
"""Where a latent is held: at every token, or at the last one of the prompt and those that are written."""

PinKind = Literal["plain", "pinned", "beside"]
"""Texts of a sample."""

PIN_KINDS: tuple[PinKind, ...] = get_args(PinKind)
"""In their order."""

Measure = Literal["loss", "repeated", "active_share", "raised_share"]
"""What is measured of a text."""

PREFIX = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
"""What is gone on from where nobody says: the numbers 1 to 10, as in Bricken et al. (2023)."""


def at_of(word: str) -> At:
    """The word as one of those. Raises `UserError` for any other."""
    for one in get_args(At):
        if one == word:
            return one
    raise UserError(f"A latent was to be held at {word!r}.", "all or last", "choose one of these.")


class PinnedToken(Config):
    """A token that was written."""

    token: int
    """Its id."""

    text: str
    """What it stands for."""

    loss: float
    """Its cross-entropy under the plain model, nats."""

    activation: float
    """Of the latent that is asked about, in a pass in which nothing is held."""


class PinnedText(Config):
    """A text that was written."""

    text: str
    """What was written."""

    tokens: list[PinnedToken]
    """Token by token."""

    loss: float
    """Mean cross-entropy under the plain model, nats a token: text that it would not write has a high one."""

    repeated: float | None
    """Share of its pieces of four tokens that stand in it before (seq-rep-4); None of fewer than four tokens."""

    active_share: float
    """Share of its tokens on which the latent is active by itself, when the plain model reads the text."""

    raised_share: float
    """Share of its tokens that are among those that the latent raises most."""


class PinnedSample(Config):
    """What was written by one chance."""

    seed: int
    """Of what was drawn."""

    plain: PinnedText
    """With nothing held."""

    pinned: PinnedText
    """While the latent was held."""

    beside: PinnedText
    """While another latent, drawn at random, was held."""


class Pinned(Config):
    """What a model writes while a latent is held, beside what it writes by itself and while another one is."""

    prompt: str
    """What it goes on from."""

    latent: int
    """The latent."""

    value: float
    """The activation at which it was held."""

    largest: float
    """Its largest activation in the training split."""

    at: At
    """Where it was held."""

    kl: float
    """Mean KL divergence of the predictions at the prompt's tokens where it was held from those without, nats."""

    beside: int
    """The latent that was drawn at random."""

    beside_value: float
    """The activation at which that was held."""

    beside_kl: float
    """Its divergence: as near to `kl` as it comes."""

    raised: list[str]
    """Tokens that the latent raises most."""

    samples: list[PinnedSample]
    """One for each seed."""

    def texts(self, kind: PinKind) -> list[PinnedText]:
        """The texts of one kind."""
        return [getattr(sample, kind) for sample in self.samples]

    def mean(self, kind: PinKind, measure: Measure) -> float | None:
        """Mean of a measure over the texts of one kind; None where none has it."""
        found = [value for one in self.texts(kind) if (value := getattr(one, measure)) is not None]
        return sum(found) / len(found) if found else None
