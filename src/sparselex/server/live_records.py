"""What readers ask of the live model, and what comes back: values that cross between processes. No PyTorch."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.config import Config
from sparselex.recipes.pinned_records import PIN_KINDS as PIN_KINDS
from sparselex.recipes.pinned_records import At as At
from sparselex.recipes.pinned_records import PinKind as PinKind
from sparselex.recipes.pinned_records import Pinned as Pinned
from sparselex.recipes.pinned_records import PinnedText as PinnedText
from sparselex.recipes.prompt_records import Ablated as Ablated
from sparselex.recipes.prompt_records import Steered as Steered
from sparselex.recipes.prompt_records import Written as Written

MOST_CHARACTERS = 4_000
"""Of a text that a reader gives: it stands in an address, which servers and proxies cut at some 16,000 bytes."""

MOST_NEW = 100
"""Tokens that are written at most."""

MOST_STEERED = 8
"""Latents that are steered at once."""

MOST_PINNED = 8
"""Texts of each kind that are written while a latent is held."""

To = Literal["zero", "mean", "resample"]
"""What a latent's activation becomes when it is ablated."""


class Question(Config):
    """Something that is asked of the model of a run."""

    run: str
    """Name of the run."""


class OpenQuestion(Question):
    """Whether the run's model and dictionary can be opened."""


class TextQuestion(Question):
    """Which latents are active on a text."""

    text: str
    """The text."""


class SteerQuestion(Question):
    """What is written when latents are turned up."""

    prompt: str
    """What is gone on from."""

    latents: tuple[int, ...]
    """Which."""

    strengths: tuple[float, ...]
    """By how many times their largest activations."""

    kl: float | None
    """The divergence that they are scaled to, nats; None to leave them as they are."""

    n_new: int
    """Tokens to be written."""

    temperature: float
    """0 for the likeliest."""

    seed: int
    """Of what is drawn."""


class PinQuestion(Question):
    """What is written while a latent is held."""

    prompt: str
    """What is gone on from."""

    latent: int
    """Which."""

    value: float | None
    """At what activation; None for its largest one in the training split."""

    at: At
    """At which tokens."""

    n_samples: int
    """Texts of each kind."""

    n_new: int
    """Tokens to be written."""

    temperature: float
    """0 for the likeliest."""

    seed: int
    """Of what is drawn."""


class AblateQuestion(Question):
    """What the model predicts without a latent."""

    latent: int
    """Which."""

    prompt: str
    """On this text, where there is no position."""

    position: int | None
    """On all of the row of the corpus up to the end of the document that this position is in."""

    to: To
    """What the activation becomes."""

    seed: int
    """Of what `resample` draws."""


class TextFound(NamedTuple):
    """The active latents of a text, as arrays: a text may have tens of thousands."""

    tokens: list[int]
    """`[ctx]`, ids, BOS first where rows have it."""

    counted: list[bool]
    """`[ctx]`, whether a dictionary is shown the token."""

    places: NDArray[np.int32]
    """`[nnz]`, token of each active latent, ascending."""

    latents: NDArray[np.int32]
    """`[nnz]`, its number."""

    values: NDArray[np.float32]
    """`[nnz]`, its activation."""


class AblateFound(NamedTuple):
    """What an ablation does, and to which tokens."""

    tokens: list[int]
    """`[ctx]`, ids."""

    ablated: Ablated
    """What it does at each."""


Found = TextFound | AblateFound | Steered | Pinned | None
"""What comes back; None where nothing was to be computed, or nothing could be."""

State = Literal["answered", "empty", "off", "loading", "busy", "elsewhere", "refused", "ended", "late", "left", "fault"]
"""How a question ended: answered; nothing was asked; there is no live model; it is being loaded; too many questions of
this reader wait; the request came from another site; it asks for what cannot be; the model's process ended; it took too
long; the reader left; a fault in sparselex."""

STATUS: dict[State, int] = {
    "answered": 200,
    "empty": 200,
    "off": 503,
    "loading": 503,
    "busy": 429,
    "elsewhere": 403,
    "refused": 400,
    "ended": 503,
    "late": 504,
    "left": 499,
    "fault": 500,
}
"""HTTP status of each."""


class Answer(NamedTuple):
    """What becomes of a question."""

    state: State
    """How it ended."""

    message: str = ""
    """A plain sentence, where it was not answered."""

    todo: str = ""
    """What to do next."""

    seconds: float = 0.0
    """How long the model's process took."""

    found: Found = None
    """What was found."""


class LiveView(Config):
    """What became of what the reader asked."""

    state: State
    """How it ended."""

    message: str
    """A plain sentence, where it was not answered."""

    todo: str
    """What to do next."""

    seconds: float
    """How long the model's process took."""

    @classmethod
    def of(cls, answer: Answer) -> "LiveView":
        """An answer without what was found."""
        return cls(state=answer.state, message=answer.message, todo=answer.todo, seconds=answer.seconds)


EMPTY = Answer("empty")
"""Nothing was asked."""
