"""Checkpoints inside the stage folder: everything that decides the next step, written aside and renamed."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from sparselex.base.files import flush, flush_all, read_json, write_json
from sparselex.dictionaries.checkpoints import read_checkpoint
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.trainable import TrainableDictionary, new_dictionary
from sparselex.training.dead import Silence
from sparselex.training.log import LOG

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

    Of processes that share the latents the first writes what all of them hold, so that any number of processes can go
    on from it.
    """
    tensors = {f"weights/{name}": value for name, value in dictionary.state_dict().items()}
    tensors |= {f"adam/{name}": value for name, value in _moments(dictionary, optimiser).items()}
    tensors["silence"] = silence.n_tokens
    tensors = {name: found for name, value in tensors.items() if (found := whole(value, name, dictionary)) is not None}
    if not ranks.is_main:
        return
    packed = save({name: value.detach().contiguous() for name, value in tensors.items()})
    _put_in_place(folder, packed, progress)


def _put_in_place(folder: Path, packed: bytes, progress: dict[str, Any]) -> None:
    """Write aside and rename: what was there before stays until the new one is whole."""
    aside, place = folder / "checkpoint.new", folder / FOLDER
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    (aside / "state.safetensors").write_bytes(packed)
    write_json(aside / "progress.json", progress)
    flush_all(aside)  # the rename must never be on disk before the bytes
    if (log := folder / LOG).exists():
        flush(log)  # lines up to here are not written again
    old = folder / "checkpoint.old"
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.rename(place, old)
    os.rename(aside, place)
    flush(folder)  # nor may the old one be gone before the new one is there
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    folder: Path, dictionary: TrainableDictionary, optimiser: torch.optim.Optimizer, silence: Silence
) -> dict[str, Any] | None:
    """Restore what `save_checkpoint` wrote and return its progress, or None where there is no checkpoint.

    Of processes that share the latents each takes its part; of the file's pages only those are read that it copies
    from. Raises `UserError` for one that is damaged.
    """
    place = folder / FOLDER
    if not place.exists() and (folder / "checkpoint.old").exists():
        place = folder / "checkpoint.old"  # killed between the two renames
    progress = read_json(place / "progress.json")
    if progress is None:
        return None
    names = {f"weights/{name}" for name in dictionary.state_dict()} | {"silence"}
    read = read_checkpoint(place / "state.safetensors", names, place)
    tensors = {name: part(value, name, dictionary) for name, value in read.items()}
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


def whole(value: Tensor, name: str, dictionary: TrainableDictionary) -> Tensor | None:
    """The tensor `name` of a checkpoint, put together from all processes that share the latents; None but in the main
    process."""
    place = _place(value, name, dictionary)
    return value if place is None else dictionary.ranks.whole(value, *place)


def part(value: Tensor, name: str, dictionary: TrainableDictionary) -> Tensor:
    """This process's part of the tensor `name` of a checkpoint."""
    place = _place(value, name, dictionary)
    return value if place is None else dictionary.ranks.part(value, *place)


def whole_dictionary(dictionary: TrainableDictionary) -> TrainableDictionary | None:
    """The dictionary put together from all processes that share its latents, on the CPU; None but in the main
    process."""
    ranks = dictionary.ranks
    if ranks.n_latents == 1:
        return dictionary.cpu() if ranks.is_main else None
    state = dictionary.state_dict()
    gathered = {name: whole(value, f"weights/{name}", dictionary) for name, value in state.items()}
    if not ranks.is_main:
        return None
    found = new_dictionary(dictionary.config)
    found.load_state_dict(gathered)
    return found


def _place(value: Tensor, name: str, dictionary: TrainableDictionary) -> tuple[int, int] | None:
    """Along which dimension a tensor lists latents and in how many blocks; None where it does not."""
    if name == "silence":
        return 0, dictionary.config.n_blocks
    parameter = name.split("/")[1]
    dim = dictionary.latent_dim(parameter)
    if dim is None or not value.ndim:  # Adam counts its steps in a single number
        return None
    return dim, 1 if "." in parameter else dictionary.config.n_blocks  # of a list each tensor is a block


def _moments(dictionary: TrainableDictionary, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value
        for name, parameter in dictionary.named_parameters()
        for key, value in optimiser.state[parameter].items()
    }
