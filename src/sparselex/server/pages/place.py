"""`/runs/<run>/features/<latent>/at/<position>`: one place with all the text around it."""

from typing import Annotated, Literal

import numpy as np

from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.features.printing import visible
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.opened import OpenIndex, OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, Page, PageRecord
from sparselex.server.pages.feature import Latent, checked_latent, numbered

Whole = Literal["row", "document"]
"""How much of the text is shown."""


N_BESIDE = 12
"""Tokens on either side that are listed one by one."""


class TokenPieceView(Config):
    """A token of the text with its bytes."""

    position: int
    """Position in the corpus."""

    token: int
    """Token id."""

    text: str
    """Printable text."""

    data: str
    """Its bytes, as hexadecimal numbers."""

    sign: str
    """What is drawn, where several tokens make one sign: with its first token, else empty."""

    n_tokens: int
    """How many tokens make it; 0 at all but its first."""

    value: float
    """Activation; 0 where it is silent."""


class PlacePage(PageRecord):
    """`/runs/<run>/features/<latent>/at/<position>`: one place with all the text around it."""

    run: RunCard
    """What the run says of itself."""

    latent: int
    """Number of the latent."""

    whole: Whole
    """Whether all of the row is shown, which is what the model read, or all of the document."""

    example: ExampleView
    """The place, with the latent's activations on all of that text."""

    n_active: int
    """Pieces of that text on which the latent is active."""

    largest: float
    """Largest activation by size over all splits; full heat on this page."""

    pieces: list[TokenPieceView]
    """The tokens around the place one by one, as the model read them."""


def place(
    opened: OpenWorkspace,
    run: str,
    latent: Latent,
    position: Annotated[int, numbered("position of the corpus", 15)],
    whole: Whole = "row",
) -> PlacePage:
    """One place with all the text around it. Raises `NoSuchPage` for a latent or a position that there is not."""
    found = opened.index(run)
    checked_latent(found, run, latent)
    corpus = found.index.corpus
    if position >= corpus.n_rows * corpus.n_ctx:
        raise NoSuchPage(
            f"The corpus has no position {position}.",
            f"a number below {corpus.n_rows * corpus.n_ctx}",
            "choose an example of a feature.",
        )
    windows = Windows(found.index, latent, found.texts)
    view = windows.whole(windows.at(position), document=whole == "document")
    return PlacePage(
        title=f"{run} / {latent} at {position}",
        run=opened.card(run),
        latent=latent,
        whole=whole,
        example=view,
        n_active=sum(span.level > 0 for span in view.spans),
        largest=windows.largest,
        pieces=_pieces(found, windows, position),
    )


PAGE = Page(path="/runs/{run}/features/{latent}/at/{position}", build=place, template=TEMPLATES / "place.html")


def _pieces(found: OpenIndex, windows: Windows, position: int) -> list[TokenPieceView]:
    """The tokens around a position in its row."""
    corpus, texts = found.index.corpus, found.texts
    start = position - position % corpus.n_ctx
    positions = range(max(start, position - N_BESIDE), min(start + corpus.n_ctx, position + N_BESIDE + 1))
    tokens = np.asarray(corpus.tokens).reshape(-1)[positions.start : positions.stop].tolist()
    signs = texts.signs(tokens)
    of_first = {
        first: (visible(text, active=False), end - first)
        for text, first, end in zip(signs.texts, signs.starts, signs.starts[1:], strict=False)
    }
    found_pieces = list[TokenPieceView]()
    for place, (at, token) in enumerate(zip(positions, tokens, strict=True)):
        sign, n_tokens = of_first.get(place, ("", 0))
        found_pieces.append(
            TokenPieceView(
                position=at,
                token=token,
                text=texts.label(token),
                data=texts.bytes_of(token),
                sign=sign if n_tokens > 1 else "",
                n_tokens=n_tokens,
                value=windows.at(at).value,
            )
        )
    return found_pieces
