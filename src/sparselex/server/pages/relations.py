"""What a feature is near to, in four senses, and the tokens that it goes with."""

from collections.abc import Mapping, Sequence

from sparselex.base.config import Config
from sparselex.explain.records import Entry
from sparselex.features.records import FeatureRecord, Neighbour, NeuronCorrelation, TokenEffect
from sparselex.features.tokens import TokenTexts
from sparselex.server.explained import title_of

_LEAST_COSINE = 0.005
"""What is less reads 0.00: neurons have such neighbours alone, in no order that says anything."""


class TokenView(Config):
    """A token and a number."""

    token: int
    """Token id."""

    text: str
    """Printable text."""

    value: float
    """What a unit of activation adds to the logit by the direct path, less what it adds to the median token's, before
    the final norm's scale."""


class TokenShareView(Config):
    """A token that goes with a feature more, or less, than it stands in the text."""

    token: int
    """Token id."""

    text: str
    """Printable text."""

    n: int
    """How often."""

    share: float
    """Of all that go with the feature."""

    base: float
    """Share of the token among all counted tokens."""

    lift: float
    """`share / base`; 0 where the base is not known."""


class TallyView(Config):
    """On what tokens a feature is active, and what follows them in the text."""

    on: list[TokenShareView]
    """Tokens on which it is active, most often first; empty where they were not counted."""

    following: list[TokenShareView]
    """Tokens that follow active ones in training text; empty where they were not counted."""


class NearView(Config):
    """Another latent that is near in one sense."""

    latent: int
    """Its number."""

    title: str
    """Its explanation in short; empty if there is none."""

    value: float
    """How near: a cosine of directions; of a co-active latent, how many times more often than by chance both are
    active."""

    n_both: int
    """Of a co-active latent, tokens on which both are active; else 0."""

    share: float
    """Of a co-active latent, these among this feature's active tokens; else 0."""


class RelationsView(Config):
    """What a feature is near to. A list is empty where it was not measured, or nothing is near."""

    decoder: list[NearView]
    """Latents that write a similar direction."""

    encoder: list[NearView]
    """Latents that read a similar direction."""

    coactive: list[NearView]
    """Latents that are active on the same tokens more than by chance."""

    neurons: list[NeuronCorrelation]
    """Coordinates of what the dictionary reads, by the correlation with it."""

    neuron_chance: float | None
    """The largest such correlation of the same activations on other tokens; None where it was not measured."""


def beside(record: FeatureRecord) -> list[int]:
    """The neighbours of a feature."""
    return [n.latent for n in (*record.neighbours, *record.encoder_neighbours)] + [n.latent for n in record.coactive]


def relations(entries: Mapping[int, list[Entry]], record: FeatureRecord) -> RelationsView:
    """The neighbours of a feature with their words, of which `entries` says what is said."""

    def near(found: Sequence[Neighbour]) -> list[NearView]:
        return [
            NearView(latent=n.latent, title=title_of(entries, n.latent), value=n.cosine, n_both=0, share=0.0)
            for n in found
            if n.cosine >= _LEAST_COSINE
        ]

    return RelationsView(
        decoder=near(record.neighbours),
        encoder=near(record.encoder_neighbours),
        coactive=[
            NearView(latent=n.latent, title=title_of(entries, n.latent), value=n.lift, n_both=n.n_both, share=n.share)
            for n in record.coactive
        ],
        neurons=record.neurons,
        neuron_chance=record.neuron_chance,
    )


def tokens_of(texts: TokenTexts, effects: Sequence[TokenEffect]) -> list[TokenView]:
    """Tokens with what they gain."""
    return [TokenView(token=e.token, text=texts.label(e.token), value=e.value) for e in effects]


def tally(texts: TokenTexts, record: FeatureRecord) -> TallyView:
    """The tokens that a feature goes with."""
    return TallyView(
        on=[
            TokenShareView(
                token=one.token,
                text=texts.label(one.token),
                n=one.n,
                share=one.share,
                base=one.base,
                lift=one.share / one.base if one.base else 0.0,
            )
            for one in record.tokens
        ],
        following=[
            TokenShareView(
                token=one.token, text=texts.label(one.token), n=one.n, share=one.share, base=one.base, lift=one.lift
            )
            for one in record.following
        ],
    )
