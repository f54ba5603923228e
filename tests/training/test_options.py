"""Every option changes what is trained or logged, or stands here with the reason why it does not."""

import hashlib
import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from sparselex.base.errors import UserError
from sparselex.dictionaries.table import config_type
from sparselex.training.config import TrainConfig
from sparselex.training.train import train
from tests.support.mixtures import KINDS, mixture, training_of

TOKENS = 100
"""In a batch; eight of them are a run."""

SHORT = {"n_tokens": 8 * TOKENS, "batch_size": TOKENS, "log_steps": 2, "validation_steps": 3, "dead_after_tokens": 150}
Change = tuple[dict[str, Any], dict[str, Any]]
"""What two runs have in common, and what the second has besides."""

DYING = {"lr": 0.1}
"""Training of a type of which else nothing is dead so soon."""

ENCODER: dict[str, Change] = {
    "d_sae": ({}, {"d_sae": 120}),
    "d_out": ({}, {"d_out": 24}),
    "skip": ({"d_out": 24}, {"skip": True}),
    "parts": ({}, {"parts": (20, 12)}),
    "token_norm": ({}, {"token_norm": "layer"}),
}
K: dict[str, Change] = ENCODER | {"k": ({}, {"k": 5})}
L1: dict[str, Change] = ENCODER | {"l1": ({}, {"l1": 9.0}), "warmup_share": ({}, {"warmup_share": 0.9})}
THRESHOLD: dict[str, Change] = {"threshold_rate": ({}, {"threshold_rate": 0.5})}
RANKED: dict[str, Change] = {"rank_by": ({}, {"rank_by": "activation"})}
ONE_SITE: dict[str, Change] = {name: K[name] for name in ("d_sae", "k")}

OF_TYPES: dict[str, dict[str, Change]] = {
    "batchtopk": K | THRESHOLD,
    "topk": K | RANKED,
    "abstopk": K | RANKED,
    "matryoshka": K | THRESHOLD | {"prefixes": ({}, {"prefixes": (0.2, 0.7)})},
    "relu": L1
    | {
        "convention": ({}, {"convention": "2023"}),
        "resample_shares": ({"l1": 80.0}, {"resample_shares": (0.9,)}),
        "resample_to": ({"l1": 80.0, "resample_shares": (0.9,)}, {"resample_to": "input"}),
        "l1_convention": ({}, {"l1_convention": "raw"}),
        "start": ({}, {"start": "kaiming"}),
        "b_dec_start": ({}, {"b_dec_start": "median"}),
    },
    "gated": L1,
    "panneal": L1
    | {
        "p_end": ({}, {"p_end": 0.5}),
        "start_share": ({}, {"start_share": 0.6}),
        "n_updates": ({}, {"n_updates": 2}),
    },
    "jumprelu": ENCODER
    | {
        "sparsity": ({}, {"sparsity": "l0"}),
        "target_l0": ({}, {"target_l0": 5}),
        "weight": ({}, {"weight": 3.0}),
        "gradient": ({}, {"gradient": "everything"}),
        "bandwidth": ({}, {"bandwidth": 1.0}),
        "warmup_share": ({}, {"warmup_share": 0.9}),
    },
    "matching_pursuit": ONE_SITE
    | {
        "stop_below": ({}, {"stop_below": 0.4}),
        "stop_left": ({}, {"stop_left": 4.0}),
        "stop_at_repeat": ({"k": 20}, {"stop_at_repeat": True}),
        "resample_shares": ({"k": 1}, {"resample_shares": (0.8,)}),
    },
    "archetypal": ONE_SITE
    | {
        "token_norm": ENCODER["token_norm"],
        "n_points": ({}, {"n_points": 128}),
        "delta": ({}, {"delta": 0.05}),
    },
    "clt": ONE_SITE
    | THRESHOLD
    | {
        "d_out": ({}, {"d_out": 30, "layers_out": (14, 16)}),
        "layers_in": ({}, {"layers_in": (16, 16)}),
        "layers_out": ({}, {"layers_out": (12, 12)}),
    },
}
"""Of each type every field of its configuration, but for `kind` and those below."""

OF_TRAINING: dict[str, Change] = {
    "n_tokens": ({}, {"n_tokens": 7 * TOKENS}),
    "batch_size": ({}, {"batch_size": 2 * TOKENS}),  # the source's own decides; schedules are laid out over this one
    "lr": ({}, {"lr": 1e-3}),
    "warmup_share": ({}, {"warmup_share": 0.9}),
    "decay_share": ({}, {"decay_share": 0.9}),
    "clip": ({}, {"clip": 0.01}),
    "auxk_alpha": ({}, {"auxk_alpha": 1.0}),
    "k_aux": ({}, {"k_aux": 1}),
    "auxk_share": ({}, {"auxk_share": 1}),
    "dead_after_tokens": ({}, {"dead_after_tokens": 10_000}),
    "gradients": ({}, {"gradients": "bfloat16"}),
    "frozen": ({}, {"frozen": "decoder"}),
    "frozen_cosine": ({"frozen": "soft_decoder", "frozen_cosine": 0.9999}, {"frozen_cosine": 0.999}),
    "calibration_batches": ({}, {"calibration_batches": 1}),
    "log_steps": ({}, {"log_steps": 3}),
    "validation_steps": ({}, {"validation_steps": 4}),
    "seed": ({}, {"seed": 1}),
}

