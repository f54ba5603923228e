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
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from sparselex.base.artifacts import open_artifact, verified
from sparselex.base.config import first_complaint
from sparselex.base.errors import UserError
from sparselex.base.files import read_json, write_json
from sparselex.base.sites import Sites
from sparselex.dictionaries.config import DictionaryConfig
from sparselex.dictionaries.kinds import TokenNorm, kinds
from sparselex.dictionaries.table import config_type
from sparselex.dictionaries.trainable import TrainableDictionary, new_dictionary
from sparselex.dictionaries.transformer_lens import OF_HEADS, head_of, names_there, reshapes

CONFIG, WEIGHTS, SAELENS_CONFIG = "config.json", "sae_weights.safetensors", "cfg.json"
TRANSCODERS = {
    ("standard", False): "transcoder",
    ("standard", True): "skip_transcoder",
    ("jumprelu", False): "jumprelu_transcoder",
    ("jumprelu", True): "jumprelu_skip_transcoder",
}
"""SAELens's names for transcoders, by its name for the autoencoder with the same activations and by whether there is a
skip connection."""

TOKEN_NORMS: dict[TokenNorm, str] = {"none": "none", "layer": "layer_norm", "length": "constant_norm_rescale"}
"""SAELens's names for normalisations of each token. `mean` has none there."""

SETTINGS_BYTES = 2**20
"""Most bytes of a JSON file of settings, and of the header of a file of tensors: of dictionaries they have a few
thousand, and as values they take many times the memory."""

_SMALL, _FACTOR = 2**24, 16
"""A configuration may ask for that many numbers, or for that many times those in its file: some types have other
tensors while they are trained than when they are written."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def write_dictionary(
    dictionary: TrainableDictionary, folder: Path, *, model_name: str = "", sites: Sites | None = None
) -> list[str]:
    """Write a folded dictionary's files into `folder` and return their names; `sites` is where it reads and what it
    reconstructs."""
    tensors = {name: value.detach().contiguous() for name, value in dictionary.state_dict().items()}
    config = dictionary.config.to_json()
    if _has_one_threshold(dictionary):
        threshold = tensors["threshold"]
        config["threshold"] = float(threshold)
        tensors["threshold"] = threshold.float().expand(dictionary.d_sae).contiguous()
    write_json(folder / CONFIG, config)
    (folder / WEIGHTS).write_bytes(save(tensors))
    settings = saelens_settings(dictionary)
    if settings is None:
        return [CONFIG, WEIGHTS]
    write_json(folder / SAELENS_CONFIG, saelens_config(dictionary, settings, model_name, sites))
    return [CONFIG, WEIGHTS, SAELENS_CONFIG]


def load_dictionary(path: Path | str) -> TrainableDictionary:
    """Read a finished dictionary, its checksums verified. Raises `UserError` that names the file at fault."""
    path = Path(path)
    manifest = open_artifact(path, "dictionary")
    for name in manifest.files:
        verified(path, name, manifest)
    config, threshold = _read_config(path / CONFIG)
    try:
        tensors = load_tensors(path / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path / WEIGHTS, str(error).splitlines()[0]) from None
    n_numbers = sum(value.numel() for value in tensors.values())
    if config.n_weights > max(_SMALL, _FACTOR * n_numbers):  # before there is memory taken for them
        raise _unreadable(path / WEIGHTS, f"it holds {n_numbers} numbers, and {CONFIG} asks for {config.n_weights}")
    dictionary = new_dictionary(config)
    # A type may keep other tensors while it is trained.
    dictionary.fold([1.0] * len(dictionary.parts_in), [1.0] * len(dictionary.parts_out))
    if _has_one_threshold(dictionary):
        if not isinstance(threshold, float | int) or not math.isfinite(threshold):
            raise _unreadable(path / CONFIG, f"threshold is {threshold!r}, which is no finite number")
        # The float64 scalar; the weights hold it rounded and spread over all latents, for other readers.
        tensors["threshold"] = torch.tensor(threshold, dtype=torch.float64)
    if fault := _misfit(tensors, dictionary.state_dict()):
        raise _unreadable(path / WEIGHTS, fault)
    dictionary.load_state_dict(tensors)
    return dictionary.eval().requires_grad_(False)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises `SafetensorError` or `OSError` where it cannot be read, or names more
    of them than a dictionary has."""
    with open(path, "rb") as file:
        n_bytes = int.from_bytes(file.read(8), "little")
    if n_bytes > SETTINGS_BYTES:
        raise SafetensorError(f"its header has {n_bytes} bytes, and {SETTINGS_BYTES} at most are read")
    return load_file(path)


