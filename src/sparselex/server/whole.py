"""A whole small dictionary as one HTML file: a list with a search, and every feature behind it."""

import base64
import hashlib

from markupsafe import Markup

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.progress import progress
from sparselex.base.runs import RunCard
from sparselex.base.workspace import Workspace
from sparselex.server.app import STATIC
from sparselex.server.explained import Headlines
from sparselex.server.navigation import Navigation
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.asked import Asked
from sparselex.server.pages.feature import FeaturePage, feature
from sparselex.server.pages.parts import HeadlineView, ScoredBy, headline_view, scored_by
from sparselex.server.rendering import Rendering

LARGEST = 100_000_000
"""Bytes of a file at most: a browser takes seconds to open one of this size, and most hosts refuse larger ones."""

N_EXAMPLES, N_RANDOM = 8, 5
"""Examples of each feature: fewer than in a gallery of chosen ones, so that a dictionary fits into a file."""

_MEASURED = 16
"""Features, spread over all, by which the size is estimated."""


class Listed(Config):
    """One line of the list."""

    latent: int
    """Number of the latent."""

    title: str
    """What is said of it in short: by whoever is scored in this list, where they say nothing by the first explainer."""

    score: HeadlineView | None
    """Its score, as `scored_by` says; None where it has none."""

    density: float
    """Share of counted tokens on which it is active."""

    flags: list[str]
    """As on its page."""


class Whole(Config):
    """What the file shows."""

    title: str
    """Its title."""

    run: RunCard
    """What the run says of itself."""

    scored_by: ScoredBy | None
    """Whose explanations are scored in the list, by whom and by which measure: the one of most latents; None where
    nothing is scored."""

    n_dead: int
    """Latents that are never active; they are in the list and have no more to show."""

    rows: list[Listed]
    """All features, by number."""


def whole_gallery(workspace: Workspace, run: str, *, title: str = "") -> str:
    """The file. Raises `UserError` for a run without an index, and for a dictionary that makes a file larger than
    `LARGEST`."""
    opened = OpenWorkspace(workspace)
    draw, n = Rendering(Navigation([], opened)).draw, opened.index(run).index.d_sae
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    _check_size(n, [draw("gallery_feature.html", one=_page(opened, run, latent)) for latent in _spread(n)])
    pages: list[FeaturePage] = []
    drawn = list[str]()
    with progress("gallery", n, "features") as bar:
        for latent in range(n):
            page = _page(opened, run, latent)
            drawn.append(draw("gallery_feature.html", one=page))
            pages.append(page.model_copy(update={"examples": []}))
            bar.advance(1)
    headlines = opened.explained.headlines(opened.index(run).index)
    script = (STATIC / "gallery.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    found = Whole(
        title=title or f"{workspace.path.name}: all features of {run}",
        run=opened.card(run),
        scored_by=scored_by(headlines.by),
        n_dead=sum(page.dead for page in pages),
        rows=[_listed(page, headlines) for page in pages],
    )
    words = {"style": Markup(style), "script": Markup(script), "features": Markup("".join(drawn))}
    text = draw("gallery_whole.html", page=found, digest=digest, **words)
    _check_size(1, [text])
    return text


def _check_size(n: int, parts: list[str]) -> None:
    size = n * sum(len(part.encode(errors="backslashreplace")) for part in parts) / max(1, len(parts))
    if size > LARGEST:
        raise UserError(
            f"All {n:,} features would be a file of about {size / 1e6:,.0f} MB.",
            f"at most {LARGEST / 1e6:,.0f} MB",
            "choose some with --latent and --random, or serve the workspace.",
        )


def _spread(n: int) -> list[int]:
    return sorted({latent * n // _MEASURED for latent in range(_MEASURED)})


def _page(opened: OpenWorkspace, run: str, latent: int) -> FeaturePage:
    """The page of a feature with what the file has of it."""
    page = feature(opened, run, latent, Asked(show="all"))
    explained = [
        one.model_copy(
            update={
                "scorers": [scorer.model_copy(update={"judgements": [], "definitions": {}}) for scorer in one.scorers]
            }
        )
        for one in page.explanations
    ]
    kept = {"top": N_EXAMPLES, "random": N_RANDOM}
    examples = [
        found.model_copy(update={"examples": found.examples[: kept[found.show]]})
        for found in page.examples
        if found.show in kept
    ]
    return page.model_copy(update={"examples": examples, "explanations": explained})


def _listed(page: FeaturePage, headlines: Headlines) -> Listed:
    said = min(page.explanations, key=lambda one: one.explainer != headlines.explainer, default=None)
    return Listed(
        latent=page.latent,
        title=said.title if said else "",
        score=headline_view(headlines.of(page.latent)),
        density=page.density,
        flags=[flag.name for flag in page.flags],
    )
