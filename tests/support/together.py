"""What the processes of a parallel test do; importable by each of them."""

import contextlib
import os
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist

from sparselex.activations.synthetic import MixtureConfig, SparseMixture
from sparselex.base.errors import UserError
from sparselex.dictionaries.ranks import Ranks
from sparselex.dictionaries.sparse.selection import largest_of_batch
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.training.config import TrainConfig
from sparselex.training.train import train

MIXTURE = MixtureConfig(d_in=32, n_features=64, l0=3, d_out=24)
SIZE = {"d_in": 32, "d_sae": 192}
KINDS = {
    "batchtopk": {"kind": "batchtopk", "k": 3},
    "batchtopk bf16": {"kind": "batchtopk", "k": 3, "selection": "bfloat16"},
    "normalised": {"kind": "batchtopk", "k": 3, "token_norm": "layer"},
    "topk": {"kind": "topk", "k": 3},
    "topk by activation": {"kind": "topk", "k": 3, "rank_by": "activation"},
    "abstopk": {"kind": "abstopk", "k": 3},
    "relu": {"kind": "relu", "l1": 2.0},
    "jumprelu": {"kind": "jumprelu", "target_l0": 3},
    "gated": {"kind": "gated", "l1": 2.0},
    "panneal": {"kind": "panneal"},
    "skip transcoder": {"kind": "batchtopk", "k": 3, "d_out": 24, "skip": True},
    "crosscoder": {"kind": "relu", "l1": 2.0, "parts": (20, 12)},
    "matryoshka": {"kind": "matryoshka", "k": 3, "prefixes": (0.25, 0.7)},
    "archetypal": {"kind": "archetypal", "k": 3, "n_points": 40},
    "cross-layer": {"kind": "clt", "k": 3, "d_out": 24, "layers_in": (20, 12), "layers_out": (8, 16)},
    "resampled": {"kind": "relu", "l1": 20.0, "convention": "2023", "resample_shares": (0.65, 0.75)},
    "resampled transcoder": {
        "kind": "relu",
        "l1": 20.0,
        "convention": "2023",
        "resample_shares": (0.85,),
        "d_out": 24,
        "skip": True,
    },
    "frozen decoder": {"kind": "batchtopk", "k": 3},
    "soft decoder": {"kind": "topk", "k": 3, "d_out": 24},
    "frozen encoder": {"kind": "gated", "l1": 2.0},
    "matching pursuit": {"kind": "matching_pursuit", "k": 3, "resample_shares": (0.95,)},
}
OPTIONS = {
    "frozen decoder": {"frozen": "decoder"},
    "soft decoder": {"frozen": "soft_decoder", "frozen_cosine": 0.98},
    "frozen encoder": {"frozen": "encoder"},
    "resampled": {"auxk_alpha": 0.0, "lr": 0.03},
    "resampled transcoder": {"auxk_alpha": 0.0, "lr": 0.05},
}
"""What some are trained with besides."""

WAYS = {"matching pursuit": ("data",), "frozen decoder": ("latents",), "frozen encoder": ("latents",)}
"""How some of them are divided; the others both ways. The latents of a matching pursuit cannot be, and whoever has all
latents holds them as one process does."""

STOPPED = {
    "data": ("jumprelu", "resampled"),
    "latents": ("jumprelu", "cross-layer", "soft decoder"),
}
"""What is stopped and taken up again, dividing the data and dividing the latents."""

STOPS_AT = 13


def ways(kind: str) -> tuple[str, ...]:
    return WAYS.get(kind, ("data", "latents"))


def config(kind: str, **options) -> TrainConfig:
    values = {
        "n_tokens": 20_000,
        "batch_size": 1000,
        "lr": 3e-3,
        "dead_after_tokens": 1_000,
        "checkpoint_tokens": 5_000,
        "log_steps": 1,
        "k_aux": 8,
    }
    return TrainConfig.parse({"dictionary": {**SIZE, **KINDS[kind]}, **values, **OPTIONS.get(kind, {}), **options})


class Stopping(SparseMixture):
    """Ends as a killed process does."""

    def next_batch(self):
        if self._batch == STOPS_AT:
            raise KeyboardInterrupt
        return super().next_batch()


def source(kind=SparseMixture) -> SparseMixture:
    return kind(MIXTURE, batch_size=1000)


def run_together(rank: int, n: int, port: int, folder: str) -> None:
    """Everything that two processes are asked to do, in one life: starting one takes longer than the rest."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    data, latents = Ranks.from_environment(1), Ranks.from_environment(n)
    root = Path(folder)
    selection(data, root / f"selection-{rank}.pt")
    for kind in KINDS:
        if "data" in ways(kind):
            train(source(), config(kind), root / "data" / kind, inputs={}, ranks=data)
        if "latents" in ways(kind):
            held_out = source().draw(9000)
            train(source(), config(kind), root / "latents" / kind, inputs={}, ranks=latents, validation=held_out)
    for name, ranks in (("data", data), ("latents", latents)):
        for kind in STOPPED[name]:
            with contextlib.suppress(KeyboardInterrupt):  # killed together, to be taken up by one
                train(source(Stopping), config(kind), root / "stopped" / name / kind, inputs={}, ranks=ranks)
            train(source(), config(kind), root / "from one" / name / kind, inputs={}, ranks=ranks)  # begun by one
    refused = []
    for bad in (
        config("matching pursuit"),
        config("cross-layer", dictionary={**SIZE, **KINDS["cross-layer"], "d_sae": 190}),
        config("relu", dictionary={**SIZE, "d_sae": 193, "kind": "relu"}),
    ):
        try:
            train(source(), bad, root / "refused" / str(len(refused)), inputs={}, ranks=latents)
            refused.append("")
        except UserError as error:
            refused.append(str(error))
    if rank == 0:
        (root / "refused.txt").write_text("\n---\n".join(refused))
    dist.destroy_process_group()


def selection(ranks: Ranks, to: Path) -> None:
    """The parts that both processes keep of numbers that each has half of, with many equal ones."""
    generator = torch.Generator().manual_seed(3)
    found = {}
    for name, numbers in {
        "float32": torch.rand(1000, generator=generator),
        "float64": torch.rand(1000, generator=generator, dtype=torch.float64),
        "equal": torch.randint(0, 9, (1000,), generator=generator).float(),
    }.items():
        mine = numbers[ranks.data * 600 : 600 + ranks.data * 400]  # uneven halves
        for n in (1, 17, 500, 999, 1000):
            found[f"{name} {n}"] = mine[ranks.largest(mine, n)]
            found[f"{name} {n} cut"] = ranks.nth_largest(mine, n)
    # A batch whose first half is much the louder: before there is a threshold, both must look above the same bar.
    loud = torch.randn(200, 32, generator=generator)
    loud[:120] *= 50
    for precision in ("float32", "bfloat16"):
        found[f"first batch {precision}"] = first_batch(
            loud[ranks.data * 120 : 120 + ranks.data * 80], precision, ranks
        )
    torch.save(found, to)


def first_batch(x: torch.Tensor, precision: Literal["float32", "bfloat16"], ranks: Ranks) -> torch.Tensor:
    """What a fresh BatchTopK dictionary keeps of a batch."""
    dictionary = new_dictionary(config("batchtopk").dictionary, torch.Generator().manual_seed(0))
    _, kept, _ = largest_of_batch(
        dictionary.scorer, x, 16, threshold=0.0, selection=precision, gradients="auto", ranks=ranks
    )
    return kept
