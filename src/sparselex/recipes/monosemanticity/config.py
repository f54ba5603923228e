"""What is reproduced, and how large. No tensors here: the command line reads it."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from sparselex.base.bounds import Amount, Count, Expansion, Once, Seed, Tokens
from sparselex.base.config import Config
from sparselex.recipes.option import Option, flag_of

N_WIDTHS = 3
"""A narrow dictionary, the one that is looked at, and a wide one: the paper's A/0, A/1 and A/2."""


class MonosemanticityConfig(Config):
    """On which models and text, how wide, and on how many tokens."""

    model: str = "embedded"
    """Model A: the one whose dictionary is looked at. A name, a folder or a GGUF file."""

    other_model: str = "embedded-b"
    """Model B, with the same tokenizer: another one of the same shape, for universality."""

    text: str = "stdlib"
    """The text of both: as of `sparselex harvest`."""

    n_tokens: Annotated[Tokens, Option("--tokens")] = 5_500_000
    """Tokens of text in the corpus."""

    expansions: Annotated[tuple[Expansion, ...], Once, Field(min_length=N_WIDTHS, max_length=N_WIDTHS)] = (
        1.0,
        8.0,
        32.0,
    )
    """Latents per dimension of the three widths, narrow first; the middle one is looked at. May be repeated, three
    times."""

    train_tokens: Annotated[tuple[Tokens, ...], Field(min_length=N_WIDTHS, max_length=N_WIDTHS)] = (
        3_000_000,
        1_500_000,
        1_000_000,
    )
    """Tokens that each of them is trained on: a wide one takes longer with each."""

    l1: Amount = 0.006
    """The coefficient of all widths, as the paper writes it."""

    index_rows: Count = 6000
    """Rows of training documents that are indexed, beside those of validation and test: what chooses matches, links and
    rules."""

    sweep_l1s: Annotated[tuple[Amount, ...], Once, Field(min_length=2)] = (0.003, 0.006, 0.012)
    """Coefficients of the sweep over the two narrower widths."""

    sweep_tokens: Tokens = 500_000
    """Tokens that each dictionary of the sweep is trained on."""

    n_pinned: Count = 40
    """Latents that are held while the model writes."""

    seed: Seed = 0
    """Seed of model A's dictionaries; those of model B have the next one, and so see the text in another order."""

    @property
    def shortened(self) -> list[str]:
        """What is less than by default, as options; nothing of a full run."""
        fields = MonosemanticityConfig.model_fields
        told = lambda value: " and ".join(f"{one:,}" for one in value) if isinstance(value, tuple) else f"{value:,}"
        return [
            f"{flag_of(name, fields[name])} {told(getattr(self, name))} instead of {told(fields[name].default)}"
            for name in QUICK
            if getattr(self, name) != fields[name].default
            and _amount(getattr(self, name)) < _amount(fields[name].default)
        ]

    @model_validator(mode="after")
    def _in_order(self) -> "MonosemanticityConfig":
        narrow, looked_at, wide = self.expansions
        if not narrow < looked_at < wide:
            raise ValueError(
                f"expansions={self.expansions} do not rise; give the narrow one first and the wide one last"
            )
        return self


def _amount(value: Any) -> float:
    return float(sum(value)) if isinstance(value, tuple) else float(value)


QUICK: dict[str, Any] = {
    "n_tokens": 500_000,
    "expansions": (1.0, 2.0, 4.0),
    "train_tokens": (120_000, 120_000, 80_000),
    "index_rows": 500,
    "sweep_tokens": 30_000,
    "n_pinned": 8,
}
"""What a first look takes: every part of it, on too little text for any figure to be believed."""
