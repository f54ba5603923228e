"""Latents as a comparison shows them, with examples."""

from sparselex.base.config import Config
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.brief import LatentView, brief
from sparselex.server.pages.feature import checked_latent

N_EXAMPLES = 5


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
