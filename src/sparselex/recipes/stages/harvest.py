"""`harvest`: text and a model in, activation shards out."""

from typing import Any

from sparselex.activations.config import HarvestConfig
from sparselex.base.artifacts import Manifest
from sparselex.recipes.config import Beginning
from sparselex.recipes.stage import Stage


class Harvest(Stage, Beginning, HarvestConfig):
    """Run the model over text and store the activations of one hook as shards (killed: run it again)."""

    verb = "harvest"
    makes = "activations"
    begins = True
    work = "sparselex.recipes.work.harvest:harvest_run"
    gives = "sparselex.recipes.work.harvest:store_of"

    @classmethod
    def line(cls, run: Any, shown: Manifest) -> str:
        notes, corpus = shown.notes, run.workspace.corpus_of(run.name)
        left_out = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in notes["masks"].items() if n) or "none"
        width = f"width {notes['d_in']}" + (f" and {notes['d_out']}" if notes["d_out"] else "")
        return (
            f"{notes['n_tokens']:,} activations of {width} (left out: {left_out}), "
            f"from the corpus {corpus.name}, in {run.folder / cls.makes}"
        )
