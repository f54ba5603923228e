"""circuit-tracer: transcoders of single layers (`config.yaml`, `layer_<i>.safetensors`), and cross-layer transcoders
(`W_enc_<i>.safetensors`, `W_dec_<i>.safetensors`). The encoder's columns are rows there, and a layer's decoder is
`[latents, sites from its own on, d_model]`."""

import re
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from safetensors.torch import save, save_file
from torch import Tensor

from sparselex.convert.tensors import Tensors, read_safetensors, read_settings
from sparselex.convert.weights import (
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
from sparselex.dictionaries.types.clt import CrossLayerConfig, CrossLayerTranscoder
from sparselex.dictionaries.types.topk import TopK

CONFIG = "config.yaml"
_THRESHOLD = "activation_function.threshold"

_MLP_INPUT = ("hook_mlp_in", "mlp.hook_in")
"""Our name and the one there for what the MLP reads; `hook_mlp_in` is the residual stream before the norm there."""


def read_circuit_tracer(source: Source) -> Found:
    """One layer of a set. Raises `UserError` where the settings beside it speak of another kind."""
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


def read_circuit_tracer_clt(source: Source) -> Found:
    """All layers. ReLU is a threshold of 0 for all; a JumpReLU's thresholds are kept for each latent."""
    path = source.folder / CONFIG
    cfg = read_settings(path) if path.is_file() else {}
    n = sum(1 for _ in source.folder.glob("W_enc_*.safetensors"))
    first = read_safetensors(source.weights)
    kind = str(cfg.get("model_kind") or "cross_layer_transcoder")
    if kind != "cross_layer_transcoder":
        raise first.fault(f"the kind {kind!r} is not cross_layer_transcoder")
    if n < 2:
        raise first.fault("it is the only layer, and a cross-layer transcoder has two or more")
    d_layer, d = first.take("W_enc_0", -1, -1).shape
    jumps = "threshold_0" in first
    dictionary = CrossLayerTranscoder(
        CrossLayerConfig(
            d_in=n * d,
            d_out=n * d,
            d_sae=n * d_layer,
            layers_in=(d,) * n,
            layers_out=(d,) * n,
            k=min(32, n * d_layer),
            thresholds="each" if jumps else "one",
        )
    )
    with torch.no_grad():
        for layer in range(n):
            _take_layer(dictionary, layer, source.folder, jumps)
        if jumps:  # compared with contributions here
            dictionary.threshold.clamp_min_(0).mul_(dictionary.row_sizes())
    hook, target = (
        "+".join(_ours(str(layer), cfg.get(f"feature_{side}_hook")) for layer in range(n)).strip("+")
        for side in ("input", "output")
    )
    return Found(dictionary, str(cfg.get("model_name") or ""), hook, target)


def _take_layer(dictionary: CrossLayerTranscoder, layer: int, folder: Path, jumps: bool) -> None:
    """Fill in one layer, files opened one at a time: together they may be larger than the memory twice over."""
    n, d, d_layer = dictionary.n_layers, dictionary.parts_in[0], dictionary.n_in_layer
    read = read_safetensors(folder / f"W_enc_{layer}.safetensors")
    read.refuse(f"W_skip_{layer}")
    dictionary.W_enc[layer].copy_(read.take(f"W_enc_{layer}", d_layer, d).T)
    own = slice(layer * d_layer, (layer + 1) * d_layer)
    dictionary.b_enc[own] = read.take(f"b_enc_{layer}", d_layer)
    dictionary.b_dec[layer * d : (layer + 1) * d] = read.take(f"b_dec_{layer}", d)
    if jumps:
        dictionary.threshold[own] = read.take(f"threshold_{layer}", d_layer).double()
    else:
        read.refuse(f"threshold_{layer}")  # the first layer has none
    written = read_safetensors(folder / f"W_dec_{layer}.safetensors")
    dictionary.W_write[layer].copy_(written.take(f"W_dec_{layer}", d_layer, n - layer, d).flatten(1))


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
    """A set of the one layer that `hook` names; the files of several layers make one set in one folder. Of a
    cross-layer transcoder all layers.

    Raises `UserError` for other dictionaries than transcoders between sites of one width, and for types without a
    threshold or k.
    """
    if isinstance(dictionary, CrossLayerTranscoder):
        return _write_clt(dictionary, folder, model_name, hook, target)
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


def _write_clt(dictionary: CrossLayerTranscoder, folder: Path, model_name: str, hook: str, target: str) -> None:
    n, d = dictionary.n_layers, dictionary.parts_in[0]
    if set(dictionary.parts_in + dictionary.parts_out) != {d}:
        raise unfit(dictionary, "circuit-tracer, where all sites have one width")
    config = {
        "model_kind": "cross_layer_transcoder",
        "model_name": model_name,
        "scan": "",
        "feature_input_hook": _same_site(dictionary, hook),
        "feature_output_hook": _same_site(dictionary, target),
    }
    cuts = (dictionary.threshold / dictionary.row_sizes()).float().split(dictionary.n_in_layer)
    biases, targets = dictionary.b_enc.split(dictionary.n_in_layer), dictionary.b_dec.split(d)
    for layer in range(n):
        read = {"W_enc": dictionary.W_enc[layer].T, "b_enc": biases[layer], "b_dec": targets[layer]}
        if dictionary.threshold.any():  # else it is a ReLU
            read["threshold"] = cuts[layer]
        written = {"W_dec": dictionary.W_write[layer].unflatten(1, (n - layer, d))}
        for name, tensors in (("W_enc", read), ("W_dec", written)):
            named = {f"{key}_{layer}": value.detach().contiguous() for key, value in tensors.items()}
            save_file(named, folder / f"{name}_{layer}.safetensors")
    (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def _same_site(dictionary: CrossLayerTranscoder, hooks: str) -> str:
    """The site that `hooks` name in each layer, from the first layer to the last."""
    found = [_theirs(hook) for hook in hooks.split("+")]
    if hooks and (
        [layer for layer, _ in found] != [str(layer) for layer in range(dictionary.n_layers)]
        or len({site for _, site in found}) > 1
    ):
        raise unfit(
            dictionary, f"circuit-tracer, where the sites are one place in every layer from the first (here {hooks})"
        )
    return found[0][1]


def _theirs(hook: str) -> tuple[str, str]:
    """The layer and the site in it."""
    ours, theirs = _MLP_INPUT
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", hook)
    return (match[1], theirs if match[2] == ours else match[2]) if match else ("0", hook)
