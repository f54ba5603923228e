"""dictionary_learning: `ae.pt`, `config.json` with {"trainer": {...}}; columns where we have rows."""

from sparselex.convert.crosscoder_learning import CROSSCODERS, to_crosscoder
from sparselex.convert.tensors import read_pickle, read_settings
from sparselex.convert.weights import Found, Source, Weights, to_gated, to_jumprelu, to_relu, to_topk
from sparselex.dictionaries.dictionary import EncoderDictionary

_CLASSES = (
    "AutoEncoder",
    "AutoEncoderTopK",
    "BatchTopKSAE",
    "GatedAutoEncoder",
    "JumpReluAutoEncoder",
    "MatryoshkaBatchTopKSAE",
)


def read_dictionary_learning(source: Source) -> Found:
    """Raises `UserError` for a class that is not ours."""
    tensors, trainer = read_pickle(source.weights), read_settings(source.folder / "config.json").get("trainer")
    if not isinstance(trainer, dict):
        raise tensors.fault("config.json beside it names no trainer")
    kind = str(trainer.get("dict_class") or "")
    about = str(trainer.get("lm_name") or ""), str(trainer.get("submodule_name") or "")
    if kind in CROSSCODERS:
        return Found(to_crosscoder(trainer, tensors), *about)
    if kind not in _CLASSES:
        raise tensors.fault(f"the class {kind!r} is not one of {', '.join((*_CLASSES, *CROSSCODERS))}")
    rows = kind in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE")  # these two hold rows already
    W_enc = tensors.take("W_enc", -1, -1) if rows else tensors.take("encoder.weight", -1, -1).T
    d_in, d_sae = W_enc.shape
    W_dec = tensors.take("W_dec", d_sae, d_in) if rows else tensors.take("decoder.weight", d_in, d_sae).T
    b_enc = {"GatedAutoEncoder": "gate_bias"}.get(kind, "b_enc" if rows else "encoder.bias")
    b_dec = {"GatedAutoEncoder": "decoder_bias", "AutoEncoder": "bias"}.get(kind, "b_dec")
    weights = Weights(W_enc, tensors.take(b_enc, d_sae), W_dec, tensors.take(b_dec, d_in))
    dictionary: EncoderDictionary
    match kind:
        case "AutoEncoder":
            dictionary = to_relu(weights)
        case "AutoEncoderTopK":
            k = trainer.get("k") or int(tensors.take("k"))
            dictionary = to_topk(weights, k, tensors, by_contribution=False)
        case "GatedAutoEncoder":
            dictionary = to_gated(weights, tensors.take("r_mag", d_sae), tensors.take("mag_bias", d_sae))
        case "JumpReluAutoEncoder":  # reads x as it is unless it was told to subtract b_dec
            dictionary = to_jumprelu(weights.uncentred(), tensors.take("threshold", d_sae))
        case _:
            dictionary = to_jumprelu(weights, tensors.take("threshold"))
    return Found(dictionary, *about)
