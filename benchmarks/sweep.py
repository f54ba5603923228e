"""A sweep of eight dictionaries from one stream against their training steps alone and one reading of the stream.

Limit: eight times the steps and one forward pass of the model. Eight trainings one after the other would read the model
eight times.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.corpus import small_corpus
from benchmarks.ratios import options, ratio, show
from sparselex.activations.live import LiveUnits, Reader
from sparselex.activations.shuffle import ShuffledSource
from sparselex.activations.source import Batch
from sparselex.base.figures import Figure
from sparselex.base.memory import keep_freed_memory
from sparselex.base.sites import Sites
from sparselex.base.staging import stage
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.lm.load import load_model
from sparselex.training.config import TrainConfig
from sparselex.training.train import Job, train_many
from sparselex.training.trainer import Trainer

HOOK = "blocks.0.mlp.hook_post"
BATCH = 2048
MEMBERS = [(kind, 512 * width, k) for kind in ("batchtopk", "topk") for width in (4, 8) for k in (16, 32)]


def configs(n_batches: int) -> list[TrainConfig]:
    """Eight dictionaries: two types, two widths, two sparsities."""
    return [
        TrainConfig.parse(
            {
                "dictionary": {"kind": kind, "d_in": 512, "d_sae": d_sae, "k": k},
                "n_tokens": n_batches * BATCH,
                "batch_size": BATCH,
                "calibration_batches": 1,
                "checkpoint_tokens": 10**9,
            }
        )
        for kind, d_sae, k in MEMBERS
    ]


def steps_alone(config: TrainConfig, batches: list[Batch], folder: Path) -> float:
    """Seconds of one dictionary's training steps on batches that are in memory."""
    with stage(folder, "dictionary", config, {}) as staging:
        first = new_dictionary(config.dictionary, torch.Generator().manual_seed(config.seed))
        trainer = Trainer(first, config, staging)
        trainer.prepare(batches[:1])
        started = time.perf_counter()
        for batch in batches:
            trainer.step(batch)
        return time.perf_counter() - started


def measure(n_batches: int, n_rounds: int) -> list[Figure]:
    """The ratio, each round measuring the three parts one after another."""
    keep_freed_memory()
    model = load_model("embedded")
    corpus = small_corpus(model, (n_batches + 2) * BATCH * 2)
    units = LiveUnits(Reader(model, corpus, Sites.at(HOOK)), ["train"])
    source = lambda: ShuffledSource(units, batch_size=BATCH, block_tokens=32_768, seed=0)
    chosen, parts = configs(n_batches), {"sweep": [], "steps": [], "reading": []}
    for number in range(n_rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            stream = source()
            started = time.perf_counter()
            batches = [stream.next_batch() for _ in range(n_batches)]
            reading = time.perf_counter() - started
            steps = sum(steps_alone(config, batches, Path(folder) / f"a{n}") for n, config in enumerate(chosen))
            stream = source()
            jobs = [Job(config, Path(folder) / f"b{n}", {}) for n, config in enumerate(chosen)]
            started = time.perf_counter()
            train_many(stream, jobs)
            if number:  # the first round wakes everything
                for name, seconds in (("sweep", time.perf_counter() - started), ("steps", steps), ("reading", reading)):
                    parts[name].append(seconds)
    whole = np.array(parts["steps"]) + np.array(parts["reading"])
    where = f"8 dictionaries of 2,048 and 4,096 latents, {n_batches} batches of {BATCH:,} from the embedded model"
    return [
        ratio(
            "sweep/cost",
            np.array(parts["sweep"]),
            whole,
            f"time of a sweep, calibration and writing included / its training steps + one reading, {where}",
        ),
        ratio(
            "sweep/reading_share",
            np.array(parts["reading"]),
            np.array(parts["sweep"]),
            f"time of one reading / time of the sweep, {where}",
        ),
    ]


if __name__ == "__main__":
    arguments = options(__doc__)
    show("sweep", measure(16, 2) if arguments.quick else measure(40, 3), arguments.json)
