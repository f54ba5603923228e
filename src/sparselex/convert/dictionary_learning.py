"""dictionary_learning: `ae.pt`, `config.json` with {"trainer": {...}}; columns where we have rows."""

from typing import Any

from sparselex.convert.crosscoder_learning import CROSSCODERS, to_crosscoder
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.tensors import Tensors, read_pickle, read_settings
from sparselex.convert.weights import Weights, to_gated, to_jumprelu, to_relu, to_topk
from sparselex.dictionaries.encoder import EncoderDictionary

_CLASSES = (
    "AutoEncoder",
    "AutoEncoderTopK",
    "BatchTopKSAE",
    "GatedAutoEncoder",
    "JumpReluAutoEncoder",
    "MatryoshkaBatchTopKSAE",
)


def read_dictionary_learning(files: Files) -> Found:
    """Raises `UserError` for a class that is not ours."""
    tensors, trainer = read_pickle(files.weights), read_settings(files.folder / "config.json").get("trainer")
    if not isinstance(trainer, dict):
        raise tensors.fault("config.json beside it names no trainer")
    kind = str(trainer.get("dict_class") or "")
    model_name, place = str(trainer.get("lm_name") or ""), str(trainer.get("submodule_name") or "")
    if kind in CROSSCODERS:
        return Found(to_crosscoder(trainer, tensors), model_name).at(place)
    if kind not in _CLASSES:
        raise tensors.fault(f"the class {kind!r} is not one of {', '.join((*_CLASSES, *CROSSCODERS))}")
    weights = _weights(kind, tensors)
    return Found(_dictionary(kind, trainer, tensors, weights), model_name).at(place)


def _weights(kind: str, tensors: Tensors) -> Weights:
    rows = kind in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE")  # these two hold rows already
    W_enc = tensors.take("W_enc", -1, -1) if rows else tensors.take("encoder.weight", -1, -1).T
    d_in, d_sae = W_enc.shape
    W_dec = tensors.take("W_dec", d_sae, d_in) if rows else tensors.take("decoder.weight", d_in, d_sae).T
    b_enc = {"GatedAutoEncoder": "gate_bias"}.get(kind, "b_enc" if rows else "encoder.bias")
    b_dec = {"GatedAutoEncoder": "decoder_bias", "AutoEncoder": "bias"}.get(kind, "b_dec")
    return Weights(W_enc, tensors.take(b_enc, d_sae), W_dec, tensors.take(b_dec, d_in))


def _dictionary(kind: str, trainer: dict[str, Any], tensors: Tensors, weights: Weights) -> EncoderDictionary:
    d_sae = len(weights.b_enc)
    match kind:
        case "AutoEncoder":
            return to_relu(weights)
        case "AutoEncoderTopK":
            return to_topk(weights, trainer.get("k") or int(tensors.take("k")), tensors, by_contribution=False)
        case "GatedAutoEncoder":
            return to_gated(weights, tensors.take("r_mag", d_sae), tensors.take("mag_bias", d_sae))
        case "JumpReluAutoEncoder":  # reads x as it is unless it was told to subtract b_dec
            return to_jumprelu(weights.uncentred(), tensors.take("threshold", d_sae))
    return to_jumprelu(weights, tensors.take("threshold"))


DICTIONARY_LEARNING = Format(("config.json", "ae.pt"), read_dictionary_learning)
