"""Dictionaries on disk: the layout SAELens 6 reads, beside our own configuration.

`cfg.json` and `sae_weights.safetensors` are theirs: `W_enc [d_in, d_sae]`, `b_enc`, `W_dec [d_sae, d_in]`, `b_dec`, and
for a BatchTopK dictionary, saved as JumpReLU, a constant `threshold [d_sae]`; a skip transcoder has `W_skip [d_out,
d_in]`. `config.json` is ours. Weights are folded: they take raw activations and decoder rows have unit norm.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from sparselex.base.artifacts import open_artifact, read_json, write_json
from sparselex.base.errors import UserError
from sparselex.dictionaries.dictionary import TrainableDictionary
from sparselex.dictionaries.kinds import DICTIONARIES
from sparselex.dictionaries.table import AnyDictionaryConfig, config_type, new_dictionary
from sparselex.dictionaries.token_norm import TokenNorm

CONFIG, WEIGHTS, SAELENS_CONFIG = "config.json", "sae_weights.safetensors", "cfg.json"
_ARCHITECTURES = {
    "batchtopk": "jumprelu",
    "matryoshka": "jumprelu",
    "jumprelu": "jumprelu",
    "topk": "topk",
    "abstopk": "abstopk",
    "archetypal": "topk",
    "relu": "standard",
    "panneal": "standard",
}
"""Types that SAELens can hold as they are written; others have no `cfg.json`."""

_TRANSCODERS = {"standard": "transcoder", "jumprelu": "jumprelu_transcoder"}
"""What it calls those of them that have a target of their own; with `skip_` before the last word where there is a skip
connection."""

TOKEN_NORMS: dict[TokenNorm, str] = {"none": "none", "layer": "layer_norm", "length": "constant_norm_rescale"}
"""Its names for normalisations of each token."""


def write_dictionary(
    dictionary: TrainableDictionary, folder: Path, *, model_name: str = "", hook: str = "", target: str = ""
) -> None:
    """Write a folded dictionary's files into `folder`."""
    tensors = {name: value.detach().contiguous() for name, value in dictionary.state_dict().items()}
    if _has_one_threshold(dictionary):
        threshold = tensors["threshold"]
        tensors["threshold"] = threshold.float().expand(dictionary.d_sae).contiguous()
        write_json(folder / CONFIG, {**dictionary.config.to_json(), "threshold": float(threshold)})
    else:
        write_json(folder / CONFIG, dictionary.config.to_json())
    (folder / WEIGHTS).write_bytes(save(tensors))
    if saelens_architecture(dictionary):
        write_json(folder / SAELENS_CONFIG, saelens_config(dictionary, model_name, hook, target))


def load_dictionary(path: Path | str) -> TrainableDictionary:
    """Read a finished dictionary, its checksums verified. Raises `UserError` that names the file at fault."""
    path = Path(path)
    open_artifact(path, "dictionary", verify=True)
    values = read_json(path / CONFIG)
    values = dict(values) if isinstance(values, dict) else {}
    kind = values.get("kind")
    if kind not in DICTIONARIES.names():
        raise UserError(
            f"{path / CONFIG} cannot be read as a dictionary: its kind is {kind!r}, and no type here bears that name.",
            "one of " + ", ".join(DICTIONARIES.names()),
            "install the package that adds this type, or restore the file.",
        )
    threshold = None if "threshold" in config_type(kind).model_fields else values.pop("threshold", None)
    try:
        config = TypeAdapter(AnyDictionaryConfig).validate_python(values)
    except ValidationError as error:
        raise _unreadable(path / CONFIG, str(error.errors()[0]["msg"])) from None
    dictionary = new_dictionary(config)
    # A type may keep other tensors while it is trained.
    dictionary.fold([1.0] * len(dictionary.parts_in), [1.0] * len(dictionary.parts_out))
    try:
        tensors = load_file(path / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path / WEIGHTS, str(error).splitlines()[0]) from None
    if _has_one_threshold(dictionary):
        if not isinstance(threshold, float | int) or not math.isfinite(threshold):
            raise _unreadable(path / CONFIG, f"threshold is {threshold!r}, which is no finite number")
        # The float64 scalar; the weights hold it rounded and spread over all latents, for other readers.
        tensors["threshold"] = torch.tensor(threshold, dtype=torch.float64)
    if fault := _misfit(tensors, dictionary.state_dict()):
        raise _unreadable(path / WEIGHTS, fault)
    dictionary.load_state_dict(tensors)
    return dictionary.eval().requires_grad_(False)


def _has_one_threshold(dictionary: TrainableDictionary) -> bool:
    """Whether one learned number decides over all latents; a type whose configuration has a field of that name keeps
    its own way."""
    threshold = dictionary.state_dict().get("threshold")
    return threshold is not None and not threshold.ndim and "threshold" not in type(dictionary.config).model_fields


def _misfit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """What is wrong with `tensors` as the state of a dictionary, or None."""
    for name, like in expected.items():
        if name not in tensors:
            return f"tensor {name!r} is missing"
        if tensors[name].shape != like.shape:
            return f"tensor {name!r} has shape {list(tensors[name].shape)}, not {list(like.shape)}"
        if not torch.isfinite(tensors[name]).all():
            return f"tensor {name!r} holds NaN or infinity"
    unknown = sorted(set(tensors) - set(expected))
    return f"tensor {unknown[0]!r} is unknown" if unknown else None


def saelens_architecture(dictionary: TrainableDictionary) -> str | None:
    """SAELens' name for what the weights are as they lie on disk, or None where it has none."""
    values = dictionary.config.to_json()
    name = _ARCHITECTURES.get(values["kind"])
    if values.get("parts") or values.get("rank_by") == "activation":  # folded, SAELens would rank by contribution
        return None
    if dictionary.is_autoencoder:
        return name
    name = _TRANSCODERS.get(name or "")
    return name.replace("transcoder", "skip_transcoder") if name and values.get("skip") else name


def saelens_config(dictionary: TrainableDictionary, model_name: str, hook: str, target: str = "") -> dict[str, Any]:
    """What SAELens 6 expects in `cfg.json`."""
    kind = dictionary.config.to_json()["kind"]
    architecture = saelens_architecture(dictionary) or kind
    is_topk = architecture in ("topk", "abstopk")
    extra: dict[str, Any] = (
        {"k": dictionary.config.to_json()["k"], "rescale_acts_by_decoder_norm": True} if is_topk else {}
    )
    sites = {"hook_name": hook}
    if not dictionary.is_autoencoder:
        extra |= {"d_out": dictionary.d_out}
        sites |= {"hook_name_out": target}
    return {
        "architecture": architecture,
        "d_in": dictionary.d_in,
        "d_sae": dictionary.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": dictionary.is_autoencoder,
        "normalize_activations": TOKEN_NORMS[dictionary.config.to_json().get("token_norm", "none")],
        "reshape_activations": "none",
        **extra,
        # Without a version SAELens takes the file for one of before 6 and forgets where the dictionary belongs.
        "metadata": {"sae_lens_version": "6.0.0", "model_name": model_name, **sites},
    }


def _unreadable(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} cannot be read as a dictionary: {reason}.",
        "the file as sparselex wrote it",
        "train the dictionary again, or restore the file.",
    )
