"""circuit-tracer: transcoders of single layers (`config.yaml`, `layer_<i>.safetensors`), and cross-layer transcoders
(`W_enc_<i>.safetensors`, `W_dec_<i>.safetensors`). The encoder's columns are rows there, and a layer's decoder is
`[latents, sites from its own on, d_model]`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor

from sparselex.base.sites import Hook, Sites
from sparselex.convert.fields import Fields
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.settings import Settings, count
from sparselex.convert.tensors import Tensors, read_safetensors, write_safetensors
from sparselex.convert.weights import Weights, plain_topk, to_jumprelu, to_relu, to_topk, unfit
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.files import saelens_settings
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.dictionaries.transformer_lens import name_here, names_there
from sparselex.dictionaries.types.clt import CrossLayerConfig, CrossLayerTranscoder
from sparselex.dictionaries.types.topk import TopK

CONFIG = "config.yaml"
_THRESHOLD = "activation_function.threshold"


FIELDS = Fields(
    used="model_kind model_name feature_input_hook feature_output_hook activation k",
    harmless="scan transcoders repo_id revision subfolder lazy_encoder lazy_decoder dtype",
)


def read_circuit_tracer(files: Files) -> Found:
    """One layer of a set. Raises `UserError` where the settings beside it speak of another kind."""
    cfg, tensors = files.settings(CONFIG), files.tensors()
    _check_kind(cfg, tensors, "transcoder_set")
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
    found = Found(_dictionary(cfg, tensors, weights), str(cfg.get("model_name") or ""))
    stated, warnings = FIELDS.review(cfg, tensors)
    return _at(found, [files.weights.stem.removeprefix("layer_")], cfg).noting(stated, *warnings)


def read_circuit_tracer_clt(files: Files) -> Found:
    """All layers. ReLU is a threshold of 0 for all; a JumpReLU's thresholds are kept for each latent."""
    cfg = files.settings(CONFIG, needed=False)
    layers = range(sum(1 for _ in files.folder.glob("W_enc_*.safetensors")))
    first = read_safetensors(files.weights)
    _check_kind(cfg, first, "cross_layer_transcoder")
    if len(layers) < 2:
        raise first.fault("it is the only layer, and a cross-layer transcoder has two or more")
    jumps = "threshold_0" in first
    said, expected = cfg.get("activation"), ("jumprelu", "jump_relu") if jumps else ("relu",)
    if said is not None and said not in expected:
        raise first.fault(f"its activation is {shortened(said)} in the settings and {expected[0]} in the weights")
    config = _clt_config(len(layers), *first.take("W_enc_0", -1, -1).shape, jumps=jumps)
    left: set[str] = set()
    read = [_read_layer(config, layer, files.folder, left) for layer in layers]
    with torch.device("meta"):  # no memory for a second set of weights
        dictionary = CrossLayerTranscoder(config)
    dictionary.load_state_dict(_state(read, jumps), assign=True)
    if jumps:  # compared with contributions here
        with torch.no_grad():
            dictionary.threshold.mul_(dictionary.row_sizes())
    found = _at(Found(dictionary, str(cfg.get("model_name") or "")), layers, cfg)
    stated, warnings = FIELDS.review(cfg, Tensors(files.weights, dict.fromkeys(sorted(left), torch.zeros(()))))
    return found.noting(stated, *warnings)


CIRCUIT_TRACER = Format((CONFIG, "layer_*.safetensors"), read_circuit_tracer, fields=FIELDS)
CIRCUIT_TRACER_CLT = Format(("W_dec_0.safetensors", "W_enc_0.safetensors"), read_circuit_tracer_clt, fields=FIELDS)


def _check_kind(cfg: Settings, tensors: Tensors, expected: str) -> None:
    kind = str(cfg.get("model_kind") or expected)
    if kind != expected:
        raise tensors.fault(f"the kind {kind!r} is not {expected}")


def _clt_config(n: int, d_layer: int, d: int, *, jumps: bool) -> CrossLayerConfig:
    """Of `n` layers of one width with as many latents each."""
    return CrossLayerConfig(
        d_in=n * d,
        d_out=n * d,
        d_sae=n * d_layer,
        layers_in=(d,) * n,
        layers_out=(d,) * n,
        k=min(32, n * d_layer),
        thresholds="each" if jumps else "one",
    )


