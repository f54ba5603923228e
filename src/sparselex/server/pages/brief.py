"""Latents in a line of a table."""

from sparselex.base.config import Config
from sparselex.server.explained import title_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.parts import HeadlineView, ScoredBy, headline_view, scored_by


class LatentView(Config):
    """A latent in a few words."""

    latent: int
    """Its number."""

    title: str
    """Its explanation in short; empty if there is none."""

    scored_by: ScoredBy | None
    """Whose explanations are scored in its run, by whom and by which measure; None where nothing is."""

    score: HeadlineView | None
    """That score; None where it has none."""

    density: float
    """Share of counted tokens on which it is active."""


def brief(opened: OpenWorkspace, run: str, latent: int) -> LatentView:
    """A latent in a few words."""
    index = opened.index(run).index
    headlines = opened.explained.headlines(index)
    return LatentView(
        latent=latent,
        title=title_of(opened.explained.entries(index), latent),
        scored_by=scored_by(headlines.by),
        score=headline_view(headlines.of(latent)),
        density=float(index.table["density"][latent]),
    )
