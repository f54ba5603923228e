"""`index`: a dictionary in, a record for every feature out."""

from typing import Any

from sparselex.base.artifacts import Manifest
from sparselex.base.bounds import Count
from sparselex.base.formats import counted
from sparselex.features.config import IndexConfig
from sparselex.recipes.stage import Stage


class Index(Stage, IndexConfig):
    """Read validation, test and a part of training once (`--train-rows`), and write statistics, examples, logit effects
    and relations of every latent: neighbours, latents active together, neurons, tokens that follow."""

    verb = "index"
    needs = ("dictionary",)
    makes = "index"
    expected = True
    work = "sparselex.recipes.work.index:index_run"
    gives = "sparselex.recipes.work.index:index_of"

    train_rows: Count | None = 8_000
    """Rows of the training split that are read, spread evenly over it; `none` (in JSON null) reads all. Held-out rows
    are always read."""

    def line(self, run: Any, shown: Manifest) -> str:
        notes = shown.notes
        kept = ", a sample of activations kept" if notes["sampled"] else ""
        n_tokens = counted(sum(notes["n_tokens"].values()), "token")
        return f"{counted(notes['d_sae'], 'feature')} over {n_tokens}{kept}, in {run.folder / self.makes}"
