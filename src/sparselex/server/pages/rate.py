"""`/rate/<run>`: two explanations to be rated beside held-out windows, without being told which is which."""

import secrets
import time

from sparselex.base.runs import RunCard
from sparselex.explain.ratings.question import Asked, Asking, Part
from sparselex.explain.ratings.store import RatingStore
from sparselex.explain.store import ExplanationStore
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.ratings_door import Rater


class RatePage(PageRecord):
    """`/rate/<run>`: one question to a person. It says nothing of whose texts these are."""

    run: RunCard
    """What the run says of itself."""

    id: str
    """Drawn for this question."""

    begun: int
    """When it was asked, milliseconds since 1970."""

    shown: str
    """Fingerprint of what is shown; empty where there is nothing to ask."""

    windows: list[list[Part]]
    """Windows of test documents, the tokens marked on which one latent is active."""

    a: str
    """A text."""

    b: str
    """Another one."""

    rater: str
    """The name that the person gave."""

    n_rated: int
    """Ratings of this run's latents so far."""


def rate(opened: OpenWorkspace, run: str, rater: Rater = "") -> RatePage:
    """A question that nobody was asked before. Raises like `OpenWorkspace.index`."""
    index, id = opened.index(run).index, secrets.token_hex(8)
    database = opened.workspace.database
    asked: Asked | None = Asking(index, ExplanationStore(database)).of(id)
    return RatePage(
        title=f"{run}: rate explanations",
        run=opened.card(run),
        id=id,
        begun=int(time.time() * 1000),
        shown=asked.shown if asked else "",
        windows=asked.windows if asked else [],
        a=asked.texts[0] if asked else "",
        b=asked.texts[1] if asked else "",
        rater=rater,
        n_rated=RatingStore(database).count(index.id),
    )


PAGE = Page(path="/rate/{run}", build=rate, template=TEMPLATES / "rate.html", label="Rate", needs=("index",))
