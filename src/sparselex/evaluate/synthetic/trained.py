"""Dictionaries of every type at one number of active latents: what makes a type sparse is told, or searched for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparselex.activations.known.config import KnownConfig
from sparselex.activations.known.source import KnownFeatures
from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.dictionaries.kinds import DICTIONARIES
from sparselex.dictionaries.table import config_type, reads_one_site
from sparselex.evaluate.synthetic.config import SyntheticConfig
from sparselex.evaluate.synthetic.measured import HeldOut
from sparselex.training.config import TrainConfig
from sparselex.training.train import Job, train_many

_FACTOR = 3.0
"""Between coefficients that are tried."""

_LEAST_L0 = 1e-3
"""Below this a dictionary is as good as silent, and its L0 has no logarithm to go by."""


class Trained(NamedTuple):
    """One type with all its seeds."""

    coefficient: str
    """What makes it sparse, such as `k=8`."""

    dictionaries: list[Dictionary | UserError]
    """One a seed, or why there is none."""


def kinds_of(config: SyntheticConfig) -> list[str]:
    """The types to train. Raises `UserError` where one that was named cannot be an autoencoder of one site."""
    if config.kinds:
        for kind in config.kinds:
            config_type(kind).fields_at((config.d_in,), (), 1)
        return list(dict.fromkeys(config.kinds))
    return [kind for kind in DICTIONARIES.names() if reads_one_site(kind, config.d_in)]


def train_type(kind: str, config: SyntheticConfig, held: HeldOut, to: Path) -> Trained:
    """All seeds of a type on one stream, under `to`; what is trained already is taken from there.

    A type with a field for its number of active latents is told `config.active`. One with a coefficient is trained with
    a few of them first, and gets the one between: L0 falls as a power of it, nearly, so that both are interpolated as
    logarithms.
    """
    field = config_type(kind).field_of("k")
    chosen: dict[str, float | int] = {field: config.active} if field else {}
    coefficient = config_type(kind).field_of("l1")
    if not field and coefficient:
        chosen = {coefficient: _searched(kind, coefficient, config, held, to / "search")}
    jobs = [_job(kind, config, chosen, seed, to / f"{kind}-{seed}") for seed in range(config.n_seeds)]
    shown = ", ".join(f"{name}={value:.4g}" for name, value in chosen.items()) or "as it is"
    return Trained(shown, list(train_many(_source(config), jobs)))


def _searched(kind: str, field: str, config: SyntheticConfig, held: HeldOut, to: Path) -> float:
    """The coefficient at which L0 is expected to be `config.active`."""
    start, half = config_type(kind).model_fields[field].default, (config.n_coefficients - 1) / 2
    tried = [float(start * _FACTOR ** (number - half)) for number in range(config.n_coefficients)]
    # Whole trainings: L0 goes on falling to the end, and half of one would say too much of it.
    jobs = [_job(kind, config, {field: value}, 0, to / f"{kind}-{number}") for number, value in enumerate(tried)]
    found = train_many(_source(config), jobs)
    pairs = [(value, _l0(one, held)) for value, one in zip(tried, found, strict=True) if isinstance(one, Dictionary)]
    return interpolated([(value, l0) for value, l0 in pairs if l0 > _LEAST_L0], float(config.active), start)


def interpolated(pairs: Sequence[tuple[float, float]], wanted: float, default: float) -> float:
    """The coefficient at which L0 is `wanted`, from (coefficient, L0) of those that were tried, by rising coefficient:
    between the two whose L0 lies around it, or on the line through the last two where all lie to one side, at most a
    factor of three beyond. With fewer than two, `default`."""
    if len(pairs) < 2:
        return default
    logs = np.log(np.array(pairs))
    aim = np.log(wanted)
    below = next((place for place in range(1, len(logs)) if logs[place, 1] <= aim), len(logs) - 1)
    (x0, y0), (x1, y1) = logs[below - 1], logs[below]
    if y0 <= y1:  # no more active with less of a penalty: noise, or too short a training
        return float(np.exp(logs[np.abs(logs[:, 1] - aim).argmin(), 0]))
    at = x0 + (x1 - x0) * (aim - y0) / (y1 - y0)
    return float(np.exp(np.clip(at, logs[0, 0] - np.log(_FACTOR), logs[-1, 0] + np.log(_FACTOR))))


def _l0(dictionary: Dictionary, held: HeldOut) -> float:
    x = held.samples[0].x
    return len(dictionary.encode_sparse(x).indices) / len(x)


def _source(config: SyntheticConfig) -> KnownFeatures:
    return KnownFeatures(config.part(KnownConfig), config.batch_size)


def _job(kind: str, config: SyntheticConfig, chosen: dict[str, Any], seed: int, to: Path) -> Job:
    fields = {"kind": kind, "d_in": config.d_in, "d_sae": config.d_sae} | chosen
    values = {
        "dictionary": fields,
        "n_tokens": config.n_tokens,
        "batch_size": config.batch_size,
        "seed": seed,
        # By default after ten million tokens, more than there are.
        "dead_after_tokens": max(1, config.n_tokens // 5),
    }
    known = fingerprint([config.part(KnownConfig).to_json(), config.batch_size])
    return Job(TrainConfig.parse(values, f"the configuration of {kind}"), to, {"known features": known})
