"""Small dictionaries trained in several processes: a step of one is too little work for two threads, and there are
hundreds. What another process has made is found on disk; one that fails leaves its part to be made here."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from sparselex.base.files import make_folder, remove, write_file, write_json
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.nodes import Node

FEW = 24
"""Dictionaries up to which one process trains all: another takes seconds to begin."""

_MOST = 8
"""Processes."""

VALUES, JOBS = "values.safetensors", "jobs.json"


def n_processes(n_dictionaries: int) -> int:
    """How many processes train so many dictionaries: one for each processor that this one may use."""
    if n_dictionaries <= FEW:
        return 1
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST, n_cores)


@contextmanager
def others(
    values: Mapping[Node, Float[Tensor, "n d"]],
    config: TaskConfig,
    to: Path,
    inputs: Mapping[str, str],
    n: int,
    *,
    general: bool,
) -> Iterator[Callable[[], None]]:
    """While this is open `n - 1` other processes train their parts of the jobs, the first part is for this one; what
    comes back waits until they have ended. Each has one thread, and so has this one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _started(values, config, to, inputs, n, general=general) as started:
            yield lambda: _ended(started)
    finally:
        torch.set_num_threads(before)


@contextmanager
def _started(
    values: Mapping[Node, Float[Tensor, "n d"]],
    config: TaskConfig,
    to: Path,
    inputs: Mapping[str, str],
    n: int,
    *,
    general: bool,
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The other processes, which are gone when it closes."""
    if n == 1:
        yield []
        return
    folder = to / ".ahead"
    make_folder(folder)
    # Not save_file: it hides why the disk refused.
    write_file(folder / VALUES, save({str(number): value.contiguous() for number, value in enumerate(values.values())}))
    jobs = {
        "nodes": [str(node) for node in values],
        "config": config.to_json(),
        "inputs": dict(inputs),
        "to": str(to),
        "general": general,
    }
    write_json(folder / JOBS, jobs)
    command = [sys.executable, "-m", "sparselex.evaluate.supervised.one_part", str(folder), str(n), str(os.getpid())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = [
        subprocess.Popen([*command, str(part)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for part in range(1, n)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
            process.wait()
        remove(folder)


def _ended(started: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in started:
        process.wait()