def _read_layer(config: CrossLayerConfig, layer: int, folder: Path, left: set[str]) -> dict[str, Tensor]:
    """The tensors of one layer, by their names here; `left` takes up the names of others. Weights for all layers are
    made of what their files hold, and not of what the first one promises of the others."""
    n, d = len(config.layers_in), config.layers_in[0]
    d_layer = config.d_sae // n
    read = read_safetensors(folder / f"W_enc_{layer}.safetensors")
    read.refuse(f"W_skip_{layer}")
    tensors = {
        "W_enc": read.take(f"W_enc_{layer}", d_layer, d).T,
        "b_enc": read.take(f"b_enc_{layer}", d_layer),
        "b_dec": read.take(f"b_dec_{layer}", d),
    }
    if config.thresholds == "each":
        tensors["threshold"] = _open(read.take(f"threshold_{layer}", d_layer), read).double()
    else:
        read.refuse(f"threshold_{layer}")  # the first layer has none
    written = read_safetensors(folder / f"W_dec_{layer}.safetensors")
    tensors |= {"W_write": written.take(f"W_dec_{layer}", d_layer, n - layer, d).flatten(1)}
    left.update(read.left, written.left)
    return tensors


def _state(layers: Sequence[dict[str, Tensor]], jumps: bool) -> dict[str, Tensor]:
    """The state of a cross-layer transcoder with these layers."""
    state = {f"{name}.{at}": layer[name] for at, layer in enumerate(layers) for name in ("W_enc", "W_write")}
    state |= {name: torch.cat([layer[name] for layer in layers]) for name in ("b_enc", "b_dec")}
    threshold = torch.cat([layer["threshold"] for layer in layers]) if jumps else torch.zeros((), dtype=torch.float64)
    return state | {"threshold": threshold, "part_scales": torch.ones(len(layers))}


def _dictionary(cfg: Settings, tensors: Tensors, weights: Weights) -> EncoderDictionary:
    match cfg.get("activation"):
        case "topk":
            return to_topk(weights, count(cfg, tensors, "k"), tensors, by_contribution=False)
        case "relu":
            return to_relu(weights)
        case None | "jumprelu" | "jump_relu":  # told by the file
            if "k" in tensors and cfg.peek("activation") is None:
                return to_topk(weights, count(cfg, tensors, "k"), tensors, by_contribution=False)
            if _THRESHOLD in tensors:
                return to_jumprelu(weights, _threshold(tensors, len(weights.b_enc)))
            if cfg.peek("activation") is None:
                return to_relu(weights)
            raise tensors.fault(f"its activation is {cfg['activation']}, and it holds no threshold")
    raise tensors.fault(f"the activation {cfg['activation']!r} is not one of relu, jumprelu, topk")


def _threshold(tensors: Tensors, d_sae: int) -> Tensor:
    """One for each latent, or one for all."""
    return _open(tensors.take(_THRESHOLD, *(() if tensors.is_scalar(_THRESHOLD) else (d_sae,))), tensors)


def _open(threshold: Tensor, tensors: Tensors) -> Tensor:
    """The same thresholds. Raises `UserError` for one below 0: its project takes no ReLU besides, and lets what is
    negative through."""
    if bool((threshold < 0).any()):
        raise tensors.fault("it has a threshold below 0, so that activations may be negative, which ours never are")
    return threshold


def _at(found: Found, layers: Iterable[object], cfg: Settings) -> Found:
    """The same at the sites that the settings name, in each of these layers."""
    layers, sites = list(layers), [cfg.get(f"feature_{side}_hook") for side in ("input", "output")]
    named = ["+".join(f"blocks.{layer}.{site}" for layer in layers) if site else "" for site in sites]
    return found.at(_ours(layers, sites[0]), _ours(layers, sites[1]), named=(named[0], named[1]))


def _ours(layers: Iterable[object], site: Any) -> str:
    """Our names for one site in each of these layers; empty where it is not named."""
    return name_here("+".join(f"blocks.{layer}.{site}" for layer in layers)) if site else ""


