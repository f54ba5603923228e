"""How much is added when a run's latents, or a direction from a file, are steered."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.recipes.run import Run


def amounts(
    run: Run, latents: Sequence[int], direction: Path | None, strengths: Sequence[float], prompt: str
) -> dict[int, float] | Tensor:
    """What `Prompts.steered` takes: of latents multiples of their largest activation in the training split, of a
    direction a vector that is so many times as long as what is there on average on the prompt.

    Raises `UserError` where neither or both are given, for strengths that are not one for each, for a latent that does
    not exist or was never active, and for a file that holds no vector of the width that the dictionary writes.
    """
    if bool(latents) == (direction is not None):
        raise UserError(
            f"{'Neither a latent nor' if direction is None else 'A latent and'} a direction was given.",
            "one of both",
            "give --latent NUMBER, or --direction FILE.",
        )
    if len(strengths) not in (1, max(1, len(latents))):
        raise UserError(
            f"{len(strengths)} strengths were given for {max(1, len(latents))}.",
            "one for all, or one for each latent",
            "give --strength once, or as often as --latent.",
        )
    if direction is not None:
        return _vector(run, direction, prompt) * strengths[0]
    every = list(strengths) * len(latents) if len(strengths) == 1 else list(strengths)
    return {latent: strength * _largest(run, latent) for latent, strength in zip(latents, every, strict=True)}


def _largest(run: Run, latent: int) -> float:
    run.prompts.latents.checked(latent)
    largest = run.index.record(latent).statistics["train"].max
    if not largest:
        raise UserError(
            f"Latent {latent} is never active in the training split.",
            "a latent whose activations say what much is",
            "choose another latent, or steer by --kl along a --direction.",
        )
    return largest


def _vector(run: Run, path: Path, prompt: str) -> Tensor:
    found = _read(path).float().flatten()
    prompts = run.prompts
    width = run.model.width(prompts.latents.hook)
    if len(found) != width or not bool(torch.isfinite(found).all()) or not bool(found.any()):
        raise UserError(
            f"{path} holds {len(found)} numbers.",
            f"{width} finite ones that are not all 0: a direction at {prompts.latents.hook}",
            "give a direction of the place that the dictionary writes to.",
        )
    there = run.model.read(prompts.tokens(prompt), [prompts.latents.hook])[prompts.latents.hook][0]
    return found / found.norm() * float(there[int(prompts.bos_id is not None) :].float().norm(dim=-1).mean())


def _read(path: Path) -> Tensor:
    try:
        if path.suffix == ".npy":
            return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
        tensors = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"{path} cannot be read: {error}", "a vector in .npy or .safetensors", "write the direction to such a file."
        ) from None
    if len(tensors) != 1:
        raise UserError(f"{path} holds {len(tensors)} tensors.", "one vector", "write the direction alone to a file.")
    return next(iter(tensors.values()))
