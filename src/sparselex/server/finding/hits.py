"""What a search has found, in whatever mode."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.config import Config

Mode = Literal["text", "regex", "token", "passage", "meaning"]
"""How the words of a search are understood."""

Where = Literal["label", "explanation", "example", "promoted", "activity"]
"""Where something was found."""

RANKED: dict[Mode, str] = {
    "text": "labels that people wrote come first, then explanations and the largest examples (what stands nearer to "
    "the active token counts more), then promoted tokens; upper and lower case are alike",
    "regex": "labels that people wrote come first, then explanations and the largest examples (what stands nearer to "
    "the active token counts more), then promoted tokens",
    "token": "the share of a latent's activation that lies on the token, counted as if it had been active on four "
    "more tokens elsewhere",
    "passage": "the largest activation in the passage, as a share of the latent's largest anywhere",
    "meaning": "the cosine of the meaning of the words and that of what is known of the latent, by whichever of its "
    "explanations is nearest",
}
"""What comes first, by mode."""


class Piece(NamedTuple):
    """A piece of a snippet. Thousands are made, so it is no `Config`."""

    text: str
    """Printable text."""

    found: bool = False
    """Whether it is what was looked for."""

    active: bool = False
    """Whether the latent's largest activation of the example lies on it."""


class MatchView(Config):
    """A place where what was looked for was found."""

    where: Where
    """label (what people wrote), explanation, example, promoted (a token that it promotes), or activity (numbers)."""

    explainer: str = ""
    """Whose explanation it is; empty elsewhere."""

    pieces: list[Piece]
    """The text around it: each piece has its `text`, whether it was `found`, and whether it is the `active` token."""


class Hits(NamedTuple):
    """Latents that fit, and how well."""

    latents: NDArray[np.int64]
    """Ascending."""

    match: NDArray[np.float64]
    """`[n]`, how well each fits; what the list is ordered by first."""

    show: Callable[[list[int]], dict[int, list[MatchView]]]
    """What was found of some of them."""
