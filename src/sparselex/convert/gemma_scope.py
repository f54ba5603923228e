"""Gemma Scope 1 (arXiv:2408.05147) and 2: JumpReLU, rows as ours, `b_dec` not subtracted from the input, inputs
unscaled."""

import re
from reprlib import repr as shortened

from torch import Tensor

from sparselex.convert.fields import Fields
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.tensors import Tensors
from sparselex.convert.weights import Weights, checked, to_jumprelu

FIELDS = Fields(
    used="architecture hf_hook_point_in hf_hook_point_out model_name affine_connection type",
    harmless="width l0 layer license site",
    only={"apply_b_dec_to_input": (False, None)},
)
"""Of Gemma Scope 2; the first has no settings."""


_SITES = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}
"""Sites by the ends of the names of Gemma Scope 1's repositories."""


def read_gemma_scope(files: Files) -> Found:
    """Gemma Scope 1: `params.npz`. An autoencoder, or a transcoder where the person or the repository's name says so:
    both have the same names. The place is told by the repository's name and the folder's, where they are kept."""
    path = "/".join(files.folder.absolute().parts)
    repository = re.search(r"gemma-scope-\w+-(?:pt|it)-(res|mlp|att|transcoders)\b", path)
    layer = re.search(r"(?<=/)layer_(\d+)(?=/|$)", path)
    kind = repository[1] if repository else ""
    tensors = files.tensors()
    names = {ours: ours for ours in ("W_enc", "b_enc", "W_dec", "b_dec")}
    weights = _weights(tensors, names, files.transcoder or kind == "transcoders")
    dictionary = to_jumprelu(weights.uncentred(), _threshold(tensors, len(weights.b_enc)))
    stated, warnings = Fields().review(files.options, tensors)
    hook = f"blocks.{layer[1]}.{_SITES[kind]}" if layer and kind in _SITES else ""
    return Found(dictionary).at(hook).noting(stated, *warnings)


def read_gemma_scope_2(files: Files) -> Found:
    """Gemma Scope 2: `params.safetensors` with names in lower case, `config.json` where there is one.

    A transcoder is known by its skip connection `[d_in, d_out]`, its settings, or the name of its folder. Raises
    `UserError` for crosscoders and cross-layer transcoders.
    """
    tensors, cfg = files.tensors(), files.settings("config.json", needed=False)
    if cfg.get("architecture", "jump_relu") != "jump_relu":
        raise tensors.fault(f"the architecture {cfg['architecture']!r} is not jump_relu")
    hook, target = (str(cfg.get(f"hf_hook_point_{side}") or "") for side in ("in", "out"))
    skip, kind = "affine_skip_connection" in tensors, cfg.get("type") or "sae"
    if kind not in ("sae", "transcoder"):
        raise tensors.fault(f"the type {shortened(kind)} is not sae or transcoder")
    if cfg.flag("affine_connection") and not skip:
        raise tensors.fault("its settings say that it has an affine connection, and the weights have none")
    named = any(part.startswith("transcoder") for part in files.folder.absolute().parts[-2:])
    transcoder = files.transcoder or skip or named or kind == "transcoder" or (target != "" and target != hook)
    names = {ours: ours.lower() for ours in ("W_enc", "b_enc", "W_dec", "b_dec")}
    weights = _weights(tensors, names, transcoder)
    if skip:
        shape = weights.W_enc.shape[0], weights.W_dec.shape[1]
        weights = weights._replace(W_skip=tensors.take("affine_skip_connection", *shape).T)
    dictionary = to_jumprelu(weights.uncentred(), _threshold(tensors, len(weights.b_enc)))
    stated, warnings = FIELDS.review(cfg, tensors)
    found = Found(dictionary, str(cfg.get("model_name") or ""))
    return found.at(hook, target if transcoder else "").noting(stated, *warnings)


def _weights(tensors: Tensors, names: dict[str, str], transcoder: bool) -> Weights:
    W_enc = tensors.take(names["W_enc"], -1, -1)
    d_in, d_sae = W_enc.shape
    W_dec = tensors.take(names["W_dec"], d_sae, -1)
    d_out = W_dec.shape[1]
    if d_in != d_out and not transcoder:
        raise tensors.fault(f"it reads width {d_in} and writes width {d_out}: a transcoder, whose target must be named")
    b_enc, b_dec = tensors.take(names["b_enc"], d_sae), tensors.take(names["b_dec"], d_out)
    return Weights(W_enc, b_enc, W_dec, b_dec, transcoder=transcoder)


def _threshold(tensors: Tensors, d_sae: int) -> Tensor:
    return checked(tensors.take("threshold", d_sae), tensors, "threshold")


GEMMA_SCOPE = Format(("params.npz",), read_gemma_scope)
GEMMA_SCOPE_2 = Format(("params.safetensors",), read_gemma_scope_2, fields=FIELDS)
