"""Train a dictionary: the walk from a stream of activations to folded weights on disk."""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from sparselex.activations.source import ActivationSource, Batch, EndOfData
from sparselex.base.artifacts import Staging, finished, stage
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.memory import keep_freed_memory
from sparselex.base.progress import Bar, progress
from sparselex.base.seeds import derive
from sparselex.dictionaries.dictionary import TrainableDictionary
from sparselex.dictionaries.files import load_dictionary, write_dictionary
from sparselex.dictionaries.sparse import Gradients, decode_at
from sparselex.dictionaries.table import AnyDictionaryConfig, new_dictionary
from sparselex.training.checkpoint import load_checkpoint, save_checkpoint
from sparselex.training.dead import Silence
from sparselex.training.decoder import normalise, project_out
from sparselex.training.frozen import Freeze, Frozen
from sparselex.training.objectives import auxk, penalty, reconstruction
from sparselex.training.resample import resample
from sparselex.training.schedules import lr_factor, peak_lr
from sparselex.training.step import Step

LOG = "log.jsonl"

_MANY_DEAD = 0.5
_log = logging.getLogger(__name__)

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole."""


class TrainConfig(Config):
    """How a dictionary is trained. Inputs are scaled to E|x|² = d_in; errors are summed over `d_in`, averaged over tokens."""

    dictionary: AnyDictionaryConfig
    """The type and its size."""

    n_tokens: PositiveInt
    """Tokens to train on."""

    batch_size: PositiveInt = 4096
    """Tokens in a step, nearly (a source may divide its blocks evenly)."""

    lr: PositiveFloat | None = None
    """Peak learning rate of Adam; None takes `schedules.peak_lr`."""

    warmup_share: Share = 0.05
    """Share of the steps over which the learning rate rises, at most 1,000 steps."""

    decay_share: Share = 0.2
    """Share of the steps at the end over which it falls to zero."""

    clip: PositiveFloat = 1.0
    """Largest norm of the gradient."""

    auxk_alpha: NonNegativeFloat = 1 / 32
    """Weight of the AuxK term; 0 switches it off."""

    k_aux: PositiveInt | None = None
    """Dead latents that reconstruct the residual; None is half of `d_in`."""

    auxk_share: PositiveInt = 2
    """AuxK looks at every n-th token of a batch."""

    dead_after_tokens: PositiveInt = 10_000_000
    """Tokens of silence after which a latent counts as dead."""

    gradients: Gradients = "auto"
    """How codes are decoded and weight gradients summed: the sparse way, the dense way (equal up to rounding), or whichever is faster."""

    frozen: Frozen = "nothing"
    """What stays as it was drawn, for controls: `decoder`, `soft_decoder` (rows stay within `frozen_cosine` of their first direction) or
    `encoder`."""

    frozen_cosine: Share = 0.8
    """Least cosine of a decoder row with its first direction, for `soft_decoder`."""

    calibration_batches: PositiveInt = 8
    """Batches from which the input scale and the mean are measured before the first step."""

    checkpoint_tokens: PositiveInt = 1_000_000
    """Tokens between checkpoints."""

    log_steps: PositiveInt = 20
    """Steps between lines of the log."""

    validation_steps: PositiveInt = 100
    """Steps between measurements on held-out activations, where there are any."""

    seed: NonNegativeInt = 0
    """Seed of the weights."""

    @property
    def n_steps(self) -> int:
        """Steps that `n_tokens` are expected to take; schedules are laid out over it."""
        return max(1, round(self.n_tokens / self.batch_size))


class Calibration(NamedTuple):
    """What is measured on the first batches."""

    scale: float
    """Factor that brings the inputs to E|x|² = d_in."""

    sample: Tensor
    """The scaled inputs themselves, `[n, d_in]`."""


def train(
    source: ActivationSource,
    config: TrainConfig,
    to: Path | str,
    *,
    inputs: Mapping[str, str],
    validation: Float[Tensor, "n d_in"] | None = None,
    model_name: str = "",
    hook: str = "",
) -> TrainableDictionary:
    """Train on `source` and write the folded dictionary to `to`. Killed at any moment and run again, it ends in the same bytes.

    Args:
        source: scale-free activations of width `config.dictionary.d_in`, in an order that its state restores exactly.
        config: what to train, and how.
        to: folder of the dictionary artifact.
        inputs: ids of what the activations were made from; together with `config` they decide whether `to` is still good.
        validation: held-out activations; the log then has their L0 and FVU as inference sees them.
        model_name, hook: written into the SAELens configuration.

    Raises `UserError` for a width mismatch; for a source that ends too early and for NaN or infinite activations (the state before the
    batch is saved: with the source mended, training goes on from there); and when training diverges.
    """
    to = Path(to)
    if finished(to, "dictionary", config, inputs):
        return load_dictionary(to)
    if source.d_in != config.dictionary.d_in:
        raise UserError(
            f"The activations have width {source.d_in}, the dictionary is configured for {config.dictionary.d_in}.",
            "equal widths",
            f"set d_in to {source.d_in}.",
        )
    keep_freed_memory()
    with stage(to, "dictionary", config, inputs) as staging:
        trainer = _Trainer(source, config, staging, validation)
        with progress("train", config.n_tokens, "tokens") as bar:
            bar.advance(trainer.n_tokens)
            while trainer.n_tokens < config.n_tokens:
                trainer.step(bar)
        dictionary = trainer.dictionary
        dictionary.fold(trainer.calibration.scale)
        write_dictionary(dictionary, staging.folder, model_name=model_name, hook=hook)
        notes = {"input_scale": trainer.calibration.scale, "n_steps": trainer.n_steps, "n_tokens": trainer.n_tokens,
                 "n_dead": len(trainer.silence.dead)}  # fmt: skip
        staging.finish(notes, drop=("checkpoint", "checkpoint.old", "checkpoint.new"))
    return load_dictionary(to)


class _Trainer:
    """Everything that changes while training; made new or from the stage's checkpoint."""

    def __init__(
        self, source: ActivationSource, config: TrainConfig, staging: Staging, validation: Tensor | None = None
    ):
        self.validation = validation
        self.source, self.config, self.staging = source, config, staging
        generator = torch.Generator().manual_seed(derive(config.seed, "dictionary"))
        self.dictionary = new_dictionary(config.dictionary, generator)
        self.freeze = Freeze(self.dictionary, config.frozen, config.frozen_cosine)
        self.lr = config.lr or peak_lr(config.dictionary.d_sae, config.n_steps)
        self.optimiser = torch.optim.Adam(_groups(self.dictionary), lr=self.lr, fused=True)
        self.silence = Silence(config.dictionary.d_sae, config.dead_after_tokens)
        self.n_steps = self.n_tokens = self._checkpointed = 0
        self._warned, self._held_out = False, dict[str, float]()
        self.log = staging.folder / LOG
        saved = load_checkpoint(staging.folder, self.dictionary, self.optimiser, self.silence)
        if saved is None:
            self.calibration = _calibrate(source, config)
            self.dictionary.prepare(self.calibration.sample)
            self.log.write_text("")
        else:
            self._restore(saved)

    def step(self, bar: Bar) -> None:
        """One batch: codes, loss, gradients, Adam."""
        config = self.config
        x = self._next() * self.calibration.scale
        dead = self.silence.dead
        loss, step = self._loss(x, dead)
        self.optimiser.zero_grad()
        loss.backward()
        self.freeze.before_clipping()
        norm = torch.nn.utils.clip_grad_norm_(self.dictionary.parameters(), config.clip)
        self._check_finite(loss.item(), norm.item())
        factor = lr_factor(self.n_steps, config.n_steps, warmup_steps=self._warmup_steps,
                           decay_share=config.decay_share)  # fmt: skip
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * max(factor, 0.0) * group["factor"]
        if self.dictionary.unit_decoder:
            project_out(self.dictionary.W_dec)
        self.optimiser.step()
        if self.dictionary.unit_decoder:
            normalise(self.dictionary.W_dec)
        self.silence.update(step.codes)
        if self._is_due_for_resampling():
            generator = torch.Generator().manual_seed(derive(config.seed, "resample", self.n_steps))
            self.silence.n_tokens[resample(step, self.optimiser, generator)] = 0
        self.freeze.after_step()
        self.n_steps += 1
        self.n_tokens += len(x)
        bar.advance(len(x))
        if self.n_steps % config.log_steps == 1 or config.log_steps == 1:
            self._report(step, loss, len(dead), bar)
        if self.validation is not None and (
            self.n_steps % config.validation_steps == 0 or self.n_tokens >= config.n_tokens
        ):
            self._validate(self.validation * self.calibration.scale)
        if self.n_tokens - self._checkpointed >= config.checkpoint_tokens:
            self._save(self.source.state())

    def _is_due_for_resampling(self) -> bool:
        n = self.config.n_steps
        return any(self.n_steps < share * n <= self.n_steps + 1 for share in self.dictionary.resample_shares)

    def _next(self) -> Tensor:
        """The next batch's activations. Where there is none to train on, the state before it is saved first."""
        before, number = self.source.state(), self.n_steps + 1
        try:
            return _checked(self.source.next_batch(), f"batch {number}")
        except EndOfData:
            self._save(before)
            raise UserError(
                f"The activations ended after {self.n_tokens:,} tokens, and training was to take {self.config.n_tokens:,}.",
                "a source with at least that many tokens",
                "lower n_tokens, or let the source run for more epochs.",
            ) from None
        except UserError:
            self._save(before)
            raise

    def _check_finite(self, loss: float, gradient_norm: float) -> None:
        # Before Adam's step: one such gradient would turn every weight into NaN, and a BatchTopK dictionary of NaN selects
        # nothing and reports a finite loss from then on.
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise UserError(
                f"Training diverged at step {self.n_steps + 1}: loss {loss:.4g}, gradient norm {gradient_norm:.4g}.",
                "a finite loss and gradient",
                f"lower the learning rate (its peak is {self.lr:.3g}); the log so far is {self.log}.",
            )

    @property
    def _warmup_steps(self) -> int:
        return min(1000, math.ceil(self.config.warmup_share * self.config.n_steps))

    def _loss(self, x: Tensor, dead: Tensor) -> tuple[Tensor, Step]:
        dictionary, config = self.dictionary, self.config
        codes = dictionary.training_codes(x, gradients=config.gradients)
        x_hat = decode_at(codes, dictionary.W_dec, dictionary.b_dec, gradients=config.gradients)
        step = Step(dictionary, x, x, codes, x_hat, dead, self.n_steps / config.n_steps)
        k_aux = config.k_aux or max(1, config.dictionary.d_in // 2)
        aux = auxk(step, alpha=config.auxk_alpha, k_aux=k_aux, share=config.auxk_share)
        return reconstruction(step) + penalty(step) + aux, step

    @torch.no_grad()
    def _report(self, step: Step, loss: Tensor, n_dead: int, bar: Bar) -> None:
        residual = (step.x_hat - step.target).square().sum().item()
        spread = (step.target - step.target.mean(0)).square().sum().item()
        line = {
            "step": self.n_steps,
            "n_tokens": self.n_tokens,
            "loss": loss.item(),
            "l0": int(step.codes.values.count_nonzero()) / len(step.x),
            "fvu": residual / spread if spread else 0.0,
            "dead_share": n_dead / self.dictionary.d_sae,
        }
        self._write(line)
        if line["dead_share"] > _MANY_DEAD and not self._warned:
            self._warned = True
            _log.warning(
                "%.0f %% of the latents are dead after %s tokens: lower the learning rate or the sparsity penalty, or train fewer latents.",
                100 * line["dead_share"], f"{self.n_tokens:,}",
            )  # fmt: skip
        bar.show(loss=line["loss"], L0=line["l0"], FVU=line["fvu"], dead=line["dead_share"], **self._held_out)

    @torch.no_grad()
    def _validate(self, x: Tensor) -> None:
        """A line of the log on held-out activations, coded as after training."""
        codes = self.dictionary.encode_sparse(x)
        residual = (self.dictionary.decode_sparse(codes) - x).square().sum().item()
        spread = (x - x.mean(0)).square().sum().item()
        line = {"step": self.n_steps, "n_tokens": self.n_tokens, "validation_l0": len(codes.indices) / len(x),
                "validation_fvu": residual / spread if spread else 0.0}  # fmt: skip
        self._write(line)
        self._held_out = {"held-out FVU": line["validation_fvu"]}

    def _write(self, line: dict[str, Any]) -> None:
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _save(self, source_state: dict[str, Any]) -> None:
        if not self.n_steps:  # nothing has been learned, and Adam has no moments yet
            return
        self._checkpointed = self.n_tokens
        progress = {
            "n_steps": self.n_steps, "n_tokens": self.n_tokens, "source": source_state,
            "scale": self.calibration.scale,
        }  # fmt: skip
        save_checkpoint(self.staging.folder, self.dictionary, self.optimiser, self.silence, progress)

    def _restore(self, saved: dict[str, Any]) -> None:
        self.n_steps, self.n_tokens = saved["n_steps"], saved["n_tokens"]
        self._checkpointed = self.n_tokens
        self.calibration = Calibration(saved["scale"], torch.empty(0, self.source.d_in))
        self.source.load_state(saved["source"])
        # Lines logged after the checkpoint belong to steps that are now taken again.
        lines = [line for line in self.log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        kept = [line for line in lines if json.loads(line)["step"] <= self.n_steps]
        self.log.write_text("".join(kept), encoding="utf-8")


def _groups(dictionary: TrainableDictionary) -> list[dict[str, Any]]:
    """Parameters by their learning rate relative to the others'."""
    factors = {name: dictionary.lr_factors.get(name, 1.0) for name, _ in dictionary.named_parameters()}
    return [
        {"params": [p for name, p in dictionary.named_parameters() if factors[name] == factor], "factor": factor}
        for factor in sorted(set(factors.values()))
    ]


def _calibrate(source: ActivationSource, config: TrainConfig) -> Calibration:
    """Measure on the first batches, then go back to the start."""
    start = source.state()
    n, square, sample = 0, 0.0, []
    for _ in range(config.calibration_batches):
        try:
            x = _checked(source.next_batch(), "the calibration")
        except EndOfData:  # a short source is calibrated on what it has
            break
        n, square = n + len(x), square + x.double().square().sum().item()
        sample.append(x)
        if n >= config.n_tokens:
            break
    source.load_state(start)
    if not n:
        raise UserError("The source holds no activations.", "at least one batch", "harvest more text.")
    if not square:
        raise UserError("All activations are zero.", "activations that carry something", "check the hook.")
    scale = math.sqrt(source.d_in * n / square)
    return Calibration(scale, torch.cat(sample) * scale)


def _checked(batch: Batch, where: str) -> Tensor:
    if torch.isfinite(batch.x.sum()):  # a NaN or infinity anywhere makes the sum one; far cheaper than looking at each
        return batch.x
    bad = (~torch.isfinite(batch.x).all(-1)).nonzero().view(-1)
    if not len(bad):
        return batch.x
    raise UserError(
        f"{len(bad)} activations of {where} hold NaN or infinity, first at corpus position {int(batch.positions[int(bad[0])])}.",
        "finite numbers",
        "check the model's precision; once the source is mended, training goes on from the step before.",
    )
