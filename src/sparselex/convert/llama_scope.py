"""Llama Scope (arXiv:2410.20526) and Llamascopium, the library it grew into.

Both hold weights for sites scaled to a mean norm of sqrt(d_model); a latent's threshold is compared with `pre *
|decoder row|` unless `sparsity_include_decoder_norm` is off. The files of 2024 were given one threshold after scales
had been folded in, so it counts raw units of the target; the thresholds of Llamascopium were learned in the scaled
units.
"""

import math

import torch
from torch import Tensor

from sparselex.convert.fields import Fields
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.settings import Settings, count
from sparselex.convert.tensors import Tensors, read_tensors
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

_ROUNDING = 1e-2
"""By how much, as a share of it, a mean norm may differ between two places: one may be kept in 16 bits."""

_LOG_THRESHOLDS = ("activation_function.log_jumprelu_threshold", "log_jumprelu_threshold")


FIELDS = Fields(
    used="jump_relu_threshold act_fn use_glu_encoder d_model d_sae use_decoder_bias apply_decoder_bias_to_pre_encoder "
    "sparsity_include_decoder_norm norm_activation dataset_average_activation_norm hook_point_in hook_point_out top_k "
    "sae_type model_name",
    harmless="expansion_factor device seed dtype init_decoder_norm init_encoder_norm bias_init_method "
    "init_encoder_with_decoder_transpose decoder_exactly_fixed_norm tp_size ddp_size strict_loading version "
    "sae_pretrained_name_or_path use_ghost_grads use_batch_norm_mse l1_coefficient l1_coefficient_warmup_steps lp "
    "aux_coefficient k_warmup_steps jumprelu_threshold_window promote_act_fn_dtype "
    "sparsity_threshold_for_triton_spmm_kernel sparsity_threshold_for_csr use_triton_kernel use_auxk dead_threshold "
    "backend label",
    only={"use_bias": (True, None), "use_encoder_bias": (True, None)},
    idle={
        "relu": "top_k sparsity_include_decoder_norm",
        "jumprelu": "top_k k",
        "topk": "*jumprelu_threshold",
        "sites without a mean norm": "dataset_average_activation_norm*",
    },
)
"""Of both releases."""


def read_llama_scope(files: Files) -> Found:
    """The release of 2024: `hyperparams.json`, `checkpoints/final.safetensors`."""
    cfg, tensors = files.settings("hyperparams.json"), files.tensors()
    kind = str(cfg.get("act_fn") or "relu")
    cut = cfg.number("jump_relu_threshold", 0.0) if kind in ("jumprelu", "topk") else 0.0
    if cut < 0:
        raise tensors.fault(f"jump_relu_threshold is {cut}, below 0")
    if kind == "topk" and cut > 0:  # its project then leaves top-k to training
        kind = "jumprelu"
    weights, x_scale, target_scale = _weights(cfg, tensors)
    raw = weights.scaled(x_scale, target_scale)
    norms = raw.W_dec.norm(dim=-1) if kind != "relu" and _by_contribution(cfg) else torch.tensor(1 / x_scale)
    return _found(kind, cfg, tensors, raw, cut / norms)


def read_llamascopium(files: Files) -> Found:
    """The layout now: `config.json`, `sae_weights.safetensors` or `.pt`; also with the names that the R1-Distill
    release has."""
    cfg = files.settings("config.json")
    tensors = _pickled(files) if files.weights.suffix == ".pt" else files.tensors()
    if cfg.get("d_model") is None:
        raise tensors.another("config.json beside it is not Llamascopium's: it has no d_model")
    if cfg.get("sae_type", "sae") != "sae":
        raise tensors.fault(f"the architecture {cfg['sae_type']!r} is not 'sae'")
    weights, x_scale, target_scale = _weights(cfg, tensors)
    threshold, kind = torch.zeros(()), str(cfg.get("act_fn") or "relu")
    if kind == "jumprelu":
        name = next((name for name in _LOG_THRESHOLDS if name in tensors), _LOG_THRESHOLDS[0])
        norms = weights.W_dec.norm(dim=-1) if _by_contribution(cfg) else torch.ones(())
        threshold = tensors.take(name, len(weights.b_enc)).exp() / norms
    return _found(kind, cfg, tensors, weights.scaled(x_scale, target_scale), threshold)


