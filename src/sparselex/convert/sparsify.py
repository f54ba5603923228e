"""sparsify: `cfg.json`, `sae.safetensors` with `encoder.weight [d_sae, d_in]` and `W_dec [d_sae, d_in]`; one width in
and out."""

import re
from pathlib import Path
from typing import Any

from sparselex.base.files import write_json
from sparselex.base.sites import Sites
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.tensors import read_safetensors, read_settings, write_safetensors
from sparselex.convert.weights import Weights, plain_topk, to_topk, unfit
from sparselex.dictionaries.files import SAELENS_CONFIG
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.dictionaries.types.topk import TopK


def read_sparsify(files: Files) -> Found:
    """Raises `UserError` for another activation than topk, and for a skip connection past an autoencoder."""
    cfg, tensors = read_settings(files.folder / SAELENS_CONFIG), read_safetensors(files.weights)
    if cfg.get("activation", "topk") != "topk" or cfg.get("signed"):
        raise tensors.fault(f"the activation {cfg.get('activation', 'signed topk')!r} is not topk")
    transcoder, skip = bool(cfg.get("transcode")), bool(cfg.get("skip_connection"))
    if skip and not transcoder:
        raise tensors.fault("it is an autoencoder with a skip connection, which may copy its input; ours have none")
    if not skip:
        tensors.refuse("W_skip")
    encoder = tensors.take("encoder.weight", -1, -1)
    d_sae, d_in = encoder.shape
    weights = Weights(
        encoder.T,
        tensors.take("encoder.bias", d_sae),
        tensors.take("W_dec", d_sae, d_in),
        tensors.take("b_dec", d_in),
        transcoder=transcoder,
        W_skip=tensors.take("W_skip", d_in, d_in) if skip else None,
    )
    dictionary = to_topk(weights, cfg.get("k"), tensors, by_contribution=False)
    return Found(dictionary).at(_hook(files.folder.name, transcoder))


SPARSIFY = Format((SAELENS_CONFIG, "sae.safetensors"), read_sparsify)


def _hook(folder: str, transcoder: bool) -> str:
    """What a folder named after a module reads. An MLP's output is not named: where it joins the stream differs between
    models."""
    if (match := re.fullmatch(r"layers\.(\d+)", folder)) and not transcoder:
        return f"blocks.{match[1]}.hook_resid_post"
    if (match := re.fullmatch(r"layers\.(\d+)\.mlp", folder)) and transcoder:
        return f"blocks.{match[1]}.hook_mlp_in"
    return "" if transcoder else folder


def write_sparsify(dictionary: TrainableDictionary, folder: Path, model_name: str, sites: Sites | None) -> None:
    """Raises `UserError` for other types than TopK and folded Archetypal, and for a transcoder between two widths."""
    if not isinstance(dictionary, TopK) or dictionary.signed or dictionary.config.parts:
        raise unfit(dictionary, "sparsify, which has TopK alone")
    if dictionary.config.token_norm != "none":
        raise unfit(dictionary, f"sparsify, which normalises no token (token_norm={dictionary.config.token_norm})")
    if dictionary.d_out != dictionary.d_in:
        raise unfit(dictionary, "sparsify, where input and target have one width")
    weights = plain_topk(dictionary)
    tensors = {
        "encoder.weight": weights.W_enc.T,
        "encoder.bias": weights.b_enc,
        "W_dec": weights.W_dec,
        "b_dec": weights.b_dec,
    }
    if weights.W_skip is not None:
        tensors["W_skip"] = weights.W_skip
    write_safetensors(folder / "sae.safetensors", tensors)
    write_json(folder / SAELENS_CONFIG, _settings(dictionary))


def _settings(dictionary: TopK) -> dict[str, Any]:
    return {
        "activation": "topk",
        "expansion_factor": max(1, dictionary.d_sae // dictionary.d_in),
        "normalize_decoder": dictionary.is_autoencoder,
        "num_latents": dictionary.d_sae,
        "k": dictionary.config.k,
        "multi_topk": False,
        "skip_connection": dictionary.config.skip,
        "transcode": not dictionary.is_autoencoder,
        "d_in": dictionary.d_in,
    }
