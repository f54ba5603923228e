"""Decompose the matrices of a target: the walk from inputs to components, which goes on where it was killed."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from sparselex.base.errors import UserError
from sparselex.base.files import write_file
from sparselex.base.progress import Bar, progress
from sparselex.base.seeds import derive
from sparselex.dictionaries.checkpoints import read_checkpoint
from sparselex.parameters.components import Components
from sparselex.parameters.config import SpdConfig
from sparselex.parameters.losses import Losses, Parts, draw, losses
from sparselex.parameters.target import Target

Inputs = Callable[[int, torch.Generator], Tensor]
"""Draws so many inputs; which, the generator alone decides."""

_SECONDS_BETWEEN_CHECKPOINTS = 20.0
_STEPS_BETWEEN_LOOKS = 50
"""The loss is looked at this often, to be shown and to be found infinite."""


def decompose(target: Target, inputs: Inputs, config: SpdConfig, checkpoint: Path, about: str) -> Parts:
    """Train components of every matrix of `target` on what `inputs` draws, by Adam on all four losses.

    The file `checkpoint` holds all that decides the next step; where it is there already, training goes on from it and
    ends in the same components as if it had never been stopped. `about` stands beside the progress bar. Raises
    `UserError` where the loss is not finite.
    """
    generator = torch.Generator().manual_seed(derive(config.seed, "components"))
    made = new_components(target, inputs, config, generator)
    parts = nn.ModuleDict(made)
    optimiser = torch.optim.Adam(_groups(parts, config), fused=True)
    done = _restored(checkpoint, parts, optimiser, generator)
    saved = time.monotonic()
    with progress(about, config.n_steps, "steps", done=done) as bar:
        for step in range(done, config.n_steps):
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * 0.5 * (1 + math.cos(math.pi * step / config.n_steps))
            found = _take_step(target, inputs, made, optimiser, config, generator)
            bar.advance(1)
            if step % _STEPS_BETWEEN_LOOKS == 0:
                _look(found, step, about, bar)
            if time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                _save(checkpoint, parts, optimiser, generator, step + 1)
                saved = time.monotonic()
        if done < config.n_steps:  # no step comes behind the last one that would show what became of it
            _look(_lost(target, inputs, made, config), config.n_steps, about, bar)
    _save(checkpoint, parts, optimiser, generator, config.n_steps)
    parts.requires_grad_(False)
    return made


def new_components(
    target: Target, inputs: Inputs, config: SpdConfig, generator: torch.Generator
) -> dict[str, Components]:
    """Components of every matrix as they are before training.

    Random directions read a little of every feature, and training from there ends where some features share components
    (docs/parameters.md has the figures); an input has few features, some inputs one. Directions of the matrices' own
    inputs are therefore where components begin, unless the configuration says otherwise.
    """
    with torch.no_grad():
        there = target.run(inputs(config.n_components, generator), {}).inputs
    found = {}
    for name, weight in target.weights.items():
        v = there[name]
        if config.begin == "random":
            v = torch.randn(config.n_components, weight.shape[1], generator=generator, dtype=weight.dtype)
        found[name] = Components(weight, v, config.d_gate, generator, config.cut)
    return found


def _groups(parts: nn.ModuleDict, config: SpdConfig) -> list[dict[str, Any]]:
    """Parameters by their learning rates; of one rate all together, in their order."""
    named = list(parts.named_parameters())
    if config.gate_lr == 1:
        return [{"params": [one for _, one in named], "peak": config.lr}]
    is_gate = lambda name: name.rpartition(".")[2].startswith("gate")
    return [
        {"params": [one for name, one in named if is_gate(name) == gate], "peak": config.lr * rate}
        for gate, rate in ((False, 1.0), (True, config.gate_lr))
    ]


def _take_step(
    target: Target,
    inputs: Inputs,
    parts: Parts,
    optimiser: torch.optim.Optimizer,
    config: SpdConfig,
    generator: torch.Generator,
) -> Losses:
    x = inputs(config.batch_size, generator)
    found = losses(target, x, parts, draw(parts, len(x), generator, config.bare), config)
    optimiser.zero_grad()
    found.weighted(config).backward()
    optimiser.step()
    return found


@torch.no_grad()
def _lost(target: Target, inputs: Inputs, parts: Parts, config: SpdConfig) -> Losses:
    """The losses on inputs of their own."""
    generator = torch.Generator().manual_seed(derive(config.seed, "last look"))
    x = inputs(config.batch_size, generator)
    return losses(target, x, parts, draw(parts, len(x), generator, config.bare), config)


def _look(found: Losses, step: int, about: str, bar: Bar) -> None:
    """Show the losses. Raises `UserError` where one is not finite."""
    values = {name: float(value.detach()) for name, value in found._asdict().items()}
    if not all(map(math.isfinite, values.values())):
        raise _diverged(about, step)
    bar.show(**values)


def _diverged(about: str, step: int) -> UserError:
    return UserError(
        f"Decomposing {about} came to a loss that is not finite, in step {step:,}.",
        "losses that fall",
        "lower lr (--lr), or the weight of the penalty (--minimality).",
    )


def _save(
    path: Path, parts: nn.ModuleDict, optimiser: torch.optim.Optimizer, generator: torch.Generator, step: int
) -> None:
    tensors = {f"weights/{name}": value for name, value in parts.state_dict().items()}
    for name, parameter in parts.named_parameters():
        tensors |= {f"adam/{name}/{key}": value for key, value in optimiser.state.get(parameter, {}).items()}
    tensors |= {"generator": generator.get_state(), "step": torch.tensor(step)}
    write_file(path, save({name: value.detach().contiguous() for name, value in tensors.items()}))


def _restored(path: Path, parts: nn.ModuleDict, optimiser: torch.optim.Optimizer, generator: torch.Generator) -> int:
    """Take up what `_save` wrote, and say how many steps were taken then; 0 where there is nothing."""
    if not path.exists():
        return 0
    kept = {f"weights/{name}" for name in parts.state_dict()} | {"generator", "step"}
    tensors = read_checkpoint(path, kept)
    parts.load_state_dict({name: tensors[f"weights/{name}"] for name in parts.state_dict()})
    for name, parameter in parts.named_parameters():
        keys = [key for key in tensors if key.startswith(f"adam/{name}/")]
        if keys:
            optimiser.state[parameter] = {key.rpartition("/")[2]: tensors[key] for key in keys}
    generator.set_state(tensors["generator"])
    return int(tensors["step"])
