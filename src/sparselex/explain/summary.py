"""What came of explaining an index, as its artifact keeps it."""

from pathlib import Path

from sparselex.base.artifacts import open_artifact
from sparselex.base.config import Config
from sparselex.base.figures import Figure, Figures

KIND = "explanations"
"""Kind of the artifact that holds the figures."""


class ExplainSummary(Config):
    """What came of a run of `explain`."""

    n_explained: int
    """Latents of which something is said."""

    n_abstained: int
    """Latents of which nothing could be said, each with the reason."""

    n_failed: int
    """Latents that could not be treated, each with the reason."""

    n_unscored: int
    """Explanations that a scorer could not judge, counted for each scorer."""

    n_dead: int = 0
    """Latents that are never active, of which there is nothing to say."""

    figures: list[Figure]
    """The share of latents explained, and then the median of each score, the foremost first."""

    @classmethod
    def of(cls, folder: Path | str) -> "ExplainSummary":
        """The summary of a finished artifact. Raises `UserError` if there is none."""
        notes, figures = open_artifact(Path(folder), KIND).notes, Figures.read(Path(folder)).figures
        return cls(figures=figures, **notes)

    def __str__(self) -> str:
        parts = [f"{self.n_explained:,} latents explained", f"{self.n_abstained:,} abstained"]
        score = self.figures[1]
        if score.value is not None:
            null = "" if score.null is None else f", null {score.null:.3f}"
            parts[0] += f" (median {score.name.rpartition('/')[2]} {score.value:.3f} on test documents{null})"
        unscored = [f"{self.n_unscored:,} scorings failed"] if self.n_unscored else []
        dead = [f"{self.n_dead:,} never active"] if self.n_dead else []
        return ", ".join([*parts, f"{self.n_failed:,} failed", *unscored, *dead])
