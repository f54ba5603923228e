"""Two dictionaries around an MLP, trained together so that few latents before it move any latent behind it.

The loss is that of both dictionaries and `weight · d_in · mean |J|` over pairs of active latents (Farnik et al. 2025,
arXiv:2502.18147, section 3.2). Squared errors are summed over `d_in` here, so that beside them a mean is multiplied by
it: `weight` stands beside errors that are means. J is of contributions, so that no latent gets a smaller derivative by
a longer decoder row, in units in which both sites have E|x|² = width, at the reconstruction of what the MLP reads.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import Field, FiniteFloat
from safetensors.torch import load_file, save
from torch import Tensor

from sparselex.activations.source import ActivationSource
from sparselex.base.artifacts import open_artifact, verified
from sparselex.base.bounds import Amount, Count, Seed, Tokens
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import write_file
from sparselex.base.seeds import derive
from sparselex.base.staging import Staging, stage
from sparselex.causal.jacobians import Active, LatentMlp
from sparselex.dictionaries.side_by_side import SideBySide
from sparselex.dictionaries.table import AnyDictionaryConfig
from sparselex.dictionaries.trainable import TrainableDictionary, new_dictionary
from sparselex.training.config import TrainConfig
from sparselex.training.log import LOG
from sparselex.training.schedules import peak_lr
from sparselex.training.step import Step
from sparselex.training.trainer import Trainer
from sparselex.training.walk import walk

KIND = "pair"
"""Kind of the artifact."""

WEIGHTS = "pair.safetensors"
"""Its weights, folded: `parts.0.` those of the dictionary before the MLP, `parts.1.` those of the one behind it."""

Between = Callable[[Tensor, Tensor], LatentMlp]
"""The MLP between what latents write `[d_sae_x, d_in]` and what latents read `[d_sae_y, d_out]`."""


class PairConfig(Config):
    """How two dictionaries around an MLP are trained together."""

    x: AnyDictionaryConfig
    """The one of what the MLP reads."""

    y: AnyDictionaryConfig
    """The one of what it writes."""

    weight: FiniteFloat = Field(ge=0)
    """Weight of the mean of |J|, beside mean squared errors; 0 trains without it."""

    every: Count = 4
    """The penalty looks at every n-th token of a batch."""

    n_tokens: Tokens
    """Tokens to train on."""

    batch_size: Count = 2048
    """Tokens in a step, nearly."""

    lr: Amount | None = None
    """Peak learning rate of Adam; None takes that of the wider of the two (`schedules.peak_lr`)."""

    checkpoint_tokens: Tokens = 500_000
    """Tokens between checkpoints."""

    device: str = "cpu"
    """Torch device of the weights."""

    seed: Seed = 0
    """Seed of the weights."""

    def training(self) -> TrainConfig:
        """The same as training takes it, for the two as one dictionary."""
        n_steps = max(1, round(self.n_tokens / self.batch_size))
        return TrainConfig(
            dictionary=self.x,
            n_tokens=self.n_tokens,
            batch_size=self.batch_size,
            lr=self.lr or peak_lr(max(self.x.d_sae, self.y.d_sae), n_steps),
            dead_after_tokens=min(10_000_000, max(50_000, self.n_tokens // 10)),
            checkpoint_tokens=self.checkpoint_tokens,
            device=self.device,
            seed=self.seed,
        )


class PairJob(NamedTuple):
    """One pair to be trained on a stream."""

    config: PairConfig
    """What to train, and how."""

    to: Path
    """Folder of the artifact."""

    inputs: Mapping[str, str]
    """Ids of what the activations were made from."""


class TrainedPair(NamedTuple):
    """A pair as it lies on disk."""

    dictionary: SideBySide
    """Both, folded."""

    scales: tuple[float, float]
    """What brings either site to E|x|² = width."""

    n_tokens: int
    """Tokens that it was trained on."""

    id: str
    """Id of the artifact."""


class JacobianPenalty:
    """The term of the loss: a function of a `Step` of a `SideBySide` of two. `scales` gives what the two sites are
    multiplied by in training, once that is known."""

    def __init__(self, between: Between, config: PairConfig, scales: Callable[[], Sequence[float]]):
        self._between, self._config, self._scales = between, config, scales

    def __call__(self, step: Step) -> Tensor:
        pair, every = step.dictionary, slice(None, None, self._config.every)
        if not isinstance(pair, SideBySide):
            raise TypeError("a Jacobian is one of two dictionaries side by side")
        active = [Active.of(codes).at(every) for codes in pair.codes_of(step.codes)]
        return self._config.weight * self._config.x.d_in * self.mean_size(pair, step.x_hat[every], *active)

    def mean_size(self, pair: SideBySide, x_hat: Tensor, source: Active, later: Active) -> Tensor:
        """Mean of |J| over pairs of active latents, in units of training, at reconstructions `[n, d_in]` of both
        sites."""
        (before, behind), (x_scale, y_scale) = pair.each, self._scales()
        latent = self._between(writes_of(before), reads_of(behind))
        x = pair.columns(x_hat)[0] / x_scale
        return y_scale / x_scale * latent.jacobians(x, source, later).mean_size()


def writes_of(dictionary: TrainableDictionary) -> Tensor:
    """`[d_sae, d_out]`, what a unit contribution of each latent writes."""
    return dictionary.W_dec / dictionary.row_sizes()[:, None].clamp_min(torch.finfo(dictionary.W_dec.dtype).tiny)


def reads_of(dictionary: TrainableDictionary) -> Tensor:
    """`[d_sae, d_in]`, of the contribution of each latent the derivative by what is read."""
    W_enc = dictionary.get_parameter("W_enc")
    return W_enc.T * dictionary.row_sizes()[:, None]


def train_pairs(source: ActivationSource, jobs: Sequence[PairJob], between: Between) -> list[TrainedPair]:
    """Train several pairs from one reading of `source`, whose batches have both sites side by side; each ends as if it
    had been trained alone, and killed at any moment goes on from its checkpoint.

    Raises `UserError` for a width mismatch, a source that ends too early, and where one diverges.
    """
    for job in jobs:
        widths = job.config.x.d_in, job.config.y.d_in
        if sum(widths) != source.d_in:
            raise UserError(
                f"The activations have width {source.d_in}, the dictionaries {widths[0]} and {widths[1]}.",
                "both sites side by side",
                "read the site before the MLP and the one behind it, in this order.",
            )
    with ExitStack() as stack:
        trainers: dict[int, Trainer] = {}
        for number, job in enumerate(jobs):
            staging = stack.enter_context(stage(job.to, KIND, job.config, job.inputs, resumes=True))
            if not staging.made:
                trainers[number] = _trainer(job.config, staging, between)
        failures = walk(source, None, trainers) if trainers else {}
        for number, trainer in trainers.items():
            if number in failures:
                raise failures[number]
            _finish(trainer)
    return [load_pair(job.to) for job in jobs]


def load_pair(path: Path) -> TrainedPair:
    """A finished pair. Raises `UserError` if it is not there, or not as it was written."""
    manifest = open_artifact(path, KIND)
    pair = _drawn(PairConfig.parse(manifest.config, str(path)))
    pair.fold([1.0, 1.0], [1.0, 1.0])
    pair.load_state_dict(load_file(verified(path, WEIGHTS, manifest)))
    x_scale, y_scale = manifest.notes["scales"]
    n_tokens: int = manifest.notes["n_tokens"]
    return TrainedPair(pair.eval().requires_grad_(False), (x_scale, y_scale), n_tokens, manifest.id)


def _drawn(config: PairConfig) -> SideBySide:
    """Both with the weights that the seed gives them."""
    draws = lambda name: torch.Generator().manual_seed(derive(config.seed, "pair", name))
    return SideBySide([new_dictionary(config.x, draws("x")), new_dictionary(config.y, draws("y"))])


def _trainer(config: PairConfig, staging: Staging, between: Between) -> Trainer:
    scales: Callable[[], Sequence[float]] = lambda: trainer.x_scales
    terms = [JacobianPenalty(between, config, scales)] if config.weight else []
    trainer = Trainer(_drawn(config), config.training(), staging, terms=terms)
    return trainer


def _finish(trainer: Trainer) -> None:
    pair = trainer.dictionary.cpu()
    pair.fold(trainer.x_scales, trainer.target_scales)
    tensors = {name: value.detach().contiguous() for name, value in pair.state_dict().items()}
    weights = write_file(
        trainer.staging.folder / WEIGHTS, save(tensors)
    )  # not save_file: it hides why the disk refused
    measured: dict[str, Any] = {
        "scales": list(trainer.x_scales),
        "n_steps": trainer.n_steps,
        "n_tokens": trainer.n_tokens,
        "n_dead": len(trainer.silence.dead),
    }
    trainer.staging.finish(measured, files={WEIGHTS: weights, LOG: None})
