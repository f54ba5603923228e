"""Gemma Scope 1 (arXiv:2408.05147) and 2: JumpReLU, rows as ours, `b_dec` not subtracted from the input, inputs
unscaled."""

import re
from typing import Any

from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.tensors import Tensors, read_numpy, read_safetensors, read_settings
from sparselex.convert.weights import Weights, to_jumprelu

_HOOKS = {
    "output": "hook_resid_post",
    "self_attn.o_proj.input": "attn.hook_z",
    "pre_feedforward_layernorm.output": "hook_mlp_in",
    "post_feedforward_layernorm.output": "hook_mlp_out",
}
"""Places in a block of Gemma, by the names in the files of Gemma Scope 2."""


def read_gemma_scope(files: Files) -> Found:
    """Gemma Scope 1: `params.npz`. An autoencoder, or a transcoder where the person says so: both have the same
    names."""
    tensors = read_numpy(files.weights)
    names = {ours: ours for ours in ("W_enc", "b_enc", "W_dec", "b_dec")}
    weights = _weights(tensors, names, files.transcoder)
    return Found(to_jumprelu(weights.uncentred(), tensors.take("threshold", len(weights.b_enc))))


def read_gemma_scope_2(files: Files) -> Found:
    """Gemma Scope 2: `params.safetensors` with names in lower case, `config.json` where there is one.

    A transcoder is known by its skip connection `[d_in, d_out]`, its settings, or the name of its folder. Raises
    `UserError` for crosscoders and cross-layer transcoders.
    """
    tensors, path = read_safetensors(files.weights), files.folder / "config.json"
    cfg = read_settings(path) if path.is_file() else {}
    if cfg.get("architecture", "jump_relu") != "jump_relu":
        raise tensors.fault(f"the architecture {cfg['architecture']!r} is not jump_relu")
    hook, target = (_hook(cfg, side) for side in ("in", "out"))
    skip = "affine_skip_connection" in tensors
    named = any(part.startswith("transcoder") for part in files.folder.absolute().parts[-2:])
    transcoder = files.transcoder or skip or named or (target != "" and target != hook)
    names = {ours: ours.lower() for ours in ("W_enc", "b_enc", "W_dec", "b_dec")}
    weights = _weights(tensors, names, transcoder)
    if skip:
        shape = weights.W_enc.shape[0], weights.W_dec.shape[1]
        weights = weights._replace(W_skip=tensors.take("affine_skip_connection", *shape).T)
    dictionary = to_jumprelu(weights.uncentred(), tensors.take("threshold", len(weights.b_enc)))
    return Found(dictionary, str(cfg.get("model_name") or "")).at(hook, target if transcoder else "")


def _weights(tensors: Tensors, names: dict[str, str], transcoder: bool) -> Weights:
    W_enc = tensors.take(names["W_enc"], -1, -1)
    d_in, d_sae = W_enc.shape
    W_dec = tensors.take(names["W_dec"], d_sae, -1)
    d_out = W_dec.shape[1]
    if d_in != d_out and not transcoder:
        raise tensors.fault(f"it reads width {d_in} and writes width {d_out}: a transcoder, whose target must be named")
    b_enc, b_dec = tensors.take(names["b_enc"], d_sae), tensors.take(names["b_dec"], d_out)
    return Weights(W_enc, b_enc, W_dec, b_dec, transcoder=transcoder)


def _hook(cfg: dict[str, Any], side: str) -> str:
    """Our name for a place that is named by module, or what is there."""
    name = str(cfg.get(f"hf_hook_point_{side}") or "")
    match = re.fullmatch(r"(?:model\.)?(?:language_model\.)?layers\.(\d+)\.(.+)", name)
    return f"blocks.{match[1]}.{_HOOKS[match[2]]}" if match and match[2] in _HOOKS else name


GEMMA_SCOPE = Format(("params.npz",), read_gemma_scope)
GEMMA_SCOPE_2 = Format(("params.safetensors",), read_gemma_scope_2)
