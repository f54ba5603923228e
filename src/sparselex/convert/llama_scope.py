"""Llama Scope (arXiv:2410.20526) and Llamascopium, the library it grew into.

Both hold weights for sites scaled to a mean norm of sqrt(d_model); a latent's threshold is compared with `pre *
|decoder row|` unless `sparsity_include_decoder_norm` is off. The files of 2024 were given one threshold after scales
had been folded in, so it counts raw units of the target; the thresholds of Llamascopium were learned in the scaled
units.
"""

import math
from typing import Any

import torch
from torch import Tensor

from sparselex.convert.fields import Fields
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.tensors import Tensors
from sparselex.convert.weights import Weights, to_jumprelu, to_relu, to_topk
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.transformer_lens import name_here

_NAMES = {
    "W_enc": ("W_E", "encoder.weight"),
    "b_enc": ("b_E", "encoder.bias"),
    "W_dec": ("W_D", "decoder.weight"),
    "b_dec": ("b_D", "decoder.bias"),
}
"""Names now (rows as ours), and before (columns)."""

_LOG_THRESHOLDS = ("activation_function.log_jumprelu_threshold", "log_jumprelu_threshold")


FIELDS = Fields(
    used="jump_relu_threshold act_fn use_glu_encoder d_model d_sae use_decoder_bias apply_decoder_bias_to_pre_encoder "
    "sparsity_include_decoder_norm norm_activation dataset_average_activation_norm hook_point_in hook_point_out top_k "
    "sae_type model_name expansion_factor",
    harmless="device seed dtype init_* decoder_exactly_* tp_size ddp_size sae_pretrained_name_or_path strict_loading "
    "use_ghost_grads l1_coefficient* lp aux_coefficient k_* jumprelu_threshold_window promote_* sparsity_* version "
    "use_triton_kernel use_auxk dead_threshold backend force_* avg_* "
    "label",
    only={"use_bias": (True, None), "use_encoder_bias": (True, None)},
    tensors="dataset_average_activation_norm.* k *jumprelu_threshold",
)
"""Of both releases."""


def read_llama_scope(files: Files) -> Found:
    """The release of 2024: `hyperparams.json`, `checkpoints/final.safetensors`."""
    cfg, tensors = files.settings("hyperparams.json"), files.tensors()
    cut = float(cfg.get("jump_relu_threshold") or 0)
    if not math.isfinite(cut):
        raise tensors.fault(f"jump_relu_threshold is {cut}")
    if cfg.get("act_fn") == "topk" and cut > 0:  # its project then leaves top-k to training
        cfg = cfg | {"act_fn": "jumprelu"}
    weights, x_scale, target_scale = _weights(cfg, tensors)
    raw = weights.scaled(x_scale, target_scale)
    norms = raw.W_dec.norm(dim=-1) if _by_contribution(cfg) else torch.tensor(1 / x_scale)
    return _found(files, cfg, tensors, raw, cut / norms)


def read_llamascopium(files: Files) -> Found:
    """The layout now: `config.json`, `sae_weights.safetensors` or `.pt`; also with the names that the R1-Distill
    release has."""
    cfg = files.settings("config.json")
    tensors = _pickled(files) if files.weights.suffix == ".pt" else files.tensors()
    if "d_model" not in cfg:
        raise tensors.another("config.json beside it is not Llamascopium's: it has no d_model")
    if cfg.get("sae_type", "sae") != "sae":
        raise tensors.fault(f"the architecture {cfg['sae_type']!r} is not 'sae'")
    weights, x_scale, target_scale = _weights(cfg, tensors)
    threshold = torch.zeros(())
    if cfg.get("act_fn") == "jumprelu":
        name = next((name for name in _LOG_THRESHOLDS if name in tensors), _LOG_THRESHOLDS[0])
        norms = weights.W_dec.norm(dim=-1) if _by_contribution(cfg) else torch.ones(())
        threshold = tensors.take(name, len(weights.b_enc)).exp() / norms
    return _found(files, cfg, tensors, weights.scaled(x_scale, target_scale), threshold)


def _pickled(files: Files) -> Tensors:
    """What `torch.save` wrote lies one table deeper, beside a version."""
    tensors = files._replace(names={}).tensors()
    inside = tensors.plain.get("sae")
    if not isinstance(inside, dict):
        raise tensors.fault("it is not Llamascopium's: it holds no table 'sae'")
    return Tensors(files.weights, inside).renamed(files.names)


def _by_contribution(cfg: dict[str, Any]) -> bool:
    return bool(cfg.get("sparsity_include_decoder_norm", True))


