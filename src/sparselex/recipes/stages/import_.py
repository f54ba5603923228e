"""`import`: a dictionary of another project in, a run's dictionary out."""

from typing import Annotated, Any

from pydantic import Field

from sparselex.base.artifacts import Manifest
from sparselex.convert.kinds import BareKind
from sparselex.recipes.config import Beginning
from sparselex.recipes.option import Option
from sparselex.recipes.stage import Stage


class Import(Stage, Beginning):
    """Take a dictionary of another project (SAELens, sparsify, dictionary_learning, OpenAI, Llama Scope, Gemma Scope,
    circuit-tracer, or bare tensors) as a run's; then index, explain and evaluate it."""

    verb = "import"
    makes = "dictionary"
    work = "sparselex.recipes.work.import_:import_run"
    gives = "sparselex.recipes.work.train:dictionary_of"

    source: Annotated[str, Option(positional=True)]
    """A local folder or file, or a Hugging Face repository (owner/name or owner/name:sub/folder-or-file)."""

    kind: BareKind | None = None
    """Read the tensors by themselves, whatever lies beside them, as a dictionary of this type. Left out, as the files
    say."""

    options: Annotated[dict[str, Any], Option("--option", pairs=True)] = Field(default_factory=dict)
    """A field of the files' settings by their project's name, where they lack it or are wrong, such as k=32; may be
    repeated."""

    names: Annotated[dict[str, Any], Option("--map", pairs=True)] = Field(default_factory=dict)
    """A tensor that the file calls by a name of its own, such as W_enc=encoder_weights; may be repeated."""

    def line(self, run: Any, shown: Manifest) -> str:
        config, notes = shown.config, shown.notes
        d_in, d_sae, d_out = (config["dictionary"].get(name) for name in ("d_in", "d_sae", "d_out"))
        what = f"transcoder to width {d_out}" if d_out and d_out != d_in else "dictionary"
        parts = [
            f"{config['dictionary']['kind']} {what}, {d_in} -> {d_sae} latents, read as {config['format']}",
            *([_measured(notes["sample"])] if "sample" in notes else []),
            f"in {run.folder / self.makes}",
        ]
        stated = ", ".join(f"{name} {value}" for name, value in notes.get("stated", {}).items())
        lines = [f"the files state: {stated}"] if stated else []
        lines += [f"warning: {warning}" for warning in notes.get("warnings", [])]
        return _elsewhere(shown) + "\n".join([*lines, ", ".join(parts)])


def _measured(sample: dict[str, Any]) -> str:
    """What was measured on a few rows, or why nothing was."""
    if "skipped" in sample:
        return f"not measured ({sample['skipped']})"
    return f"FVU {sample['fvu']:.3g} and L0 {sample['l0']:.3g} on {sample['n_tokens']:,} {sample['split']} tokens"


def _elsewhere(shown: Manifest) -> str:
    """A line on places that the files name where others were given; empty if there are none."""
    places = [(role, name, shown.inputs.get(role)) for role, name in shown.notes.get("named", {}).items() if name]
    other = [f"{role} {name}, and {given} was asked for" for role, name, given in places if name != given]
    return f"the files name {'; '.join(other)}\n" if other else ""