def write_circuit_tracer(dictionary: TrainableDictionary, folder: Path, model_name: str, sites: Sites | None) -> None:
    """A set of the one layer that `sites` name; the files of several layers make one set in one folder. Of a
    cross-layer transcoder all layers.

    Raises `UserError` for other dictionaries than transcoders between sites of one width, and for types without a
    threshold or k.
    """
    if isinstance(dictionary, CrossLayerTranscoder):
        return _write_clt(dictionary, folder, model_name, sites)
    if not isinstance(dictionary, EncoderDictionary) or not _has_place(dictionary):
        raise unfit(dictionary, "circuit-tracer, which has transcoders with ReLU, JumpReLU or TopK")
    if dictionary.d_in != dictionary.d_out:
        raise unfit(dictionary, "circuit-tracer, where input and target have one width")
    weights = plain_topk(dictionary) if isinstance(dictionary, TopK) else dictionary
    tensors = {"W_enc": weights.W_enc.T, "W_dec": weights.W_dec, "b_enc": weights.b_enc, "b_dec": weights.b_dec}
    if dictionary.config.skip:
        tensors["W_skip"] = dictionary.W_skip
    activation: dict[str, Any] = {}
    if isinstance(dictionary, TopK):
        activation = {"activation": "topk", "k": dictionary.config.k}
    elif "threshold" in dictionary.state_dict():  # a JumpReLU is told by it
        tensors[_THRESHOLD] = dictionary.state_dict()["threshold"].float().expand(dictionary.d_sae)
    else:
        activation = {"activation": "relu"}
    layer, names = _names(sites.hooks if sites else (), sites.target if sites else ())
    write_safetensors(folder / f"layer_{layer}.safetensors", tensors)
    _write_settings(folder, {"model_kind": "transcoder_set", "model_name": model_name, "scan": ""} | names | activation)


def _has_place(dictionary: EncoderDictionary) -> bool:
    is_topk = isinstance(dictionary, TopK) and not dictionary.signed
    return not dictionary.is_autoencoder and (is_topk or saelens_settings(dictionary) is not None)


def _write_clt(dictionary: CrossLayerTranscoder, folder: Path, model_name: str, sites: Sites | None) -> None:
    n, d = dictionary.n_layers, dictionary.parts_in[0]
    if set(dictionary.parts_in + dictionary.parts_out) != {d}:
        raise unfit(dictionary, "circuit-tracer, where all sites have one width")
    hooks, target = (sites.hooks, sites.target) if sites else ((), ())
    for named in (hooks, target):
        _check_layers(dictionary, named)
    _, names = _names(hooks, target)
    cuts = (dictionary.threshold / dictionary.row_sizes()).float()
    # A latent whose rows are zero never opens, and its threshold is no number or none that is finite.
    cuts = cuts.nan_to_num(nan=torch.finfo(cuts.dtype).max).split(dictionary.n_in_layer)
    biases, targets = dictionary.b_enc.split(dictionary.n_in_layer), dictionary.b_dec.split(d)
    for layer in range(n):
        read = {"W_enc": dictionary.W_enc[layer].T, "b_enc": biases[layer], "b_dec": targets[layer]}
        if dictionary.threshold.any():  # else it is a ReLU
            read["threshold"] = cuts[layer]
        written = {"W_dec": dictionary.W_write[layer].unflatten(1, (n - layer, d))}
        for name, tensors in (("W_enc", read), ("W_dec", written)):
            named_tensors = {f"{key}_{layer}": value for key, value in tensors.items()}
            write_safetensors(folder / f"{name}_{layer}.safetensors", named_tensors)
    _write_settings(folder, {"model_kind": "cross_layer_transcoder", "model_name": model_name, "scan": ""} | names)


def _write_settings(folder: Path, settings: dict[str, Any]) -> None:
    (folder / CONFIG).write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def _check_layers(dictionary: CrossLayerTranscoder, hooks: Sequence[Hook]) -> None:
    """Raise `UserError` unless `hooks`, where there are any, are one site in each layer from the first to the last."""
    layers, sites = [hook.layer for hook in hooks], {hook.site for hook in hooks}
    if hooks and (layers != list(range(dictionary.n_layers)) or len(sites) > 1):
        here = f"(here {'+'.join(hooks)})"
        raise unfit(dictionary, f"circuit-tracer, where the sites are one place in every layer from the first {here}")


def _names(hooks: Sequence[Hook], target: Sequence[Hook]) -> tuple[int, dict[str, str]]:
    """The layer of the first of `hooks`, and the names of sites in the settings; empty where they are not known."""
    read, written = (_theirs(sites[0]) if sites else "" for sites in (hooks, target))
    layer = hooks[0].layer if hooks else None
    return layer or 0, {"feature_input_hook": read, "feature_output_hook": written}


def _theirs(hook: Hook) -> str:
    """The site in its layer, by its name there; of a module all of its name."""
    return str(hook) if hook.is_module else names_there([hook.whole]).partition(f"blocks.{hook.layer}.")[2]
