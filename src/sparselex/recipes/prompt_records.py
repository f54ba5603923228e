"""What is said of a model on a text that a person types, as records."""

from pydantic import Field

from sparselex.base.config import Config
from sparselex.base.formats import plain
from sparselex.base.html import card, table, tokens, words


class Active(Config):
    """A latent at a token."""

    latent: int
    """Its number."""

    activation: float
    """How active it is there."""


class TokenLatents(Config):
    """One token of a text."""

    position: int
    """Counted from 0, the first token (BOS, where there is one)."""

    token: int
    """Its id."""

    text: str
    """What it stands for."""

    latents: list[Active]
    """The latents that are most active there, most active first."""

    n_active: int
    """How many are active in all."""

    counted: bool
    """Whether a dictionary is shown such a token: not BOS, and none whose norm is far from all others (an attention
    sink, as the first token of a text often is)."""


class TextLatents(Config):
    """The latents of a text; printed, a line for each token, and in a notebook a table under the text."""

    tokens: list[TokenLatents]
    """Token by token."""

    def __str__(self) -> str:
        width = max((len(repr(token.text)) for token in self.tokens), default=0)
        return "\n".join(
            f"{token.position:>4} {plain(repr(token.text)):<{width}}  "
            + (f"{token.n_active:>4} active  " if token.counted else "left out, as in training")
            + "  ".join(f"{one.latent}: {one.activation:.3g}" for one in token.latents)
            for token in self.tokens
        )

    def _repr_html_(self) -> str:
        """The text, by how active the most active latent is at each token, and the latents token by token."""
        strongest = [token.latents[0].activation if token.latents else 0.0 for token in self.tokens]
        largest = max(map(abs, strongest), default=0.0) or 1.0
        heats = [abs(value) / largest if token.counted else 0.0 for value, token in zip(strongest, self.tokens)]
        width = max((len(token.latents) for token in self.tokens), default=0)
        rows = [[repr(token.text), _in_words(token), *_cells(token, width)] for token in self.tokens]
        return card(
            f"Latents of a text of {len(self.tokens)} tokens",
            tokens((token.text, heat, _cell(token)) for token, heat in zip(self.tokens, heats)),
            words("Heat: the most active latent at each token, beside the largest of all.", quiet=True),
            table(["token", "active", *["latent: activation"] * width], rows),
        )


def _in_words(token: TokenLatents) -> str:
    return str(token.n_active) if token.counted else "left out, as in training"


def _cells(token: TokenLatents, width: int) -> list[str]:
    shown = [f"{one.latent}: {one.activation:.3g}" for one in token.latents]
    return shown + [""] * (width - len(shown))


def _cell(token: TokenLatents) -> str:
    return ", ".join(_cells(token, 0)) or _in_words(token)


class Changed(Config):
    """A token whose probability an edit changes."""

    token: int
    """Its id."""

    text: str
    """What it stands for."""

    before: float
    """Its probability without the edit."""

    after: float
    """And with it."""


class AblatedToken(Config):
    """What an ablation does at one token of a prompt."""

    position: int
    """Counted from 0, the first token (BOS, where there is one)."""

    text: str
    """What the token stands for."""

    activation: float
    """The latent's activation there, which the ablation changes; 0 where it does not, because a dictionary is shown no
    such token."""

    to: float
    """What it is changed to: 0, the latent's mean, or its activation at another token."""

    kl: float = Field(ge=0)
    """KL divergence of the model's next prediction without the latent from that with it, nats."""

    loss: float | None
    """How much the cross-entropy of the token that comes next rises, nats; None at the last token."""

    changed: list[Changed]
    """The next tokens whose probabilities change most."""


class Ablated(Config):
    """What a model does without a latent, on one prompt."""

    latent: int
    """Its number."""

    tokens: list[AblatedToken]
    """Token by token."""


class WrittenToken(Config):
    """A token of a text that a model wrote, or of the prompt before it."""

    token: int
    """Its id."""

    text: str
    """What it stands for."""

    new: bool
    """Whether it was written; else it is of the prompt."""

    loss: float | None
    """Its cross-entropy under the model without edits, nats; None of the first token."""

    kl: float
    """KL divergence of what is predicted at it under the edits from what is predicted without them, nats; 0 of a text
    that was written without any."""


class Written(Config):
    """A text that a model wrote, up to its end, as the model without edits finds it."""

    tokens: list[WrittenToken]
    """The prompt's and those that were written."""

    loss: float
    """Mean cross-entropy of the tokens that were written, nats: text that the model would not write has a high one."""

    repeated: float | None
    """Share of the pieces of four tokens of what was written that stand in it before (seq-rep-4); None of fewer than
    four tokens."""


class Steered(Config):
    """What a model writes plain and steered."""

    prompt: str
    """What it goes on from."""

    plain: str
    """What it writes by itself."""

    steered: str
    """What it writes when it is steered, by the same chance."""

    by: list[float]
    """What was added to each latent's activation, or how many times each direction was."""

    kl: float
    """Mean KL divergence of the predictions at the prompt's tokens that are steered from those without it, nats."""

    plain_written: Written
    """What is written without steering, token by token."""

    steered_written: Written
    """What is written under it, and where it bends what is predicted."""