def _weights(cfg: dict[str, Any], tensors: Tensors) -> tuple[Weights, float, float]:
    """Weights for scaled sites, nothing subtracted from the input, and the scales of input and target."""
    if cfg.get("use_glu_encoder"):
        raise tensors.fault("its encoder is a gated linear unit, which ours are not")
    now = "W_E" in tensors
    names = {ours: theirs[0 if now else 1] for ours, theirs in _NAMES.items()}
    W_enc = tensors.take(names["W_enc"], -1, -1)
    W_enc = W_enc if now else W_enc.T
    d_in, d_sae = W_enc.shape
    if cfg.get("d_model", d_in) != d_in:
        raise tensors.fault(f"d_model is {cfg['d_model']} in the settings and {d_in} in the weights")
    if cfg.get("d_sae", d_sae) != d_sae:
        raise tensors.fault(f"d_sae is {cfg['d_sae']} in the settings and {d_sae} in the weights")
    W_dec = tensors.take(names["W_dec"], d_sae, d_in) if now else tensors.take(names["W_dec"], d_in, d_sae).T
    b_enc, b_dec = tensors.take(names["b_enc"], d_sae), torch.zeros(d_in)
    if cfg.get("use_decoder_bias", True):
        b_dec = tensors.take(names["b_dec"], d_in)
        if cfg.get("apply_decoder_bias_to_pre_encoder"):
            b_enc = b_enc - b_dec @ W_enc
    hooks = _hooks(cfg)
    if cfg.get("norm_activation") == "token-wise" and hooks[0] == hooks[1]:
        return Weights(W_enc, b_enc, W_dec, b_dec, token_norm="length"), 1.0, 1.0
    scales = [_scale(cfg, tensors, hook, side, d_in) for hook, side in zip(hooks, ("in", "out"), strict=True)]
    return Weights(W_enc, b_enc, W_dec, b_dec, transcoder=hooks[0] != hooks[1]), scales[0], scales[1]


def _hooks(cfg: dict[str, Any]) -> tuple[str, str]:
    hook = str(cfg.get("hook_point_in") or "")
    return hook, str(cfg.get("hook_point_out") or hook)


def _scale(cfg: dict[str, Any], tensors: Tensors, hook: str, side: str, d_in: int) -> float:
    """What a site is multiplied by."""
    match cfg.get("norm_activation", "dataset-wise"):
        case "inference" | "none" | None:
            return 1.0
        case "dataset-wise":
            norms = cfg.get("dataset_average_activation_norm") or {}
            names = [f"dataset_average_activation_norm.{key}" for key in (hook, side)]
            kept: Tensor | float | None = next((tensors.take(name) for name in names if name in tensors), None)
            norm = float(kept if kept is not None else norms.get(hook, norms.get(side, math.nan)))
            if not 0 < norm < math.inf:
                raise tensors.fault(f"the mean norm of {hook or side!r} that its inputs are scaled by is missing")
            return math.sqrt(d_in) / norm
        case other:
            raise tensors.fault(f"it scales its inputs {other}, which our types do not do")


def _found(files: Files, cfg: dict[str, Any], tensors: Tensors, weights: Weights, threshold: Tensor) -> Found:
    hook, target = _hooks(cfg)
    named = hook, target if weights.transcoder else ""
    dictionary = _dictionary(cfg, tensors, weights.uncentred(), threshold)
    stated, warnings = FIELDS.review(files.options, cfg, tensors)
    found = Found(dictionary, str(cfg.get("model_name") or ""))
    return found.at(name_here(named[0]), name_here(named[1]), named=named).noting(stated, *warnings)


def _dictionary(cfg: dict[str, Any], tensors: Tensors, weights: Weights, threshold: Tensor) -> EncoderDictionary:
    match cfg.get("act_fn", "relu"):
        case "relu":
            return to_relu(weights)
        case "jumprelu":
            return to_jumprelu(weights, threshold)
        case "topk":
            return to_topk(weights, cfg.get("top_k"), tensors, by_contribution=_by_contribution(cfg))
        case "batchtopk":
            raise tensors.fault(
                "its activation 'batchtopk' chooses among the tokens of a batch and keeps no threshold, so a token by "
                "itself has no code "
                "(its project's topk_to_jumprelu_conversion finds one)"
            )
        case other:
            raise tensors.fault(f"the activation {other!r} is not one of relu, jumprelu, topk")


LLAMA_SCOPE = Format(("hyperparams.json", "checkpoints/final.safetensors"), read_llama_scope, fields=FIELDS)
LLAMASCOPIUM = Format(("config.json", "sae_weights.[ps]*"), read_llamascopium, fields=FIELDS)
