"""What the model does without one feature, as its page shows it."""

from sparselex.base.config import Config
from sparselex.evaluate.effects.records import EffectsIndex, PlaceEffect
from sparselex.features.records import Example
from sparselex.features.tokens import TokenTexts
from sparselex.features.windows import ExampleView, Windows

_SHOWN = {"top": 3, "random": 4}
"""Places of each kind that a page shows; its record has them all."""


class ChangedView(Config):
    """A next token whose probability the ablation changes."""

    token: int
    """Token id."""

    text: str
    """Printable text."""

    before: float
    """Its probability."""

    after: float
    """And without the feature."""


class PlaceEffectView(Config):
    """What the ablation does at one place."""

    example: ExampleView
    """The place with the text around it."""

    kl: float
    """KL divergence of the prediction at the token itself, nats."""

    kl_later: float
    """The same summed over the later tokens that were followed."""

    n_later: int
    """How many of these were computed: none where nothing behind the site looks at other tokens."""

    loss: float | None
    """How much the cross-entropy of what comes next rises, nats; None where that is no text of the document."""

    null: float | None
    """Mean effect of random directions of the same size there; None where none was tried."""

    changed: list[ChangedView]
    """The next tokens whose probabilities change most."""


class KindView(Config):
    """Places of one kind together."""

    name: str
    """What kind."""

    n: int
    """How many."""

    effect: float
    """Mean KL divergence at the token and the later ones, nats."""

    null: float | None
    """The same of random directions; None where none was tried."""


class EffectsView(Config):
    """What the model does without one feature."""

    summary: dict[str, float | None]
    """The columns of `effects.parquet`."""

    kinds: list[KindView]
    """Kinds of places, one line each."""

    shown: list[PlaceEffectView]
    """Places with their text: where it is most active, and drawn at random."""

    n_directions: int
    """Random directions that it is held against."""

    n_after: int
    """Later tokens that were followed."""


_WORDS = {
    "top": "where it is most active",
    "random": "drawn at random",
    "interval": "one from each range",
    "silent": "where it is silent, added",
}


def effects_view(effects: EffectsIndex | None, latent: int, windows: Windows, texts: TokenTexts) -> EffectsView | None:
    """What was measured of a latent; None where nothing was."""
    found = effects.of(latent) if effects else None
    if effects is None or found is None:
        return None
    # A place may be both drawn and of the most active.
    shown = {place.position: place for kind, n in _SHOWN.items() for place in found.places[kind][:n]}
    return EffectsView(
        summary=found.summary,
        kinds=[_kind(_WORDS[kind], places) for kind, places in found.places.items() if places],
        shown=_places(list(shown.values()), windows, texts),
        n_directions=effects.config["n_directions"],
        n_after=effects.config["n_after"],
    )


def _kind(name: str, places: list[PlaceEffect]) -> KindView:
    total = [place.kl + place.kl_later for place in places]
    nulls = [place.null for place in places if place.null is not None]
    mean = lambda values: sum(values) / len(values)
    return KindView(name=name, n=len(places), effect=mean(total), null=mean(nulls) if nulls else None)


def _places(places: list[PlaceEffect], windows: Windows, texts: TokenTexts) -> list[PlaceEffectView]:
    views = windows.views([Example(position=place.position, value=place.value) for place in places])
    return [
        PlaceEffectView(
            example=view,
            kl=place.kl,
            kl_later=place.kl_later,
            n_later=place.n_later,
            loss=place.loss,
            null=place.null,
            changed=[
                ChangedView(token=one.token, text=texts.label(one.token), before=one.before, after=one.after)
                for one in place.changed
            ],
        )
        for place, view in zip(places, views, strict=True)
    ]
