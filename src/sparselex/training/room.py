"""Whether training fits into memory, asked before anything is taken: a machine whose memory runs out kills programs
without a word."""

import os
from collections.abc import Sequence

import torch

from sparselex.base.errors import UserError
from sparselex.base.memory import free_memory
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.training.config import TrainConfig

LEARNED, KEPT = 16, 4
"""Bytes of a weight with its gradient and the two moments of Adam, in float32; and of one alone."""


def check_room(configs: Sequence[TrainConfig], ranks: Ranks = ALONE) -> None:
    """Raise `UserError` if dictionaries that are trained together cannot fit into the memory that is free now.

    Counted is what training cannot do without: weights, gradients and moments, not batches and codes. Processes that
    share the latents share these as well, and those of one machine its memory.
    """
    for device in sorted({config.device for config in configs}):
        here = [config for config in configs if config.device == device]
        n_beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if device == "cpu" and not ranks.is_alone else 1
        n_bytes = n_beside * sum(needed(config, ranks) for config in here)
        free = _free(device)
        if free is not None and n_bytes > free:
            raise _too_large(here, n_bytes, free, device)


def needed(config: TrainConfig, ranks: Ranks = ALONE) -> int:
    """Bytes without which one process cannot train a dictionary. Of one that is partly frozen it is not known here how
    much that part is: all of it is counted as if nothing were learned."""
    of_each = KEPT if config.frozen in ("decoder", "encoder") else LEARNED
    return of_each * config.dictionary.n_weights // ranks.n_latents


def _free(device: str) -> int | None:
    """Bytes that are free where a device has its tensors; None where that is not known."""
    kind = torch.device(device).type
    if kind == "cpu":
        return free_memory()
    if kind == "cuda" and torch.cuda.is_available():
        # What this process once had and holds in reserve is free as well.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    return None


def _too_large(configs: Sequence[TrainConfig], n_bytes: int, free: int, device: str) -> UserError:
    latents = sum(config.dictionary.d_sae for config in configs)
    what = f"A dictionary of {latents:,} latents" if len(configs) == 1 else f"{len(configs)} dictionaries at once"
    return UserError(
        f"{what} would take {_gib(n_bytes)} to train (weights, gradients, moments of Adam), and {_gib(free)} of memory "
        f"are free on {device}.",
        "work that fits into memory",
        "lower --expansion, or train fewer at once; with torchrun, --divide-latents divides one among processes.",
    )


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:,.1f} GiB"
