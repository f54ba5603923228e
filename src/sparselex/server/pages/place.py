"""`/runs/<run>/features/<latent>/at/<position>`: one place with all the text around it."""

from typing import Annotated, Literal

from sparselex.base.runs import RunCard
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, Page, PageRecord
from sparselex.server.pages.feature import Latent, checked_latent, numbered

Whole = Literal["row", "document"]
"""How much of the text is shown."""


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
    )


PAGE = Page(path="/runs/{run}/features/{latent}/at/{position}", build=place, template=TEMPLATES / "place.html")
