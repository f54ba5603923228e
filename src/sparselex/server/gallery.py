"""Chosen features beside a random sample, as one HTML file that needs no server and loads nothing."""

import random
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.runs import RunCard
from sparselex.base.workspace import Workspace
from sparselex.server.app import STATIC
from sparselex.server.navigation import Navigation
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.asked import Asked
from sparselex.server.pages.feature import FeaturePage, feature
from sparselex.server.rendering import Rendering

MOST = 2000
"""Features in one file: a browser holds no more in reasonable time."""


class Gallery(Config):
    """What a gallery shows."""

    title: str
    """Its title."""

    run: RunCard
    """What the run says of itself."""

    chosen: list[FeaturePage]
    """Features that somebody chose."""

    drawn: list[FeaturePage]
    """Features drawn at random from those that are active, chosen ones left out."""

    n_alive: int
    """How many these were drawn from."""

    seed: int
    """By what they were drawn."""


def gallery(
    workspace: Workspace,
    run: str,
    latents: Sequence[int],
    *,
    n_random: int | None = None,
    seed: int = 0,
    title: str = "",
) -> str:
    """The file: the `latents`, and `n_random` others drawn at random (left out, as many as were chosen, ten at least),
    since a showcase that somebody has picked says nothing of a dictionary by itself.

    Raises `UserError` for a latent or a run that there is not, and for more than `MOST` features.
    """
    opened = OpenWorkspace(workspace)
    index, chosen = opened.index(run).index, list(dict.fromkeys(latents))
    n_random = max(10, len(chosen)) if n_random is None else n_random
    if len(chosen) + n_random > MOST:
        raise UserError(
            f"A gallery of {len(chosen) + n_random:,} features was asked for.",
            f"at most {MOST:,} in one file",
            "choose fewer, or make several files.",
        )
    alive = [latent for latent in np.flatnonzero(index.table["n_active"]).tolist() if latent not in set(chosen)]
    drawn = sorted(random.Random(seed).sample(alive, min(n_random, len(alive))))
    found = Gallery(
        title=title or f"{workspace.path.name}: features of {run}",
        run=opened.card(run),
        chosen=[feature(opened, run, latent, Asked(show="all")) for latent in chosen],
        drawn=[feature(opened, run, latent, Asked(show="all")) for latent in drawn],
        n_alive=len(alive),
        seed=seed,
    )
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    return Rendering(Navigation([], opened)).draw("gallery.html", page=found, style=Markup(style))
