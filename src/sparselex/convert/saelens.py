"""SAELens 6 and older: `cfg.json`, `sae_weights.safetensors`, rows as ours."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparselex.base.files import write_json
from sparselex.base.sites import Sites
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.tensors import Tensors, read_safetensors, read_settings, write_safetensors
from sparselex.convert.weights import Weights, to_gated, to_jumprelu, to_relu, to_topk, unfit
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.files import (
    SAELENS_CONFIG,
    TOKEN_NORMS,
    TRANSCODERS,
    WEIGHTS,
    saelens_config,
    write_dictionary,
)
from sparselex.dictionaries.kinds import TokenNorm
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.dictionaries.transformer_lens import OF_HEADS, name_here
from sparselex.dictionaries.types.gated import Gated
from sparselex.dictionaries.types.matching_pursuit import MatchingPursuit, MatchingPursuitConfig

_TRANSCODERS = {name: activations for (activations, _), name in TRANSCODERS.items()}
"""Its names for transcoders, and for the autoencoder with the same activations."""

_ARCHITECTURES = (
    "standard",
    "topk",
    "abstopk",
    "batchtopk",
    "matryoshka_batchtopk",
    "jumprelu",
    "gated",
    "matching_pursuit",
    *_TRANSCODERS,
)

_UNIT = 1e-6
"""Norms that differ from 1 by less are 1 but for rounding."""


def read_saelens(files: Files) -> Found:
    """Raises `UserError` for an architecture that is not ours, and for inputs it changes in ways that are not in the
    weights."""
    cfg, tensors = read_settings(files.folder / SAELENS_CONFIG), read_safetensors(files.weights)
    about = cfg.get("metadata") or cfg
    names = (about.get("model_name"), about.get("hook_name") or about.get("hook_point"), about.get("hook_name_out"))
    model_name, hook, target = (str(name or "") for name in names)
    hook, target = name_here(hook, about.get("hook_head_index")), name_here(target)
    kind = _kind(cfg, tensors)
    if kind == "matching_pursuit":
        return Found(_matching_pursuit(cfg, tensors), model_name).at(hook)
    weights = _weights(cfg, tensors, kind)._replace(token_norm=_token_norm(cfg, tensors, kind))
    dictionary = _dictionary(cfg, tensors, kind, weights)
    return Found(dictionary, model_name).at(hook, target if weights.transcoder else "")


SAELENS = Format((SAELENS_CONFIG, WEIGHTS), read_saelens)


def _kind(cfg: dict[str, Any], tensors: Tensors) -> str:
    kind = str(cfg.get("architecture") or "standard")
    activation = str(cfg.get("activation_fn_str") or cfg.get("activation_fn") or "relu")
    if kind == "temporal":
        raise tensors.fault(
            "the architecture 'temporal' predicts a token from those before it by attention, and our types code each "
            "token by itself"
        )
    if kind not in _ARCHITECTURES:
        raise tensors.fault(f"the architecture {kind!r} is not one of {', '.join(_ARCHITECTURES)}")
    if kind != "standard" or activation == "relu":
        return kind
    if activation == "topk":  # as versions before 6 say it
        return "topk"
    raise tensors.fault(f"the activation {activation!r} is not relu or topk")


def _token_norm(cfg: dict[str, Any], tensors: Tensors, kind: str) -> TokenNorm:
    """Raises `UserError` for other changes of the input, which are not in the weights."""
    if cfg.get("reshape_activations", "none") not in ("none", OF_HEADS, None):
        raise tensors.fault(f"it reshapes its inputs ({cfg['reshape_activations']}), which we do not do")
    norm = cfg.get("normalize_activations") or "none"
    ours = next((ours for ours, theirs in TOKEN_NORMS.items() if theirs == norm), None)
    if ours is None:
        raise tensors.fault(f"it normalises its inputs ({norm}), which is not folded into these weights")
    if ours != "none" and kind in _TRANSCODERS:
        raise tensors.fault(f"it is a transcoder that normalises each token ({norm}), which only our autoencoders do")
    return ours


def _weights(cfg: dict[str, Any], tensors: Tensors, kind: str) -> Weights:
    """Weights as they lie there, whether or not inputs are centred."""
    transcoder = kind in _TRANSCODERS
    W_enc = tensors.take("W_enc", -1, -1)
    d_in, d_sae = W_enc.shape
    W_dec = tensors.take("W_dec", d_sae, -1 if transcoder else d_in)
    d_out = W_dec.shape[1]
    _check_sizes(cfg, tensors, d_in=d_in, d_sae=d_sae, **({"d_out": d_out} if transcoder else {}))
    if "scaling_factor" in tensors:  # before version 6: activations are multiplied by it
        W_dec = W_dec * tensors.take("scaling_factor", d_sae)[:, None]
    if "skip" not in kind:
        tensors.refuse("W_skip")
    return Weights(
        W_enc,
        tensors.take("b_gate" if kind == "gated" else "b_enc", d_sae),
        W_dec,
        tensors.take("b_dec", d_out),
        transcoder=transcoder,
        W_skip=tensors.take("W_skip", d_out, d_in) if "skip" in kind else None,
    )


def _check_sizes(cfg: dict[str, Any], tensors: Tensors, **sizes: int) -> None:
    for name, size in sizes.items():
        if cfg.get(name, size) != size:
            raise tensors.fault(f"{name} is {cfg[name]} in cfg.json and {size} in the weights")


def _dictionary(cfg: dict[str, Any], tensors: Tensors, kind: str, weights: Weights) -> EncoderDictionary:
    d_sae = len(weights.b_enc)
    shift = torch.zeros(d_sae)
    if not weights.transcoder and not cfg.get("apply_b_dec_to_input", True):
        shift = weights.b_dec @ weights.W_enc
        weights = weights.uncentred()
    match _TRANSCODERS.get(kind, kind):
        case "standard":
            return to_relu(weights)
        case "jumprelu":
            return to_jumprelu(weights, tensors.take("threshold", d_sae))
        case "batchtopk" | "matryoshka_batchtopk":
            cut = tensors.take("topk_threshold")
            # Scores are contributions where activations are rescaled by decoder norms, else activations.
            norms = weights.W_dec.norm(dim=-1) if cfg.get("rescale_acts_by_decoder_norm", True) else torch.ones(d_sae)
            return to_jumprelu(weights, cut / norms)
        case "topk" | "abstopk":
            k = cfg.get("k") or (cfg.get("activation_fn_kwargs") or {}).get("k")
            by_contribution = cfg.get("rescale_acts_by_decoder_norm", False)
            return to_topk(weights, k, tensors, by_contribution=by_contribution, signed=kind == "abstopk")
        case "gated":
            r_mag, b_mag = tensors.take("r_mag", d_sae), tensors.take("b_mag", d_sae)
            return to_gated(weights, r_mag, b_mag + r_mag.exp() * shift)
    raise AssertionError(f"{kind} has a name and no reader")


def _matching_pursuit(cfg: dict[str, Any], tensors: Tensors) -> MatchingPursuit:
    """Its steps take products with the rows as they are, and end by the length of what is left, in raw units."""
    if _token_norm(cfg, tensors, kind="matching_pursuit") != "none":
        raise tensors.fault(
            f"it is a pursuit that normalises each token ({cfg['normalize_activations']}), which ours does not"
        )
    W_dec = tensors.take("W_dec", -1, -1)
    d_sae, d_in = W_dec.shape
    _check_sizes(cfg, tensors, d_in=d_in, d_sae=d_sae)
    norms = W_dec.norm(dim=-1)
    n_steps = d_in if cfg.get("max_iterations") is None else int(cfg["max_iterations"])
    if n_steps < 1:
        raise tensors.fault(f"max_iterations is {n_steps}")
    values = {
        "d_in": d_in,
        "d_sae": d_sae,
        "k": n_steps,
        "stop_left": max(0.0, float(cfg.get("residual_threshold", 0.01))),
        "stop_at_repeat": bool(cfg.get("stop_on_duplicate_support", True)),
        "step": "projection" if bool((norms - 1).abs().max() < _UNIT) else "product",
    }
    dictionary = MatchingPursuit(MatchingPursuitConfig.model_validate(values))
    with torch.no_grad():
        dictionary.W_dec.copy_(W_dec)
        if cfg.get("apply_b_dec_to_input", True):  # else it is not added either
            dictionary.b_dec.copy_(tensors.take("b_dec", d_in))
    return dictionary


def write_saelens(dictionary: TrainableDictionary, folder: Path, model_name: str, sites: Sites | None) -> None:
    """The layout of our own files, and besides gated autoencoders and pursuits without `stop_below`.

    Raises `UserError` for what SAELens has no architecture for.
    """
    if isinstance(dictionary, Gated) and dictionary.is_autoencoder and not dictionary.config.parts:
        settings, tensors = {"architecture": "gated"}, dictionary.state_dict()
        tensors["b_gate"] = tensors.pop("b_enc")  # the gate's bias has a name of its own there
    elif isinstance(dictionary, MatchingPursuit) and not dictionary.config.stop_below:
        settings, tensors = _pursuit_settings(dictionary), _pursuit_tensors(dictionary)
    else:
        write_dictionary(dictionary, folder, model_name=model_name, sites=sites)
        if not (folder / SAELENS_CONFIG).exists():
            raise unfit(dictionary, "SAELens")
        return
    write_safetensors(folder / WEIGHTS, tensors)
    write_json(folder / SAELENS_CONFIG, saelens_config(dictionary, settings, model_name, sites))


def _pursuit_settings(dictionary: MatchingPursuit) -> dict[str, Any]:
    return {
        "architecture": "matching_pursuit",
        "residual_threshold": 0.0 if dictionary.left is None else float(dictionary.left),
        "max_iterations": dictionary.config.k,
        "stop_on_duplicate_support": dictionary.config.stop_at_repeat,
    }


def _pursuit_tensors(dictionary: MatchingPursuit) -> dict[str, Tensor]:
    gains = torch.ones(dictionary.d_sae) if dictionary.gains is None else dictionary.gains
    return {"W_dec": dictionary.W_dec * gains[:, None], "b_dec": dictionary.b_dec}
