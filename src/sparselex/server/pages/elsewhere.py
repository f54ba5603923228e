"""`/runs/<run>/features/<latent>/elsewhere`: the same feature in the other runs of the workspace."""

from typing import Literal

from sparselex.atlas.elsewhere import Elsewhere, compared_by, elsewhere
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.runs import RunCard
from sparselex.base.sites import Sites
from sparselex.server.explained import title_of
from sparselex.server.opened import OpenIndex, OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.pages.feature import Latent, checked_latent

N_EACH = 3
"""Latents that are shown of each run."""


class FoundView(Config):
    """A latent of another run that is near."""

    near: Elsewhere
    """How near."""

    title: str
    """Its explanation in short; empty if there is none."""


class OtherView(Config):
    """What another run has of the feature."""

    run: RunCard
    """What that run says of itself."""

    sites: Sites | None
    """Where it reads the model; None where its index cannot be opened."""

    by: Literal["direction", "activation"] | None
    """By what its latents are compared; None where they cannot be: other sites or models, and other texts too."""

    found: list[FoundView]
    """The nearest, nearest first; empty where none is near."""

    error: str
    """Why its index cannot be opened; empty where it can."""


class ElsewherePage(PageRecord):
    """`/runs/<run>/features/<latent>/elsewhere`: the same feature in the other runs of the workspace."""

    run: RunCard
    """What the run says of itself."""

    latent: int
    """Number of the latent."""

    others: list[OtherView]
    """The other runs that have an index."""


def elsewhere_page(opened: OpenWorkspace, run: str, latent: Latent) -> ElsewherePage:
    """The nearest latents of every other run. Raises `NoSuchPage` for a number that is no latent of the run."""
    found = opened.index(run)
    checked_latent(found, run, latent)
    names = [name for name in opened.workspace.runs() if name != run and opened.has(name, "index")]
    return ElsewherePage(
        title=f"{run} / {latent} elsewhere",
        run=opened.card(run),
        latent=latent,
        others=[_other(opened, found, latent, name) for name in names],
    )


PAGE = Page(path="/runs/{run}/features/{latent}/elsewhere", build=elsewhere_page, template=TEMPLATES / "elsewhere.html")


def _other(opened: OpenWorkspace, found: OpenIndex, latent: int, name: str) -> OtherView:
    card = opened.card(name)
    try:
        other = opened.index(name).index
    except UserError as error:  # one that is damaged hides none of the rest
        return OtherView(run=card, sites=None, by=None, found=[], error=error.given)
    near = elsewhere(found.index, latent, other, N_EACH)
    entries = opened.explained.entries(other).of([one.latent for one in near])
    return OtherView(
        run=card,
        sites=other.sites,
        by=compared_by(found.index, other),
        found=[FoundView(near=one, title=title_of(entries, one.latent)) for one in near],
        error="",
    )
