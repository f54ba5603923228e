"""Where a feature is there again in other runs, as its page shows it."""

from sparselex.atlas.universality.records import KIND, Universal
from sparselex.base.config import Config
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.brief import LatentView, brief


class MatchView(Config):
    """The nearest feature of one other run."""

    run: str
    """That run."""

    differs: str
    """What it has otherwise, in words."""

    match: LatentView | None
    """Its nearest feature; None where there is none, or the run was indexed anew."""

    r: float
    """Correlation of their activations on test documents."""

    median: float | None
    """That of half of the run's latents is below this."""

    null: float | None
    """The same of this latent's best match with its activations shifted."""

    attribution: float | None
    """Correlation of what they do to the next token."""


def universal_of(opened: OpenWorkspace, run: str) -> Universal | None:
    """What was measured of the index that a run has now; None where nothing was."""
    found = opened.artifact(run, KIND, Universal)
    if found is None or not opened.has(run, "index") or found.found.index != opened.index(run).index.id:
        return None
    return found if found.found.others else None


def in_others(opened: OpenWorkspace, run: str, latent: int) -> list[MatchView]:
    """Where a feature is there again, by run; empty where that was not measured, or the feature is too rare."""
    universal = universal_of(opened, run)
    found = list[MatchView]()
    for other in universal.found.others if universal else []:
        table = universal.latents(other.run) if universal else {}
        r, match = float(table["r"][latent]), int(table["match"][latent])
        if r != r:  # too rare to be compared
            continue
        there = match >= 0 and opened.still_indexed(other.run, other.index)
        median = other.figure("features")
        null = float(table["null"][latent])
        attribution = float(table["attribution"][latent]) if "attribution" in table else None
        found.append(
            MatchView(
                run=other.run,
                differs=other.differs or other.model,
                match=brief(opened, other.run, match) if there else None,
                r=r,
                median=median.value if median else None,
                null=null if null == null else None,
                attribution=attribution if attribution == attribution else None,
            )
        )
    return found
