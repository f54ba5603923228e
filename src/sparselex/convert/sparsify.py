"""sparsify: `cfg.json`, `sae.safetensors` with `encoder.weight [d_sae, d_in]` and `W_dec [d_sae, d_in]`; one width in
and out."""

import re
from pathlib import Path
from typing import Any

from sparselex.base.files import write_json
from sparselex.base.sites import Sites
from sparselex.convert.fields import Fields
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.tensors import write_safetensors
from sparselex.convert.weights import Weights, plain_topk, to_topk, unfit
from sparselex.dictionaries.files import SAELENS_CONFIG
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.dictionaries.types.topk import TopK

FIELDS = Fields(
    used="activation signed k transcode skip_connection d_in num_latents",
    harmless="expansion_factor normalize_decoder multi_topk",
)


def read_sparsify(files: Files) -> Found:
    """Raises `UserError` for another activation than topk, and for a skip connection past an autoencoder."""
    cfg, tensors = files.settings(SAELENS_CONFIG), files.tensors()
    if cfg.get("activation", "topk") != "topk" or cfg.flag("signed"):
        raise tensors.fault(f"the activation {cfg.get('activation', 'signed topk')!r} is not topk")
    transcoder, skip = cfg.flag("transcode"), cfg.flag("skip_connection")
    if skip and not transcoder:
        raise tensors.fault("it is an autoencoder with a skip connection, which may copy its input; ours have none")
    if not skip:
        tensors.refuse("W_skip")
    encoder = tensors.take("encoder.weight", -1, -1)
    d_sae, d_in = encoder.shape
    cfg.sizes(d_in=d_in, num_latents=d_sae)
    weights = Weights(
        encoder.T,
        tensors.take("encoder.bias", d_sae),
        tensors.take("W_dec", d_sae, d_in),
        tensors.take("b_dec", d_in),
        transcoder=transcoder,
        W_skip=tensors.take("W_skip", d_in, d_in) if skip else None,
    )
    dictionary = to_topk(weights, cfg.whole("k"), tensors, by_contribution=False)
    stated, warnings = FIELDS.review(cfg, tensors)
    return Found(dictionary).at(*_places(files.folder.name, transcoder)).noting(stated, *warnings)


SPARSIFY = Format((SAELENS_CONFIG, "sae.safetensors"), read_sparsify, fields=FIELDS)


def _places(folder: str, transcoder: bool) -> tuple[str, str]:
    """What a dictionary in a folder named after a module reads and writes: the module's output, or for a transcoder its
    input and its output. Other folders' names say nothing of that."""
    if not re.fullmatch(r"(?:h|layers)\.\d+(?:\.\w+)*|embed_tokens|wte|embed_in", folder):
        return "", ""
    if not transcoder:
        return folder, ""
    match = re.fullmatch(r"(?:h|layers)\.(\d+)\.mlp", folder)
    return (f"blocks.{match[1]}.hook_mlp_in" if match else f"{folder}.input"), folder


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