FASTER = {"selection": {"selection": "bfloat16"}}
"""Fields that change the speed, and what is chosen only among near equals at the cut."""

ONLY_READ = {
    "matching_pursuit": {"step": {"step": "product"}},
    "clt": {"thresholds": {"thresholds": "each"}},
}
"""Fields that are set for other projects' files: such a dictionary is not trained."""

REFUSED = {"archetypal": {"d_out": {"d_out": 32}, "skip": {"skip": True, "d_out": 32}, "parts": {"parts": (20, 12)}}}
"""Fields of several sites that a type of one site has and refuses."""

NOT_HERE = {
    "resample_after_tokens": "of a type that resamples, in test_2023",
    "resample_tokens": "likewise",
    "dictionary": "a configuration of its own, above",
    "checkpoint_tokens": "how much is done again after a kill: the bytes are the same, see below",
    "finish": "trained on rows of a model, in test_finish",
    "finish_share": "likewise",
    "device": "where it is computed: a machine without a GPU has one",
}


@cache
def trained(kind: str, dictionary: frozenset, options: frozenset) -> tuple[str, str]:
    """Hash of the weights, and the log; equal runs are made once."""
    config = training_of(kind, dict(dictionary), **SHORT | dict(options))
    source = mixture(config.dictionary.to_json().get("d_out"), TOKENS)
    with TemporaryDirectory() as folder:
        train(source, config, Path(folder) / "d", inputs={}, validation=source.draw(900))
        weights = (Path(folder) / "d" / "sae_weights.safetensors").read_bytes()
        return hashlib.sha256(weights).hexdigest(), (Path(folder) / "d" / "log.jsonl").read_text()


def of_type(kind: str, *changes: dict[str, Any]) -> tuple[str, str]:
    joined = _joined(changes)
    options = DYING if joined.get("l1") == 80.0 else {}
    return trained(kind, frozenset(joined.items()), frozenset(options.items()))


def of_training(*changes: dict[str, Any]) -> tuple[str, str]:
    return trained("batchtopk", frozenset(), frozenset(_joined(changes).items()))


def _joined(changes: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {name: value for change in changes for name, value in change.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_type_is_here(kind):
    elsewhere = {"kind", "d_in", *FASTER, *ONLY_READ.get(kind, {}), *REFUSED.get(kind, {})}
    assert set(config_type(kind).model_fields) - elsewhere == set(OF_TYPES[kind])
    assert not set(OF_TYPES[kind]) & elsewhere


def test_every_field_of_training_is_here():
    assert set(TrainConfig.model_fields) == set(OF_TRAINING) | set(NOT_HERE)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, table in OF_TYPES.items() for name in table])
def test_a_field_of_a_type_changes_what_is_trained(kind, name):
    common, change = OF_TYPES[kind][name]
    assert of_type(kind, common) != of_type(kind, common, change)


@pytest.mark.parametrize("name", OF_TRAINING)
def test_a_field_of_training_changes_what_is_trained(name):
    common, change = OF_TRAINING[name]
    assert of_training(common) != of_training(common, change)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "selection" in config_type(kind).model_fields])
def test_selection_changes_the_speed_alone(kind):
    lines = [of_type(kind, change)[1].splitlines() for change in ({}, FASTER["selection"])]
    slow, fast = ([json.loads(line) for line in part] for part in lines)
    for name in ("loss", "l0"):
        found = [line[name] for line in fast if name in line]
        assert found == pytest.approx([line[name] for line in slow if name in line], rel=1e-2)


def test_checkpoints_leave_no_trace():
    assert of_training({}) == of_training({"checkpoint_tokens": 2 * TOKENS})


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [(kind, name, "is for dictionaries that are read") for kind, table in ONLY_READ.items() for name in table]
    + [(kind, name, "leave out d_out and parts") for kind, table in REFUSED.items() for name in table],
)
def test_what_has_no_meaning_in_training_is_refused(kind, name, message):
    with pytest.raises(UserError, match=message):
        training_of(kind, (ONLY_READ | REFUSED)[kind][name])


def test_another_width_than_the_activations_have_is_refused(tmp_path):
    with pytest.raises(UserError, match="The activations have width 32, the dictionary is configured for 31"):
        train(mixture(), training_of("topk", {"d_in": 31}), tmp_path / "d", inputs={})
