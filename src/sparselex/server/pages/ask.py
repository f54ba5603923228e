"""`/runs/<run>/features/<latent>/ask`: what a language model is asked about one feature."""

from sparselex.base.runs import RunCard
from sparselex.server.live_ask_records import NOTHING_ASKED, AskState
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.pages.ask_view import AskView, ask_view
from sparselex.server.pages.feature import Latent, checked_latent


class AskPage(PageRecord):
    """`/runs/<run>/features/<latent>/ask`: what a language model is asked about one feature, and what became of it.
    Stands on the feature's own page too."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    run: RunCard
    """What the run says of itself."""

    latent: int
    """Number of the latent."""

    dead: bool
    """Never active on the counted tokens: there is nothing to explain."""

    ask: AskView
    """What was asked, and what can be."""


def ask(opened: OpenWorkspace, run: str, latent: Latent, state: AskState = NOTHING_ASKED) -> AskPage:
    """What was asked of one feature. Raises `NoSuchPage` for a number that is no latent of the run."""
    found = opened.index(run)
    checked_latent(found, run, latent)
    return AskPage(
        title=f"{run} / {latent}: ask for an explanation",
        typed=opened.workspace.typed,
        run=opened.card(run),
        latent=latent,
        dead=not found.index.table["n_active"][latent],
        ask=ask_view(opened, run, latent, state),
    )


PAGE = Page(path="/runs/{run}/features/{latent}/ask", build=ask, template=TEMPLATES / "ask.html")
