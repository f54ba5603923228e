"""What the model wrote while a latent was held, as the steering page shows it."""

from sparselex.base.config import Config
from sparselex.features.tokens import TokenTexts
from sparselex.server.live_records import PIN_KINDS, PinKind, Pinned, PinnedText
from sparselex.server.pages.asking import printable


class PinnedTokenView(Config):
    """A token that was written."""

    text: str
    """Printable text; of a character that several tokens make the last has it, the others nothing."""

    activation: float
    """Of the latent, when the plain model reads what was written."""

    loss: float
    """Its cross-entropy under the plain model, nats."""


class PinnedTextView(Config):
    """A text that was written."""

    text: str
    """The text."""

    tokens: list[PinnedTokenView]
    """Token by token."""


class PinnedRowView(Config):
    """One way of writing: means over the samples."""

    name: str
    """What was held."""

    latent: int | None
    """The latent that was held; None for none."""

    active_share: float
    """Share of tokens on which the latent that is asked about is active by itself."""

    raised_share: float
    """Share of tokens that it raises most."""

    loss: float
    """Cross-entropy under the plain model, nats a token."""

    repeated: float | None
    """Share of pieces of four tokens that stand in the text before; None of fewer than four tokens."""

    kl: float
    """Mean KL divergence of the predictions at the prompt's tokens, nats."""

    texts: list[PinnedTextView]
    """One for each sample."""


class PinnedView(Config):
    """What was written while a latent was held, and beside that."""

    latent: int
    """The latent."""

    value: float
    """The activation at which it was held."""

    largest: float
    """Its largest activation in the training split."""

    largest_activation: float
    """Its largest activation on these texts; full heat."""

    raised: list[str]
    """Tokens that it raises most."""

    rows: list[PinnedRowView]
    """Plain, the latent held, another one held."""


def pinned_view(found: Pinned, texts: TokenTexts) -> PinnedView:
    """The answer of the live model with printable texts."""
    held: dict[PinKind, tuple[str, int | None, float]] = {
        "plain": ("nothing held", None, 0.0),
        "pinned": (f"held at {found.value:.3g}", found.latent, found.kl),
        "beside": (f"held at {found.beside_value:.3g}, as strong", found.beside, found.beside_kl),
    }
    every = [token.activation for kind in PIN_KINDS for text in found.texts(kind) for token in text.tokens]
    return PinnedView(
        latent=found.latent,
        value=found.value,
        largest=found.largest,
        largest_activation=max(every, default=0.0),
        raised=found.raised,
        rows=[
            PinnedRowView(
                name=held[kind][0],
                latent=held[kind][1],
                kl=held[kind][2],
                active_share=found.mean(kind, "active_share") or 0.0,
                raised_share=found.mean(kind, "raised_share") or 0.0,
                loss=found.mean(kind, "loss") or 0.0,
                repeated=found.mean(kind, "repeated"),
                texts=[_text(one, texts) for one in found.texts(kind)],
            )
            for kind in PIN_KINDS
        ],
    )


def _text(one: PinnedText, texts: TokenTexts) -> PinnedTextView:
    printed = printable(texts, [token.token for token in one.tokens])
    tokens = [
        PinnedTokenView(text=text, activation=token.activation, loss=token.loss)
        for token, text in zip(one.tokens, printed, strict=True)
    ]
    return PinnedTextView(text=one.text, tokens=tokens)
