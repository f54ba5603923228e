"""Latents as a comparison shows them: in a line of a table, and with examples."""

from sparselex.base.config import Config
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.explained import title_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.feature import checked_latent
from sparselex.server.pages.parts import HeadlineView, ScoredBy, headline_view, scored_by

N_EXAMPLES = 5


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


class LookedAt(Config):
    """A latent with its examples."""

    run: str
    """Its run."""

    brief: LatentView
    """What it is."""

    max: float
    """Its largest activation by size."""

    examples: list[ExampleView]
    """Its largest training activations."""


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


def looked_at(opened: OpenWorkspace, run: str, latent: int | None) -> LookedAt | None:
    """A latent with examples; None for none. Raises `NoSuchPage` for a number that is no latent of the run."""
    if latent is None:
        return None
    found = opened.index(run)
    checked_latent(found, run, latent)
    index = found.index
    views = Windows(index, latent, found.texts).views(index.record(latent).top[:N_EXAMPLES])
    largest = float(index.table["max"][latent])
    return LookedAt(run=run, brief=brief(opened, run, latent), max=largest, examples=views)
