"""`harvest`: text and a model in, activation shards out."""

from typing import Any

from sparselex.activations.config import HarvestConfig
from sparselex.base.artifacts import Manifest, open_artifact
from sparselex.recipes.config import Beginning
from sparselex.recipes.stage import Stage
from sparselex.text.records import Division, Left, Part


class Harvest(Stage, Beginning, HarvestConfig):
    """Run the model over text and store the activations of one hook as shards (killed: run it again)."""

    verb = "harvest"
    makes = "activations"
    work = "sparselex.recipes.work.harvest:harvest_run"
    gives = "sparselex.recipes.work.harvest:store_of"

    def line(self, run: Any, shown: Manifest) -> str:
        notes, corpus = shown.notes, open_artifact(run.workspace.corpus_of(run.name), "corpus")
        width = f"width {notes['d_in']}" + (f" and {notes['d_out']}" if notes["d_out"] else "")
        left_out = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in notes["masks"].items() if n)
        return (
            f"{read_text(corpus)}\n{notes['n_tokens']:,} activations of {width} in {run.folder / self.makes}"
            f"; left out: {left_out or 'nothing'}"
        )


def read_text(corpus: Manifest) -> str:
    """The text that a run reads, in words: how much of it there is, whether that is less than was asked for, what of it
    was skipped, and how well apart its splits are."""
    n_tokens, wanted = corpus.notes["n_tokens"], corpus.config["n_tokens"]
    documents = corpus.notes["n_documents"]
    splits = ", ".join(f"{split} {n:,}" for split, n in documents.items())
    said = f"{n_tokens:,} tokens of {sum(documents.values()):,} documents ({splits})"
    said += f"; fewer than the {wanted:,} asked for" if wanted and n_tokens < wanted else ""
    return "; ".join(
        filter(None, [said, Part.said(corpus.notes), Left.said(corpus.notes), Division.said(corpus.notes)])
    )
