"""How much is added when a run's latents, or a direction from a file, are steered."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.recipes.run import Run


class Given(NamedTuple):
    """What the command line was given of how to steer."""

    prompt: str | None
    latents: Sequence[int]
    direction: Path | None
    strengths: Sequence[str] | None
    kl: float | None
    value: float | None
    at: str


def check_given(given: Given, *, pin: bool) -> None:
    """Raise `UserError` for what means nothing together: how much is added and to what value a latent is held are two
    ways of saying how much, and a prompt may be left out under a pin alone."""
    adds = [name for name, there in (("--strength", given.strengths), ("--kl", given.kl)) if there is not None]
    holds = [name for name, there in (("--value", given.value is not None), ("--at", given.at != "all")) if there]
    if pin and (adds or given.direction is not None or len(given.latents) != 1):
        named = ", ".join([*adds, *(["--direction"] if given.direction is not None else [])])
        raise UserError(
            f"--pin was given with {named or f'{len(given.latents)} latents'}.",
            "one --latent, which is held at --value",
            "give --latent NUMBER once, and leave the rest out.",
        )
    if not pin and holds:
        raise UserError(f"{holds[0]} was given without --pin.", "--pin, which holds a latent at a value", "add --pin.")
    if not pin and given.prompt is None:
        raise UserError("No prompt was given.", "a text that the model goes on from", 'give --prompt "...".')


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
    if twice := [latent for latent in latents if list(latents).count(latent) > 1]:
        raise UserError(f"Latent {twice[0]} was named twice.", "each latent once", "add its strengths up.")
    if direction is not None:
        return _vector(run, direction, prompt) * strengths[0]
    every = list(strengths) * len(latents) if len(strengths) == 1 else list(strengths)
    return {latent: strength * _largest(run, latent) for latent, strength in zip(latents, every, strict=True)}


def numbers(given: Sequence[str]) -> list[float]:
    """Numbers that are repeated or separated by commas. Raises `UserError` for what is none."""
    found = list[float]()
    for word in ",".join(given).split(","):
        try:
            found.append(float(word))
        except ValueError:
            raise UserError(f"{word!r} was given as a strength.", "a number", "write 2, or 1.5,-2.") from None
    return found


def _largest(run: Run, latent: int) -> float:
    run.prompts.latents.checked(latent)
    run.manifest("index")  # missing, it says which command makes it
    largest = run.index.record(latent).statistics["train"].max
    if not largest:
        raise UserError(
            f"Latent {latent} is never active in the training split.",
            "a latent whose activations say what much is",
            "choose another latent, or steer by --kl along a --direction.",
        )
    return largest


def _vector(run: Run, path: Path, prompt: str) -> Tensor:
    there, prompts = _read(path), run.prompts
    width = run.model.width(prompts.latents.hook)
    if there.ndim != 1 or there.is_complex():
        raise UserError(
            f"{path} holds numbers of the shape {[*there.shape]} and type {str(there.dtype).removeprefix('torch.')}.",
            f"one vector of {width} real numbers",
            "write the direction alone to a file: a table of several would be taken for one.",
        )
    found = there.float()
    wrong = f"{int((~torch.isfinite(found)).sum())} of them not finite" if not torch.isfinite(found).all() else ""
    wrong = wrong or ("" if found.any() else "all of them 0")
    if len(found) != width or wrong:
        raise UserError(
            f"{path} holds {len(found)} numbers{wrong and ', '}{wrong}.",
            f"{width} finite ones that are not all 0: a direction at {prompts.latents.hook}",
            "give a direction of the place that the dictionary writes to.",
        )
    return found / found.norm() * prompts.mean_norm(prompt)


def _read(path: Path) -> Tensor:
    try:
        if path.suffix == ".npy":
            return torch.from_numpy(np.load(path, allow_pickle=False))
        tensors = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path} is not there.", "a file with a direction", "check the path.") from None
    except (OSError, ValueError, TypeError, EOFError, SafetensorError):
        form = "numbers in the form of NumPy" if path.suffix == ".npy" else "tensors in the form of safetensors"
        raise UserError(
            f"{path} cannot be read: it holds no {form}.",
            "a vector in .npy or .safetensors",
            "write it by `numpy.save` or `safetensors.torch.save_file`.",
        ) from None
    if len(tensors) != 1:
        raise UserError(f"{path} holds {len(tensors)} tensors.", "one vector", "write the direction alone to a file.")
    return next(iter(tensors.values()))
