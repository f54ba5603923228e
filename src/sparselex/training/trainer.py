"""One dictionary in training: everything that changes from step to step."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparselex.activations.source import Batch
from sparselex.base.seeds import derive
from sparselex.base.staging import Staging
from sparselex.causal.spliced import Places, places_in
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.training.adam import Adam, groups_of
from sparselex.training.calibrate import Columns, scaled, scales
from sparselex.training.checkpoint import load_checkpoint, save_checkpoint
from sparselex.training.config import TrainConfig
from sparselex.training.dead import Silence
from sparselex.training.diverged import check_step, check_weights
from sparselex.training.finish import Finish
from sparselex.training.frozen import Freeze
from sparselex.training.leaves import Leaves
from sparselex.training.log import Observer, TrainingLog
from sparselex.training.measure import held_out_figures, step_figures
from sparselex.training.objectives import auxk, penalty, reconstruction
from sparselex.training.resample import Candidates, resample
from sparselex.training.rows import LiveBatch, n_tokens_of
from sparselex.training.schedules import lr_factor, peak_lr
from sparselex.training.step import Step

Term = Callable[[Step], Tensor]
"""A term of the loss: a number with gradients, from what a step computed."""

Ahead = Callable[[int], Sequence[Batch]]
"""The batches that come next, with that many tokens together or more, as far as there are any; the stream does not
move."""

_SILENT = 0.05
"""L0 below which a dictionary says next to nothing."""

_MANY_DEAD = 0.5
_log = logging.getLogger(__name__)


class Loss(NamedTuple):
    """The loss of a batch."""

    value: Tensor
    """What this process differentiates."""

    reported: Tensor
    """What is logged: of processes that share the latents each has the penalties of its own, here are those of all."""


class Trainer:
    """A dictionary, its optimiser and its log; as it is given, or as the stage's checkpoint has it.

    Args:
        dictionary: freshly made, from the seed of `config`: what is frozen stays as it is now.
        config: how it is trained.
        staging: the stage that it is written to.
        columns: the part of the stream that it reads and reconstructs.
        validation: held-out activations.
        places: the sites of all that the stream reconstructs, where there is a finish.
        terms: further terms of the loss.
        observers: called with every line of the log.
    """

    def __init__(
        self,
        dictionary: TrainableDictionary,
        config: TrainConfig,
        staging: Staging,
        *,
        columns: Columns | None = None,
        validation: Batch | None = None,
        places: Places = (),
        terms: Sequence[Term] = (),
        observers: Sequence[Observer] = (),
    ):
        self.dictionary: TrainableDictionary = dictionary.to(config.device)
        self.config, self.staging, self.ranks = config, staging, dictionary.ranks
        self.columns, self.terms, self._validation = columns or Columns(), terms, validation
        self.freeze = Freeze(self.dictionary, config.frozen, config.frozen_cosine)
        self.lr = config.lr or peak_lr(config.dictionary.d_sae, config.n_steps)
        self.optimiser = Adam(groups_of(self.dictionary), lr=self.lr)
        self.silence = Silence(self.dictionary.d_sae, config.dead_after_tokens, torch.device(config.device))
        self.n_steps = self.n_tokens = self._saved_tokens = 0
        self.n_finish_steps = self.n_finish_tokens = 0
        self.finish: Finish | None = None
        if config.finish != "nothing":
            self.finish = Finish(self.dictionary, config.finish)
            self._places = places_in(places, self.columns.x if dictionary.is_autoencoder else self.columns.target)
        self.x_scales, self.target_scales = tuple[float, ...](), tuple[float, ...]()
        self._warned, self.shown = False, dict[str, float]()
        self.log = TrainingLog(staging.folder, observers, writes=self.ranks.is_main)
        self.source_state: dict[str, Any] | None = None
        """Where the source stood when the checkpoint was written; None for a new start."""
        if (saved := load_checkpoint(staging.folder, self.dictionary, self.optimiser, self.silence)) is not None:
            self._restore(saved)

    @property
    def is_done(self) -> bool:
        """Whether all tokens have been trained on."""
        return self.n_tokens >= self.config.n_tokens

    @property
    def is_before_finish(self) -> bool:
        """Whether tokens are left that come before the finish, or all of them where there is none."""
        return self.n_tokens < self.config.n_tokens_before_finish

    @property
    def n_validation_tokens(self) -> int:
        """Tokens that the held-out figures of the log are of."""
        return 0 if self._validation is None else len(self._validation.x)

    @property
    def is_due_for_saving(self) -> bool:
        """Whether enough tokens have passed since the last checkpoint."""
        return self.n_tokens - self._saved_tokens >= self.config.checkpoint_tokens

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
        self.dictionary.take_scales(self.x_scales, self.target_scales)
        self.dictionary.prepare(*self._scaled(x, target))
        self.freeze.after_step()  # starting values may have been taken from the data
        self.log.begin()

    def step(self, batch: Batch | LiveBatch, ahead: Ahead | None = None) -> None:
        """One batch: codes, loss, gradients, Adam. Of one that all processes have, this one takes its share. `ahead`
        gives the batches to come, for resampling."""
        n, ranks = n_tokens_of(batch), self.ranks
        live, batch = (batch, batch.batch) if isinstance(batch, LiveBatch) else (None, self._share(batch))
        leaves = Leaves()
        step = self._coded(batch, live)
        loss = self._loss(step, self._error(step, batch, live), leaves)
        norm = self._differentiate(loss.value, leaves, weight=len(step.x) * ranks.n_data / n)
        check_step(self.n_steps + 1, loss.value.item(), norm.item(), self.lr, self.log.path)
        self._set_rates()
        self.optimiser.clipped_step(norm, math.inf if self.config.clip is None else self.config.clip)
        self.silence.update(step.codes, ranks)
        if self._is_due_for_resampling():
            self._resample(step, None if live else ahead)
        self.freeze.after_step()
        if live is not None:
            self.n_finish_steps, self.n_finish_tokens = self.n_finish_steps + 1, self.n_finish_tokens + n
        self.n_steps += 1
        self.n_tokens += n
        if self.is_done:
            check_weights(self.dictionary, self.lr, self.log.path)
        self._report(step, loss.reported)

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
            "n_finish_steps": self.n_finish_steps,
            "n_finish_tokens": self.n_finish_tokens,
            "finish": self.finish and self.finish.state(),
        }
        save_checkpoint(self.staging.folder, self.dictionary, self.optimiser, self.silence, progress, self.ranks)

    def _restore(self, saved: dict[str, Any]) -> None:
        self.n_steps, self.n_tokens = saved["n_steps"], saved["n_tokens"]
        self._saved_tokens, self.source_state = self.n_tokens, saved["source"]
        self.x_scales, self.target_scales = tuple(saved["x_scales"]), tuple(saved["target_scales"])
        self.n_finish_steps, self.n_finish_tokens = saved["n_finish_steps"], saved["n_finish_tokens"]
        if self.finish is not None:
            self.finish.load_state(saved["finish"])
        self.log.cut(self.n_steps)
        self.dictionary.take_scales(self.x_scales, self.target_scales)

    def _share(self, batch: Batch) -> Batch:
        """Of a batch that all processes have, what this one takes of it."""
        if self.ranks.n_data == 1:
            return batch
        return batch.at(np.array_split(np.arange(len(batch.positions)), self.ranks.n_data)[self.ranks.data])

    def _tokens(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """This dictionary's part of the batch, before it is scaled; no target where that is the input."""
        x, target = self.columns.take(batch, self.dictionary.is_autoencoder)
        return self.dictionary.training_tokens(x), None if target is x else target

    def _scaled(self, x: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
        device = self.config.device
        x = scaled(x.to(device), self.dictionary.parts_in, self.x_scales)
        return x, x if target is None else scaled(target.to(device), self.dictionary.parts_out, self.target_scales)

    def _coded(self, batch: Batch, live: LiveBatch | None) -> Step:
        """Codes and reconstruction of a batch; in the finish, whose rows are `live`, it may have a say in them."""
        dictionary, gradients = self.dictionary, self.config.gradients
        x, target = self._scaled(*self._tokens(batch))
        dead = self.silence.dead
        codes = dictionary.training_codes(x, gradients=gradients)
        if self.finish is not None and live is not None:
            raw, scales = self.columns.take(batch, dictionary.is_autoencoder)[0], self.target_scales
            codes = self.finish.codes(codes, (x, target), live, raw, self._places, scales, gradients=gradients)
        x_hat, past = dictionary.training_decode(codes, gradients=gradients), dictionary.bypass(x)
        whole, progress = x_hat if past is None else x_hat + past, self._n_steps_due / self.config.n_steps
        return Step(dictionary, x, target, codes, whole, dead, progress, past, batch.positions)

    def _error(self, step: Step, batch: Batch, live: LiveBatch | None) -> Tensor:
        """How far the reconstruction is off; in the finish, what the model loses by it counts as much."""
        error = reconstruction(step)
        if self.finish is None:
            return error
        if live is None:
            self.finish.note_l0(step)
            return error
        self.finish.steer(step)
        x = self.columns.take(batch, self.dictionary.is_autoencoder)[0]
        return self.finish.loss(step, error, live, x, self._places, self.target_scales)

    def _loss(self, step: Step, error: Tensor, leaves: Leaves) -> Loss:
        config = self.config
        k_aux = config.k_aux or max(1, self.dictionary.aux_width // 2)
        aux = auxk(step, alpha=config.auxk_alpha, k_aux=k_aux, share=config.auxk_share, select=leaves.select)
        own = penalty(step)
        loss = error + own + aux
        for term in self.terms:
            loss = loss + term(step)
        return Loss(loss, loss.detach() - own.detach() + self.ranks.over_latents(own.detach()))

    def _differentiate(self, loss: Tensor, leaves: Leaves, *, weight: float) -> Tensor:
        """Gradients of the whole batch, and their norm; `weight` is this process's tokens over an even share."""
        self.optimiser.zero_grad()
        loss.backward()
        leaves.add_gradients()
        if not self.ranks.is_alone:
            self._share_gradients(weight)
        self.freeze.before_clipping()
        return self._gradient_norm()

    @torch.no_grad()
    def _share_gradients(self, weight: float) -> None:
        """Average gradients over the processes that share the batch."""
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

    def _set_rates(self) -> None:
        config = self.config
        warmup_steps = min(1000, math.ceil(config.warmup_share * config.n_steps))
        factor = lr_factor(self._n_steps_due, config.n_steps, warmup_steps=warmup_steps, decay_share=config.decay_share)
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * max(factor, 0.0) * group["factor"]

    @property
    def _n_steps_due(self) -> float:
        """Where schedules stand. In the finish batches may be of another size: tokens tell."""
        if self.is_before_finish or self.finish is None:
            return float(self.n_steps)
        return self.n_tokens / self.config.n_tokens * self.config.n_steps

    def _is_due_for_resampling(self) -> bool:
        n = self.config.n_steps
        return any(self.n_steps < share * n <= self.n_steps + 1 for share in self.dictionary.resample_shares)

    def _resample(self, step: Step, ahead: Ahead | None) -> None:
        """Resample what is silent, among the tokens to come where the configuration says so, else those of `step`."""
        config = self.config
        dead = self.silence.silent_for(config.resample_after_tokens or config.dead_after_tokens)
        if not int(self.ranks.over_latents(torch.tensor(len(dead), device=dead.device))):
            return
        coming = ahead(config.resample_tokens) if ahead and config.resample_tokens else []
        with torch.no_grad():
            among = [Candidates.of(self._coded(self._share(batch), None)) for batch in coming] or [Candidates.of(step)]
        generator = torch.Generator().manual_seed(derive(config.seed, "resample", self.n_steps))
        drawn = resample(self.dictionary, dead, Candidates.join(among), self.optimiser, generator)
        self.silence.n_tokens[drawn] = 0

    def _report(self, step: Step, loss: Tensor) -> None:
        """Lines of the log that are due after this step."""
        config, at = self.config, {"step": self.n_steps, "n_tokens": self.n_tokens}
        if self.n_steps % config.log_steps == 1 or config.log_steps == 1:
            found = step_figures(step, loss) | (self.finish.shown if self.finish else {})
            self.log.write(at | found)
            self._warn(found["dead_share"])
            names = {"loss": "loss", "l0": "L0", "fvu": "FVU", "dead_share": "dead", "kl": "KL"}
            self.shown |= {shown: found[name] for name, shown in names.items() if name in found}
        if self._validation is not None and (self.n_steps % config.validation_steps == 0 or self.is_done):
            found = held_out_figures(self.dictionary, *self._scaled(*self._tokens(self._validation)))
            self.log.write(at | found)
            self.shown["held-out FVU"] = found["validation_fvu"]
            if self.is_done and found["validation_l0"] < _SILENT:
                _log.warning(
                    "Hardly a latent is active on validation documents (L0 %.3g): what the dictionary gives is as good "
                    "as constant. Lower the sparsity penalty (--l1), which may be too much for activations whose mean "
                    "is most of them.",
                    found["validation_l0"],
                )

    def _warn(self, dead_share: float) -> None:
        if dead_share <= _MANY_DEAD or self._warned:
            return
        self._warned = True
        _log.warning(
            "%.0f %% of the latents are dead after %s tokens: lower the learning rate or the sparsity penalty, or "
            "train fewer latents.",
            100 * dead_share,
            f"{self.n_tokens:,}",
        )
