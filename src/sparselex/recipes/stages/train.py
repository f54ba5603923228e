"""`train`: activations in, a dictionary out."""

from typing import Annotated, Any, Literal, Self

from pydantic import model_validator

from sparselex.activations.config import Prefetch
from sparselex.base.artifacts import Manifest
from sparselex.base.bounds import Count, Once
from sparselex.base.errors import UserError
from sparselex.evaluate.config import FAR_OFF
from sparselex.recipes.choice import TrainingChoice
from sparselex.recipes.option import Option, flag_of
from sparselex.recipes.stage import Stage


class Train(Stage, TrainingChoice):
    """Train a sparse dictionary on the run's activations (killed: run it again, it goes on exactly)."""

    verb = "train"
    reads = ("activations",)
    makes = "dictionary"
    expected = True
    work = "sparselex.recipes.work.train:train_run"
    gives = "sparselex.recipes.work.train:dictionary_of"

    prefetch: Annotated[Prefetch, Option(in_passing=True)] = 0
    """Blocks of activations that a process of their own reads ahead; the result is the same."""

    divide_latents: Annotated[Count, Option(in_passing=True)] = 1
    """Under torchrun: processes among which the latents are divided; the rest divides the data."""

    log_to: Annotated[tuple[Literal["tensorboard", "wandb"], ...], Once, Option(in_passing=True)] = ()
    """Also send the log to tensorboard or wandb; may be repeated."""

    config: Annotated[dict[str, Any] | None, Option(json_file=True)] = None
    """A JSON file with the whole training configuration, in place of the options that choose what is trained."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        beside = [name for name in TrainingChoice.model_fields if name in self.model_fields_set]
        if self.config is not None and beside:
            flags = [flag_of(name, TrainingChoice.model_fields[name]) for name in beside]
            raise UserError(
                f"--config was given together with {', '.join(flags)}.",
                "the whole configuration from the file, or the options",
                f"write {'these values' if len(beside) > 1 else 'this value'} into the file, or leave --config out.",
            )
        return self

    @property
    def choice(self) -> TrainingChoice:
        """What is trained, without how."""
        return self.part(TrainingChoice)

    def line(self, run: Any, shown: Manifest) -> str:
        return f"{trained(shown)}, in {run.folder / self.makes}"


_FINISHES = {
    "kl": "what the model predicts too",
    "e2e": "what the model predicts alone",
    "downstream": "what the model predicts and computes behind the site",
    "attribution": "what matters to the loss by its gradient too",
    "influence": "latents chosen by what they matter to the loss too",
}


def trained(manifest: Manifest) -> str:
    """A dictionary that was trained, in words: type, widths, sparsity, what it leaves unexplained."""
    config, notes = manifest.config["dictionary"], manifest.notes
    said = [f"{config['kind']} dictionary, {config['d_in']} -> {config['d_sae']} latents"]
    if "n_tokens" in notes:
        said.append(f"{notes['n_tokens']:,} tokens in {notes['n_steps']:,} steps")
    if (finish := notes.get("finish")) is not None:
        on = _FINISHES[manifest.config["finish"]]
        said.append(f"the last {finish['n_tokens']:,} of them on {on}")
    if (held_out := notes.get("held_out")) is not None:
        where = f"{held_out['n_tokens']:,} tokens of validation documents"
        asked = config.get("k")
        far = f" (asked for {asked:g})" if asked and abs(held_out["l0"] / asked - 1) > FAR_OFF else ""
        said.append(f"on {where} L0 {held_out['l0']:.1f}{far}, FVU {held_out['fvu']:.3f}")
    if "n_dead" in notes:
        window = min(manifest.config["dead_after_tokens"], notes["n_tokens"])
        said.append(f"{notes['n_dead']:,} latents silent for the last {window:,} tokens of training")
    return ", ".join(said)