def _pickled(files: Files) -> Tensors:
    """What `torch.save` wrote lies one table deeper, beside a version."""
    tensors = read_tensors(files.weights)
    inside = tensors.plain.get("sae")
    if not isinstance(inside, dict):
        raise tensors.fault("it is not Llamascopium's: it holds no table 'sae'")
    return files.renamed(Tensors(files.weights, inside))


def _by_contribution(cfg: Settings) -> bool:
    return cfg.flag("sparsity_include_decoder_norm", True)


def _weights(cfg: Settings, tensors: Tensors) -> tuple[Weights, float, float]:
    """Weights for scaled sites, nothing subtracted from the input, and the scales of input and target."""
    if cfg.flag("use_glu_encoder"):
        raise tensors.fault("its encoder is a gated linear unit, which ours are not")
    now = "W_E" in tensors
    names = {ours: theirs[0 if now else 1] for ours, theirs in _NAMES.items()}
    W_enc = tensors.take(names["W_enc"], -1, -1)
    W_enc = W_enc if now else W_enc.T
    d_in, d_sae = W_enc.shape
    cfg.sizes(d_model=d_in, d_sae=d_sae)
    W_dec = tensors.take(names["W_dec"], d_sae, d_in) if now else tensors.take(names["W_dec"], d_in, d_sae).T
    b_enc, b_dec = tensors.take(names["b_enc"], d_sae), torch.zeros(d_in)
    if cfg.flag("use_decoder_bias", True):
        b_dec = tensors.take(names["b_dec"], d_in)
        if cfg.flag("apply_decoder_bias_to_pre_encoder"):
            b_enc = b_enc - b_dec @ W_enc
    hooks = _hooks(cfg)
    if cfg.get("norm_activation") == "token-wise" and hooks[0] == hooks[1]:
        return Weights(W_enc, b_enc, W_dec, b_dec, token_norm="length"), 1.0, 1.0
    scales = [_scale(cfg, tensors, hook, side, d_in) for hook, side in zip(hooks, ("in", "out"), strict=True)]
    return Weights(W_enc, b_enc, W_dec, b_dec, transcoder=hooks[0] != hooks[1]), scales[0], scales[1]


def _hooks(cfg: Settings) -> tuple[str, str]:
    hook = str(cfg.get("hook_point_in") or "")
    return hook, str(cfg.get("hook_point_out") or hook)


def _scale(cfg: Settings, tensors: Tensors, hook: str, side: str, d_in: int) -> float:
    """What a site is multiplied by."""
    match cfg.get("norm_activation", "dataset-wise"):
        case "inference" | "none" | None:
            return 1.0
        case "dataset-wise":
            norms = cfg.table("dataset_average_activation_norm")
            names = [f"dataset_average_activation_norm.{key}" for key in (hook, side)]
            kept = next((float(tensors.take(name)) for name in names if name in tensors), 0.0)
            said = norms.number(hook if hook in norms else side, 0.0)
            if kept and said and not math.isclose(kept, said, rel_tol=_ROUNDING):
                raise tensors.fault(
                    f"the mean norm of {hook or side!r} is {said:g} in the settings and {kept:g} in the weights"
                )
            norm = kept or said
            if norm <= 0:
                raise tensors.fault(f"the mean norm of {hook or side!r} that its inputs are scaled by is missing")
            return math.sqrt(d_in) / norm
        case other:
            raise tensors.fault(f"it scales its inputs {other}, which our types do not do")


def _found(kind: str, cfg: Settings, tensors: Tensors, weights: Weights, threshold: Tensor) -> Found:
    hook, target = _hooks(cfg)
    named = hook, target if weights.transcoder else ""
    dictionary = _dictionary(kind, cfg, tensors, weights.uncentred(), threshold)
    scaled = cfg.get("norm_activation", "dataset-wise") == "dataset-wise"
    conditions = [] if scaled else ["sites without a mean norm"]
    stated, warnings = FIELDS.review(cfg, tensors, kind, *conditions)
    found = Found(dictionary, str(cfg.get("model_name") or ""))
    return found.at(name_here(named[0]), name_here(named[1]), named=named).noting(stated, *warnings)


def _dictionary(kind: str, cfg: Settings, tensors: Tensors, weights: Weights, threshold: Tensor) -> EncoderDictionary:
    match kind:
        case "relu":
            return to_relu(weights)
        case "jumprelu":
            return to_jumprelu(weights, threshold)
        case "topk":
            return to_topk(weights, count(cfg, tensors, "top_k"), tensors, by_contribution=_by_contribution(cfg))
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
