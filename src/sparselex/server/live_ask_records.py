"""What readers ask a language model of one feature, and what becomes of it: values that cross between processes."""

from typing import Literal, NamedTuple

from sparselex.base.config import Config

State = Literal["none", "counting", "counted", "asking", "done", "failed"]
"""Nothing was asked; what it would cost is counted, or was; it is asked; it was; or it could not be."""


class LanguageModel(NamedTuple):
    """Who answers, as the server was started with it."""

    url: str
    """Address of a server up to `/v1`, or `local`."""

    model: str
    """Name of the model."""

    key_env: str | None = None
    """Environment variable that holds the key; the key itself is read by the process that asks, and kept nowhere."""


class Job(NamedTuple):
    """What a reader asks for."""

    run: str
    """Name of the run."""

    latent: int
    """Number of the latent."""

    writer: str
    """Who explains, or whose explanation is only judged."""

    judges: tuple[str, ...]
    """Who judges."""

    only_counts: bool
    """Whether it is only to be found out what it would cost."""


class Cost(Config):
    """What asking costs, estimated."""

    n_requests: int
    """Questions that would be sent."""

    n_tokens: int
    """Tokens that would be read and written."""

    n_cached: int
    """Questions whose answers are at hand, which cost nothing."""


class AskState(Config):
    """What became of asking a language model about one feature."""

    model: str = ""
    """The language model that this server asks; empty where it asks none."""

    state: State = "none"
    """How far it is."""

    writer: str = ""
    """Who was chosen to explain."""

    judges: tuple[str, ...] = ()
    """Who was chosen to judge."""

    seconds: float = 0.0
    """For how long it has been going on."""

    cost: Cost | None = None
    """What it would cost; None before that is known, and where a model of this machine costs nothing but time."""

    explainer: str = ""
    """The name under which the explanation is kept, once it is there."""

    message: str = ""
    """What went wrong, or what is lacking, in a sentence."""

    todo: str = ""
    """What to do about it."""

    busy_with: str = ""
    """What else the server is asking about, for it asks about one feature at a time; empty where it is free."""


NOTHING_ASKED = AskState()
"""Of a server that asks no language model."""


class Came(NamedTuple):
    """What the process that asks answers."""

    state: State
    """counted, done or failed."""

    explainer: str = ""
    message: str = ""
    todo: str = ""
    cost: Cost | None = None
