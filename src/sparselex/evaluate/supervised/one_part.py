"""One of several processes that train small dictionaries: `python -m sparselex.evaluate.supervised.one_part FOLDER N
PARENT PART`. What it made is found on disk."""

import json
import logging
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from sparselex.evaluate.supervised.ahead import JOBS, VALUES
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.nodes import Node
from sparselex.evaluate.supervised.rows import made_of, recipes_of


def train_part(folder: Path, n: int, parent: int, part: int) -> None:
    """Train every `n`-th of the jobs that a folder names, from `part` on, as long as the process `parent` is there."""
    jobs = json.loads((folder / JOBS).read_text(encoding="utf-8"))
    config, tensors = TaskConfig.parse(jobs["config"], "the jobs"), load_file(folder / VALUES)
    values = {Node.parse(node): tensors[str(number)] for number, node in enumerate(jobs["nodes"])}
    for recipe in recipes_of(config, general=jobs["general"])[part::n]:
        if os.getppid() != parent:
            return
        made_of(recipe, values, config, Path(jobs["to"]), jobs["inputs"])


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    train_part(Path(sys.argv[1]), *map(int, sys.argv[2:]))
