"""One dictionary in training: everything that changes from step to step."""

import json
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparselex.activations.source import Batch
from sparselex.base.artifacts import Staging
from sparselex.base.errors import UserError
from sparselex.base.seeds import derive
from sparselex.dictionaries.dictionary import TrainableDictionary
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.table import new_dictionary
from sparselex.training.adam import Adam
from sparselex.training.calibrate import Columns, scaled, scales
from sparselex.training.checkpoint import load_checkpoint, save_checkpoint, whole
from sparselex.training.config import TrainConfig
from sparselex.training.dead import Silence
from sparselex.training.frozen import Freeze
from sparselex.training.leaves import Leaves
from sparselex.training.objectives import auxk, penalty, reconstruction
from sparselex.training.resample import resample
from sparselex.training.schedules import lr_factor, peak_lr
from sparselex.training.step import Step

LOG = "log.jsonl"

Term = Callable[[Step], Tensor]
"""A term of the loss: a number with gradients, from what a step computed."""

Observer = Callable[[dict[str, Any]], None]
"""Sees every line of the log."""

_MANY_DEAD = 0.5
_log = logging.getLogger(__name__)


class Trainer:
    """A dictionary, its optimiser and its log; made new on a sample of the data, or from the stage's checkpoint."""

    def __init__(
        self,
        config: TrainConfig,
        staging: Staging,
        *,
        columns: Columns | None = None,
        validation: Batch | None = None,
        terms: Sequence[Term] = (),
        observers: Sequence[Observer] = (),
        ranks: Ranks = ALONE,
    ):
        self.ranks = ranks
        self.config, self.staging, self.columns = config, staging, columns or Columns()
        self.terms, self.observers = terms, observers
        generator = torch.Generator().manual_seed(derive(config.seed, "dictionary"))
        self.dictionary: TrainableDictionary = new_dictionary(config.dictionary, generator, ranks).to(config.device)
        self.freeze = Freeze(self.dictionary, config.frozen, config.frozen_cosine)
        self.lr = config.lr or peak_lr(config.dictionary.d_sae, config.n_steps)
        unit_rows = [self.dictionary.W_dec] if self.dictionary.unit_decoder else []
        self.optimiser = Adam(_groups(self.dictionary), unit_rows=unit_rows, lr=self.lr)
        self.silence = Silence(self.dictionary.d_sae, config.dead_after_tokens, torch.device(config.device))
        self.n_steps = self.n_tokens = self._saved_tokens = 0
        self.x_scales, self.target_scales = tuple[float, ...](), tuple[float, ...]()
        self._validation, self._warned, self.shown = validation, False, dict[str, float]()
        self._log = staging.folder / LOG
        self.source_state: dict[str, Any] | None = None
        """Where the source stood when the checkpoint was written; None for a new start."""
        if (saved := load_checkpoint(staging.folder, self.dictionary, self.optimiser, self.silence)) is not None:
            self._restore(saved)

    @property
    def is_done(self) -> bool:
        """Whether all tokens have been trained on."""
        return self.n_tokens >= self.config.n_tokens

    def prepare(self, sample: Sequence[Batch]) -> None:
        """Take scales and starting values from the first batches."""
        pairs = [self._tokens(batch) for batch in sample[: self.config.calibration_batches]]
        x = torch.cat([pair[0] for pair in pairs])
        self.x_scales = scales(x, self.dictionary.parts_in, "activations")
        if self.dictionary.is_autoencoder:
            self.target_scales, target = self.x_scales, None
        else:
            target = torch.cat([pair[1] for pair in pairs if pair[1] is not None])
            self.target_scales = scales(target, self.dictionary.parts_out, "target activations")
        self.dictionary.prepare(*self._scaled(x, target))
        self.freeze.after_step()  # starting values may have been taken from the data
        if self.ranks.is_main:
            self._log.write_text("")

    def step(self, batch: Batch) -> int:
        """One batch: codes, loss, gradients, Adam. Returns the tokens trained on, those of all processes."""
        config, n = self.config, len(batch.positions)
        if self.ranks.n_data > 1:
            batch = batch.at(np.array_split(np.arange(n), self.ranks.n_data)[self.ranks.data])
        x, target = self._scaled(*self._tokens(batch))
        dead = self.silence.dead
        leaves = Leaves()
        loss, step = self._loss(x, target, dead, batch, leaves)
        self.optimiser.zero_grad()
        loss.backward()
        leaves.add_gradients()
        if not self.ranks.is_alone:
            self._share_gradients(len(x) * self.ranks.n_data / n)
        self.freeze.before_clipping()
        norm = self._gradient_norm()
        self._check_finite(loss.item(), norm.item())
        factor = lr_factor(
            self.n_steps, config.n_steps, warmup_steps=self._warmup_steps, decay_share=config.decay_share
        )
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * max(factor, 0.0) * group["factor"]
        self.optimiser.clipped_step(norm, config.clip)
        self.silence.update(step.codes, self.ranks)
        if self._is_due_for_resampling():
            generator = torch.Generator().manual_seed(derive(config.seed, "resample", self.n_steps))
            self.silence.n_tokens[resample(step, self.optimiser, generator)] = 0
        self.freeze.after_step()
        self.n_steps += 1
        self.n_tokens += n
        if self.n_steps % config.log_steps == 1 or config.log_steps == 1:
            self._report(step, len(dead))
        if self._validation is not None and (self.n_steps % config.validation_steps == 0 or self.is_done):
            self._validate(self._validation)
        return n

    def save(self, source_state: dict[str, Any]) -> None:
        """Write a checkpoint from which training goes on bit for bit, the source standing at `source_state`."""
        if not self.n_steps:  # nothing has been learned, and Adam has no moments yet
            return
        self._saved_tokens = self.n_tokens
        progress = {
            "n_steps": self.n_steps,
            "n_tokens": self.n_tokens,
            "source": source_state,
            "x_scales": self.x_scales,
            "target_scales": self.target_scales,
        }
        save_checkpoint(self.staging.folder, self.dictionary, self.optimiser, self.silence, progress, self.ranks)

    @property
    def is_due_for_saving(self) -> bool:
        """Whether enough tokens have passed since the last checkpoint."""
        return self.n_tokens - self._saved_tokens >= self.config.checkpoint_tokens

    def _tokens(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """This dictionary's part of the batch, before it is scaled; no target where that is the input."""
        x, target = self.columns.take(batch, self.dictionary.is_autoencoder)
        return self.dictionary.training_tokens(x), None if target is x else target

    def _scaled(self, x: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
        device = self.config.device
        x = scaled(x.to(device), self.dictionary.parts_in, self.x_scales)
        return x, x if target is None else scaled(target.to(device), self.dictionary.parts_out, self.target_scales)

    def _loss(self, x: Tensor, target: Tensor, dead: Tensor, batch: Batch, leaves: Leaves) -> tuple[Tensor, Step]:
        dictionary, config = self.dictionary, self.config
        codes = dictionary.training_codes(x, gradients=config.gradients)
        x_hat, past = dictionary.training_decode(codes, gradients=config.gradients), dictionary.bypass(x)
        step = Step(
            dictionary,
            x,
            target,
            codes,
            x_hat if past is None else x_hat + past,
            dead,
            self.n_steps / config.n_steps,
            past,
            batch.positions,
        )
        k_aux = config.k_aux or max(1, dictionary.aux_width // 2)
        aux = auxk(step, alpha=config.auxk_alpha, k_aux=k_aux, share=config.auxk_share, select=leaves.select)
        own = penalty(step)
        loss = reconstruction(step) + own + aux
        for term in self.terms:
            loss = loss + term(step)
        # Of processes that share the latents each has the penalties of its own; what is reported has those of all.
        self._reported = loss.detach() - own.detach() + self.ranks.over_latents(own.detach())
        return loss, step

    @torch.no_grad()
    def _share_gradients(self, weight: float) -> None:
        """Average gradients over the processes that share the batch; `weight` is this one's tokens over an even
        share."""
        for parameter in self.dictionary.parameters():
            if parameter.grad is not None:
                parameter.grad.copy_(self.ranks.over_data(parameter.grad * weight) / self.ranks.n_data)

    @torch.no_grad()
    def _gradient_norm(self) -> Tensor:
        """Norm of the gradient of the whole dictionary."""
        if self.ranks.n_latents == 1:
            return self.optimiser.gradient_norm()
        squares = [torch.zeros((), device=self.config.device) for _ in range(2)]
        for name, parameter in self.dictionary.named_parameters():
            if parameter.grad is not None:
                squares[self.dictionary.latent_dim(name) is not None] += parameter.grad.square().sum()
        return (squares[0] + self.ranks.over_latents(squares[1])).sqrt()

    def whole(self) -> TrainableDictionary | None:
        """The trained dictionary, put together from all processes, on the CPU; None but in the main process."""
        if self.ranks.n_latents == 1:
            return self.dictionary.cpu() if self.ranks.is_main else None
        gathered = {
            name: whole(value, f"weights/{name}", self.dictionary)
            for name, value in self.dictionary.state_dict().items()
        }
        if not self.ranks.is_main:
            return None
        found: TrainableDictionary = new_dictionary(self.config.dictionary)
        found.load_state_dict(gathered)
        return found

    def _is_due_for_resampling(self) -> bool:
        n = self.config.n_steps
        return any(self.n_steps < share * n <= self.n_steps + 1 for share in self.dictionary.resample_shares)

    def _check_finite(self, loss: float, gradient_norm: float) -> None:
        # Before Adam's step: one such gradient would turn every weight into NaN, and a BatchTopK dictionary of NaN
        # selects nothing and reports a finite loss from then on.
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise UserError(
                f"Training diverged at step {self.n_steps + 1}: loss {loss:.4g}, gradient norm {gradient_norm:.4g}.",
                "a finite loss and gradient",
                f"lower the learning rate (its peak is {self.lr:.3g}); the log so far is {self._log}.",
            )

    @property
    def _warmup_steps(self) -> int:
        return min(1000, math.ceil(self.config.warmup_share * self.config.n_steps))

    @torch.no_grad()
    def _report(self, step: Step, n_dead: int) -> None:
        ranks = self.ranks
        n = int(ranks.over_data(torch.tensor(len(step.x), device=step.x.device)))
        active, dead = ranks.total(
            torch.stack([step.codes.values.count_nonzero(), step.codes.values.new_tensor(n_dead).long()])
        )
        line = {
            "step": self.n_steps,
            "n_tokens": self.n_tokens,
            "loss": float(ranks.over_data(self._reported * len(step.x))) / n,
            "l0": int(active) / n,
            "fvu": _fvu(step.x_hat, step.target, ranks),
            "dead_share": int(dead) / ranks.n_data / self.config.dictionary.d_sae,
        }
        self._write(line)
        if line["dead_share"] > _MANY_DEAD and not self._warned:
            self._warned = True
            _log.warning(
                "%.0f %% of the latents are dead after %s tokens: lower the learning rate or the sparsity penalty, or "
                "train fewer latents.",
                100 * line["dead_share"],
                f"{self.n_tokens:,}",
            )
        self.shown |= {"loss": line["loss"], "L0": line["l0"], "FVU": line["fvu"], "dead": line["dead_share"]}

    @torch.no_grad()
    def _validate(self, batch: Batch) -> None:
        """A line of the log on held-out activations, coded as after training."""
        x, target = self._scaled(*self._tokens(batch))
        codes = self.dictionary.encode_sparse(x)
        n_active = self.ranks.over_latents(torch.tensor(float(len(codes.indices)), device=x.device))
        past, x_hat = self.dictionary.bypass(x), self.dictionary.training_decode(codes)
        line = {
            "step": self.n_steps,
            "n_tokens": self.n_tokens,
            "validation_l0": float(n_active) / len(x),
            "validation_fvu": _fvu(x_hat if past is None else x_hat + past, target),
        }
        self._write(line)
        self.shown["held-out FVU"] = line["validation_fvu"]

    def _write(self, line: dict[str, Any]) -> None:
        if not self.ranks.is_main:
            return
        with open(self._log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for observer in self.observers:
            observer(line)

    def _restore(self, saved: dict[str, Any]) -> None:
        self.n_steps, self.n_tokens = saved["n_steps"], saved["n_tokens"]
        self._saved_tokens, self.source_state = self.n_tokens, saved["source"]
        self.x_scales, self.target_scales = tuple(saved["x_scales"]), tuple(saved["target_scales"])
        if not self.ranks.is_main:
            return
        # Lines logged after the checkpoint belong to steps that are now taken again.
        lines = [
            line for line in self._log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
        ]
        kept = [line for line in lines if json.loads(line)["step"] <= self.n_steps]
        self._log.write_text("".join(kept), encoding="utf-8")


def _fvu(x_hat: Tensor, target: Tensor, ranks: Ranks = ALONE) -> float:
    residual = ranks.over_data((x_hat - target).square().sum()).item()
    n = ranks.over_data(torch.tensor(float(len(target)), device=target.device))
    mean = ranks.over_data(target.sum(0)) / n
    spread = ranks.over_data((target - mean).square().sum()).item()
    return residual / spread if spread else 0.0


def _groups(dictionary: TrainableDictionary) -> list[dict[str, Any]]:
    """Parameters by their learning rate relative to the others'."""
    factors = {name: dictionary.lr_factors.get(name, 1.0) for name, _ in dictionary.named_parameters()}
    return [
        {"params": [p for name, p in dictionary.named_parameters() if factors[name] == factor], "factor": factor}
        for factor in sorted(set(factors.values()))
    ]
