"""`import`: a dictionary of another project in, a run's dictionary out."""

from typing import Annotated, Any

from sparselex.base.artifacts import Manifest
from sparselex.recipes.config import Beginning
from sparselex.recipes.option import Option
from sparselex.recipes.stage import Stage


class Import(Stage, Beginning):
    """Take a dictionary of another project (SAELens, sparsify, dictionary_learning, OpenAI, Llama Scope, Gemma Scope,
    circuit-tracer) as a run's; then index, explain and evaluate it."""

    verb = "import"
    makes = "dictionary"
    work = "sparselex.recipes.work.import_:import_run"
    gives = "sparselex.recipes.work.train:dictionary_of"

    source: Annotated[str, Option(positional=True)]
    """A local folder or file, or a Hugging Face repository (owner/name or owner/name:sub/folder-or-file)."""

    def line(self, run: Any, shown: Manifest) -> str:
        config = shown.config
        d_in, d_sae, d_out = (config["dictionary"].get(name) for name in ("d_in", "d_sae", "d_out"))
        what = f"transcoder to width {d_out}" if d_out and d_out != d_in else "dictionary"
        return _elsewhere(shown) + (
            f"{config['dictionary']['kind']} {what}, {d_in} -> {d_sae} latents, read as {config['format']}, "
            f"in {run.folder / self.makes}"
        )


def _elsewhere(shown: Manifest) -> str:
    """A line on places that the files name where others were given; empty if there are none."""
    places = [(role, name, shown.inputs.get(role)) for role, name in shown.notes.get("named", {}).items() if name]
    other = [f"{role} {name}, and {given} was asked for" for role, name, given in places if name != given]
    return f"the files name {'; '.join(other)}\n" if other else ""
