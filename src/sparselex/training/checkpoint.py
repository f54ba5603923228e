"""Checkpoints inside the stage folder: everything that decides the next step, written aside and renamed."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from sparselex.base.artifacts import read_json, write_json
from sparselex.dictionaries.dictionary import TrainableDictionary
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.training.adam import Adam
from sparselex.training.dead import Silence

FOLDER = "checkpoint"


def save_checkpoint(
    folder: Path,
    dictionary: TrainableDictionary,
    optimiser: torch.optim.Optimizer,
    silence: Silence,
    progress: dict[str, Any],
    ranks: Ranks = ALONE,
) -> None:
    """Write weights, moments, silence counters and `progress` (JSON values) to `folder/checkpoint`.

    Of processes that share the latents the first writes what all of them hold, so that any number of processes can go on from it.
    """
    tensors = {f"weights/{name}": value for name, value in dictionary.state_dict().items()}
    tensors |= {f"adam/{name}": value for name, value in _moments(dictionary, optimiser).items()}
    tensors["silence"] = silence.n_tokens
    tensors = {name: whole(value, name, dictionary) for name, value in tensors.items()}
    if not ranks.is_main:
        return
    aside, place = folder / "checkpoint.new", folder / FOLDER
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    packed = save({name: value.detach().contiguous() for name, value in tensors.items()})
    with open(aside / "state.safetensors", "wb") as file:
        file.write(packed)
        file.flush()
        os.fsync(file.fileno())  # the rename must never be on disk before the bytes
    write_json(aside / "progress.json", progress)
    old = folder / "checkpoint.old"
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.rename(place, old)
    os.rename(aside, place)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    folder: Path, dictionary: TrainableDictionary, optimiser: torch.optim.Optimizer, silence: Silence
) -> dict[str, Any] | None:
    """Restore what `save_checkpoint` wrote and return its progress, or None where there is no checkpoint."""
    place = folder / FOLDER
    if not place.exists() and (folder / "checkpoint.old").exists():
        place = folder / "checkpoint.old"  # killed between the two renames
    progress = read_json(place / "progress.json")
    if progress is None:
        return None
    tensors = load_file(place / "state.safetensors")
    with torch.no_grad():
        for name, value in dictionary.state_dict().items():
            value.copy_(tensors[f"weights/{name}"])
        for name, parameter in dictionary.named_parameters():
            # Moments take the parameter's own memory layout, as Adam makes them.
            state = {"step": tensors[f"adam/{name}/step"].to(parameter.device)}
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment] = torch.empty_like(parameter).copy_(tensors[f"adam/{name}/{moment}"])
            optimiser.state[parameter] = state
        silence.n_tokens.copy_(tensors["silence"])
    return progress


def whole(value: Tensor, name: str, dictionary: TrainableDictionary) -> Tensor:
    """The tensor `name` of a checkpoint, put together from all processes that share the latents."""
    parameter = name.split("/")[1] if "/" in name else name
    dim = 0 if parameter == "silence" else dictionary.latent_dims.get(parameter)
    return value if dim is None or not value.ndim else dictionary.ranks.whole(value, dim)


def take_part(dictionary: TrainableDictionary, optimiser: Adam, silence: Silence, ranks: Ranks) -> None:
    """Keep this process's part of the latents, with its moments and counters; the dictionary then works with the others."""
    dictionary.ranks = ranks
    if ranks.n_latents == 1:
        return
    replaced = {}
    for name, dim in dictionary.latent_dims.items():
        if name in dict(dictionary.named_buffers()):
            setattr(dictionary, name, ranks.part(dictionary.get_buffer(name), dim).clone())
            continue
        old = dictionary.get_parameter(name)
        # W_enc lies latent by latent: the copy keeps that.
        new = torch.nn.Parameter(ranks.part(old.detach(), dim).clone(memory_format=torch.preserve_format))
        setattr(dictionary, name, new)
        replaced[old] = new, lambda moment, dim=dim: ranks.part(moment, dim).clone()
    optimiser.replace(replaced)
    dictionary.d_sae //= ranks.n_latents
    silence.n_tokens = ranks.part(silence.n_tokens, 0).clone()


def _moments(dictionary: TrainableDictionary, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value
        for name, parameter in dictionary.named_parameters()
        for key, value in optimiser.state[parameter].items()
    }
