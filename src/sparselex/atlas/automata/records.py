"""Automata as they lie on disk: plain values, read by pages without PyTorch."""

from typing import Literal, NamedTuple

from sparselex.base.config import Config
from sparselex.base.figures import Figure

KIND = "automata"
"""Kind of the artifact, and name of its folder."""

FILE = "automata.json"
"""Its `Automata`."""

Raised = Literal["logits", "following"]
"""Which tokens count as those that a latent raises: those whose logits its direction raises most, or where it has no
direct path to the logits those that most tellingly follow it in training text."""


class Carrier(NamedTuple):
    """A token behind which a lead stands."""

    token: int
    """Its id."""

    share: float
    """Its share of the target's activation there."""


class Lead(Config):
    """Two latents of which the first raises tokens on which the second is active next."""

    source: int
    """The first."""

    target: int
    """The second; it may be the same."""

    train: float
    """Weight in training documents, by which it was chosen: E[target(t+1) | source active at t, token t+1 one that it
    raises] less the target's mean in these documents, in units of the target's mean activation where it is active."""

    test: float
    """Weight in test documents."""

    token_alone: float
    """What it would be in test documents if the target were as active on each of these tokens as it is wherever that
    token stands in training text."""

    n_train: int
    """Places in training documents."""

    n_test: int
    """Places in test documents."""

    carriers: list[Carrier]
    """The tokens that carry most of it, in training documents."""


class Source(Config):
    """How often the tokens that a latent raises follow it."""

    train: float
    """Share of its places in training documents behind which one of them stands."""

    test: float
    """The same in test documents."""


class State(Config):
    """A state of an automaton."""

    latents: list[int]
    """Its latents: one, or several that are duplicates, the most often active one first."""


class Arrow(Config):
    """A lead from state to state."""

    source: int
    """Number of a state of the automaton."""

    target: int
    """Number of a state; it may be the same."""

    lead: Lead
    """The strongest lead of a latent of the one to a latent of the other."""


class Automaton(Config):
    """States that lead to each other in circles, or one that leads to itself."""

    number: int
    """From 0, those of several states first, the strongest first."""

    states: list[State]
    """Its states."""

    arrows: list[Arrow]
    """All confirmed leads among them."""

    strength: float
    """The largest weight in training documents such that leads of that weight or more still hold it together."""

    @property
    def latents(self) -> list[int]:
        """All latents that are a state of it."""
        return [latent for state in self.states for latent in state.latents]


class Threshold(Config):
    """What had to be exceeded: the largest value among all that were looked at, in all shuffles."""

    weight: float
    """By the weight of a lead."""

    surprise: float
    """By how much more often its source's tokens follow than their share in the same documents says, in standard
    errors."""


class Automata(Config):
    """What was found in a dictionary."""

    raised: Raised
    """Which tokens count as raised."""

    n_shuffles: int
    """Shuffles behind each threshold."""

    n_tokens: dict[str, int]
    """Tokens that were looked at, by split."""

    n_sources: int
    """Latents that were looked at as the first of a pair."""

    n_targets: int
    """Latents that were looked at as the second."""

    n_unsurprising: int
    """Latents among the former that their own tokens follow no more often than by chance: they lead nowhere."""

    train: Threshold
    """Of what was chosen in training documents."""

    test: Threshold
    """Of what was confirmed in test documents."""

    n_chosen: int
    """Leads above the thresholds in training documents."""

    unconfirmed: dict[str, int]
    """Of these those that are no leads, by why."""

    n_leads: int
    """Leads that were confirmed."""

    figures: list[Figure]
    """Of all together."""

    automata: list[Automaton]
    """All of them."""

    leads: list[Lead]
    """All confirmed leads, the strongest first; at most so many as were asked for."""

    sources: dict[int, Source]
    """Of each latent that leads somewhere."""
