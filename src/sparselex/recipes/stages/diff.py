"""`diff`: a crosscoder of two models in, what is only in one of them out."""

from typing import Any

from sparselex.atlas.config import DiffConfig
from sparselex.atlas.records import DIFF, LATENTS, ModelDiff
from sparselex.base.artifacts import record_of
from sparselex.recipes.stage import Stage


class Diff(Stage, DiffConfig):
    """Compare the two models of a crosscoder: which latents are in one model alone, and which only seem to be (latent
    scaling)."""

    verb = "diff"
    needs = ("dictionary",)
    makes = "diff"
    work = "sparselex.recipes.work.diff:diff_run"
    gives = "sparselex.recipes.stages.diff:difference_of"

    def shown(self, run: Any) -> ModelDiff:
        return difference_of(run)

    def line(self, run: Any, shown: ModelDiff) -> str:
        return f"every latent: {run.folder / self.makes / LATENTS}"


def difference_of(run: Any) -> ModelDiff:
    """What was found of a run's two models."""
    run.manifest(Diff.makes)
    return record_of(ModelDiff, run.folder / Diff.makes, DIFF)
