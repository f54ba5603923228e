"""circuit-tracer's transcoders of single layers: `config.yaml`, `layer_<i>.safetensors`; the encoder's columns are rows there."""

import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from safetensors.torch import save
from torch import Tensor

from sparselex.dictionaries.convert.tensors import Tensors, read_safetensors, read_settings
from sparselex.dictionaries.convert.weights import (
    Found,
    Source,
    Weights,
    plain_topk,
    to_jumprelu,
    to_relu,
    to_topk,
    unfit,
)
from sparselex.dictionaries.dictionary import EncoderDictionary, TrainableDictionary
from sparselex.dictionaries.files import saelens_architecture
from sparselex.dictionaries.topk import TopK

CONFIG = "config.yaml"
_THRESHOLD = "activation_function.threshold"

_MLP_INPUT = ("hook_mlp_in", "mlp.hook_in")
"""Our name and the one there for what the MLP reads; `hook_mlp_in` is the residual stream before the norm there."""


def read_circuit_tracer(source: Source) -> Found:
    """One layer of a set. Raises `UserError` for cross-layer transcoders."""
    cfg, tensors = read_settings(source.folder / CONFIG), read_safetensors(source.weights)
    kind = str(cfg.get("model_kind") or "transcoder_set")
    if kind != "transcoder_set":
        raise tensors.fault(f"the kind {kind!r} is not transcoder_set")
    encoder = tensors.take("W_enc", -1, -1)
    d_sae, d_in = encoder.shape
    W_dec = tensors.take("W_dec", d_sae, -1)
    d_out = W_dec.shape[1]
    weights = Weights(
        encoder.T,
        tensors.take("b_enc", d_sae),
        W_dec,
        tensors.take("b_dec", d_out),
        transcoder=True,
        W_skip=tensors.take("W_skip", d_out, d_in) if "W_skip" in tensors else None,
    )
    hook, target = (_ours(source.weights.stem, cfg.get(f"feature_{side}_hook")) for side in ("input", "output"))
    return Found(_dictionary(cfg, tensors, weights), str(cfg.get("model_name") or ""), hook, target)


def _dictionary(cfg: dict[str, Any], tensors: Tensors, weights: Weights) -> EncoderDictionary:
    match cfg.get("activation"):
        case "topk":
            return to_topk(weights, cfg.get("k"), tensors, by_contribution=False)
        case "relu":
            return to_relu(weights)
        case None | "jumprelu" | "jump_relu":  # told by the file
            if "k" in tensors:
                return to_topk(weights, int(tensors.take("k")), tensors, by_contribution=False)
            if _THRESHOLD in tensors:
                return to_jumprelu(weights, _threshold(tensors, len(weights.b_enc)))
            return to_relu(weights)
    raise tensors.fault(f"the activation {cfg['activation']!r} is not one of relu, jumprelu, topk")


def _threshold(tensors: Tensors, d_sae: int) -> Tensor:
    """One for each latent, or one for all."""
    return tensors.take(_THRESHOLD) if tensors.is_scalar(_THRESHOLD) else tensors.take(_THRESHOLD, d_sae)


def _ours(stem: str, site: Any) -> str:
    ours, theirs = _MLP_INPUT
    return f"blocks.{stem.removeprefix('layer_')}.{ours if site == theirs else site}" if site else ""


def write_circuit_tracer(
    dictionary: TrainableDictionary, folder: Path, model_name: str, hook: str, target: str
) -> None:
    """A set of the one layer that `hook` names; the files of several layers make one set in one folder.

    Raises `UserError` for other dictionaries than transcoders between sites of one width, and for types without a threshold or k.
    """
    kind = saelens_architecture(dictionary)
    topk = type(dictionary) is TopK and not dictionary.is_autoencoder
    if dictionary.is_autoencoder or not isinstance(dictionary, EncoderDictionary) or not (kind or topk):
        raise unfit(dictionary, "circuit-tracer, which has transcoders with ReLU, JumpReLU or TopK")
    if dictionary.d_in != dictionary.d_out:
        raise unfit(dictionary, "circuit-tracer, where input and target have one width")
    weights = plain_topk(dictionary) if isinstance(dictionary, TopK) else dictionary
    tensors = {"W_enc": weights.W_enc.T, "W_dec": weights.W_dec, "b_enc": weights.b_enc, "b_dec": weights.b_dec}
    if dictionary.config.skip:
        tensors["W_skip"] = dictionary.W_skip
    config: dict[str, Any] = {"model_kind": "transcoder_set", "model_name": model_name, "scan": ""}
    (layer, config["feature_input_hook"]), (_, config["feature_output_hook"]) = _theirs(hook), _theirs(target)
    if isinstance(dictionary, TopK):
        config |= {"activation": "topk", "k": dictionary.config.k}
    elif "threshold" in dictionary.state_dict():
        tensors[_THRESHOLD] = dictionary.state_dict()["threshold"].float().expand(dictionary.d_sae)
    else:
        config |= {"activation": "relu"}
    written = save({name: value.detach().contiguous() for name, value in tensors.items()})
    (folder / f"layer_{layer}.safetensors").write_bytes(written)
    (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def _theirs(hook: str) -> tuple[str, str]:
    """The layer and the site in it."""
    ours, theirs = _MLP_INPUT
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", hook)
    return (match[1], theirs if match[2] == ours else match[2]) if match else ("0", hook)
