"""One small configuration of each dictionary type, and planted data for it to be trained on."""

import json
from pathlib import Path
from typing import Any

from sparselex.activations.synthetic import MixtureConfig, SparseMixture
from sparselex.training.config import TrainConfig
from sparselex.training.train import train

SIZE = {"d_in": 32, "d_sae": 96}
KINDS: dict[str, dict[str, Any]] = {
    "batchtopk": {"k": 3},
    "topk": {"k": 3},
    "relu": {"l1": 2.0},
    "jumprelu": {"target_l0": 3},
    "gated": {"l1": 4.0},
    "matryoshka": {"k": 3, "prefixes": (0.7,)},
    "panneal": {"l1": 1.0},
    "abstopk": {"k": 3},
    "matching_pursuit": {"k": 3},
    "archetypal": {"k": 3, "n_points": 256},
    "clt": {"k": 3, "d_out": 24, "layers_in": (20, 12), "layers_out": (8, 16)},
}
"""Settings of each registered type, its size left out."""


def values_of(kind: str, **changes: Any) -> dict[str, Any]:
    """The configuration of the dictionary as JSON values."""
    return {"kind": kind, **SIZE, **KINDS[kind], **changes}


def mixture(d_out: int | None = None, batch_size: int = 1000) -> SparseMixture:
    """Three of 64 planted directions in each token; `d_out` is the width of a target of its own."""
    return SparseMixture(MixtureConfig(d_in=SIZE["d_in"], n_features=64, l0=3, d_out=d_out), batch_size=batch_size)


def training_of(kind: str, dictionary: dict[str, Any] | None = None, **options: Any) -> TrainConfig:
    """Twenty steps with every term of the loss at work, five lines of the log; `dictionary` and `options` change
    fields."""
    values = {
        "n_tokens": 20_000,
        "batch_size": 1000,
        "lr": 3e-3,
        "dead_after_tokens": 3_000,
        "log_steps": 4,
    }
    return TrainConfig.parse({"dictionary": values_of(kind, **(dictionary or {})), **values, **options})


def log_of(config: TrainConfig, to: Path) -> list[dict[str, float]]:
    """Train on the mixture into the folder `to`, and return the lines of the log."""
    train(mixture(config.dictionary.to_json().get("d_out")), config, to, inputs={})
    return [json.loads(line) for line in (to / "log.jsonl").read_text(encoding="utf-8").splitlines()]