def _read_config(path: Path) -> tuple[DictionaryConfig, Any]:
    """The configuration, and the one threshold of all latents that may lie beside it."""
    values = read_json(path, SETTINGS_BYTES)
    values = dict(values) if isinstance(values, dict) else {}
    kind = values.get("kind")
    if kind not in kinds():
        raise UserError(
            f"{path} cannot be read as a dictionary: its kind is {kind!r}, and no type here bears that name.",
            "one of " + ", ".join(kinds()),
            "install the package that adds this type, or restore the file.",
        )
    threshold = None if "threshold" in config_type(kind).model_fields else values.pop("threshold", None)
    try:
        return config_type(kind).model_validate(values), threshold
    except ValidationError as error:
        raise _unreadable(path, first_complaint(error)) from None


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
        if tensors[name].dtype not in _FLOATS:
            return f"tensor {name!r} holds numbers of the kind {tensors[name].dtype}"
        if not torch.isfinite(tensors[name]).all():
            return f"tensor {name!r} holds NaN or infinity"
    unknown = sorted(set(tensors) - set(expected))
    return f"tensor {unknown[0]!r} is unknown" if unknown else None


def saelens_settings(dictionary: TrainableDictionary) -> dict[str, Any] | None:
    """SAELens' name for what the weights are as they lie on disk (`architecture`), and what belongs to it; None where
    it has none."""
    settings = dictionary.saelens()
    if settings is None or len(dictionary.parts_in) > 1 or dictionary.config.normalises not in TOKEN_NORMS:
        return None
    if dictionary.is_autoencoder:
        return settings
    name = TRANSCODERS.get((settings["architecture"], dictionary.config.has_skip))
    return settings | {"architecture": name} if name else None


def saelens_config(
    dictionary: TrainableDictionary, settings: Mapping[str, Any], model_name: str, sites: Sites | None
) -> dict[str, Any]:
    """What SAELens 6 expects in `cfg.json`; `settings` hold its `architecture` and what belongs to that."""
    hooks, target = (sites.hooks, sites.target) if sites else ((), ())
    names: dict[str, Any] = {"hook_name": names_there(hooks)}
    if (head := head_of(hooks)) is not None:
        names |= {"hook_head_index": head}
    extra = {name: value for name, value in settings.items() if name != "architecture"}
    if not dictionary.is_autoencoder:
        extra |= {"d_out": dictionary.d_out}
        names |= {"hook_name_out": names_there(target)}
    return {
        "architecture": settings["architecture"],
        "d_in": dictionary.d_in,
        "d_sae": dictionary.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": dictionary.is_autoencoder,
        "normalize_activations": TOKEN_NORMS[dictionary.config.normalises],
        "reshape_activations": OF_HEADS if reshapes(hooks) else "none",
        **extra,
        # Without a version SAELens takes the file for one of before 6 and forgets where the dictionary belongs.
        "metadata": {"sae_lens_version": "6.0.0", "model_name": model_name, **names},
    }


def _unreadable(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} cannot be read as a dictionary: {reason}.",
        "the file as sparselex wrote it",
        "train the dictionary again, or restore the file.",
    )
