"""Make `golden.json`, the loss curves that `test_golden` holds every type to: `python -m tests.training.golden`.

Run it again only where a change is meant to change what is learned, and say in the lab log why it did.
"""

import json
import tempfile
from pathlib import Path

import torch

from tests.support.mixtures import KINDS, log_of, training_of

FILE = Path(__file__).parent / "golden.json"


def curves() -> dict[str, dict[str, list[float]]]:
    """Loss and L0 in five lines of the log of a short run of each type, at fixed seeds on one thread."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            lines = log_of(training_of(kind), Path(folder) / kind)
            found[kind] = {name: [line[name] for line in lines] for name in ("loss", "l0")}
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    FILE.write_text(json.dumps(curves(), indent=1) + "\n", encoding="utf-8")
