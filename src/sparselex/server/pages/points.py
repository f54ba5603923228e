"""`/runs/<run>/map/points`: all places of a map as bytes; `/runs/<run>/map/latents/<latent>`: one in a few words."""

import numpy as np

from sparselex.server.explained import title_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import Download, NoSuchPage, Page, PageRecord
from sparselex.server.pages.feature import Latent, checked_latent
from sparselex.server.pages.features import Score, Words
from sparselex.server.pages.map import OpenMap, fits, open_map
from sparselex.server.pages.parts import HeadlineView, headline_view
from sparselex.server.pages.shades import Shade, shades


class PointPage(PageRecord):
    """`/runs/<run>/map/latents/<latent>`: what is said of a place that is pointed at."""

    latent: int
    """Number of the latent."""

    words: str
    """Its explanation in short; empty if there is none."""

    score: HeadlineView | None
    """Its score, of the kind that the map has; None where it has none."""

    density: float
    """Share of counted tokens on which it is active."""


def points(opened: OpenWorkspace, run: str, color: Shade = "density", q: Words = "", score: Score = "") -> Download:
    """All places, little-endian: their number `n` (uint32), then `n` latents (int32), `n` x and `n` y (float32), `n`
    steps of the legend, `n` clusters modulo 256 (255 for none) and `n` flags, 1 for what fits the search (uint8)."""
    one = _there(opened, run, score)
    places, shaded = one.map.places.astype("<f4"), shades(one.map, one.columns, color)
    cluster = np.where(one.map.cluster < 0, 255, one.map.cluster % 255).astype(np.uint8)
    parts = [
        np.array([len(places)], dtype="<u4"),
        one.map.latents.astype("<i4"),
        np.ascontiguousarray(places[:, 0]),
        np.ascontiguousarray(places[:, 1]),
        shaded.step,
        cluster,
        fits(opened, run, one, q).astype(np.uint8),
    ]
    return Download(f"{run}-map.bin", b"".join(part.tobytes() for part in parts), "application/octet-stream")


def point(opened: OpenWorkspace, run: str, latent: Latent, score: Score = "") -> PointPage:
    """One latent in a few words. Raises `NoSuchPage` for a number that is no latent."""
    one = _there(opened, run, score)
    checked_latent(one.found, run, latent)
    return PointPage(
        title=f"{run} / {latent}",
        latent=latent,
        words=title_of(one.entries, latent),
        score=headline_view(one.columns.headlines.of(latent)),
        density=float(one.found.index.table["density"][latent]),
    )


POINTS = Page(path="/runs/{run}/map/points", build=points)
POINT = Page(path="/runs/{run}/map/latents/{latent}", build=point)


def _there(opened: OpenWorkspace, run: str, score: str) -> OpenMap:
    found = open_map(opened, run, score)
    if found is None:
        raise NoSuchPage(
            f"Run {run!r} has no map of its index.",
            "a run that has been laid out",
            f"run `sparselex map {opened.workspace.typed} --run {run}`.",
        )
    return found
