"""dictionary_learning: `ae.pt`, `config.json` with {"trainer": {...}}; columns where we have rows."""

from sparselex.convert.crosscoder_learning import CROSSCODERS, plain_names, to_crosscoder
from sparselex.convert.crosscoder_learning import FIELDS as OF_CROSSCODERS
from sparselex.convert.fields import Fields
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.settings import Settings, count
from sparselex.convert.tensors import Tensors
from sparselex.convert.weights import Weights, checked, to_gated, to_jumprelu, to_relu, to_topk
from sparselex.dictionaries.encoder import EncoderDictionary

_CLASSES = (
    "AutoEncoder",
    "AutoEncoderNew",
    "AutoEncoderTopK",
    "BatchTopKSAE",
    "GatedAutoEncoder",
    "JumpReluAutoEncoder",
    "MatryoshkaBatchTopKSAE",
)


FIELDS = Fields(
    used="dict_class k lm_name submodule_name activation_dim dict_size apply_b_dec_to_input",
    # Files are written with biases in the units of raw activations, whatever the factor was in training.
    harmless="norm_factor layer trainer_class wandb_name device seed lr steps warmup_steps sparsity_warmup_steps "
    "resample_steps decay_start decay_end threshold_start_step auxk_alpha threshold_beta top_k_aux group_fractions "
    "group_weights group_sizes l1_penalty sparsity_penalty sparsity_function initial_sparsity_penalty "
    "n_sparsity_updates target_l0 bandwidth",
    idle={
        "AutoEncoderTopK": "threshold",
        "BatchTopKSAE": "k",
        "MatryoshkaBatchTopKSAE": "k group_sizes",
    },
)


def read_dictionary_learning(files: Files) -> Found:
    """Raises `UserError` for a class that is not ours."""
    tensors, trainer = files.tensors(), files.settings("config.json", inside="trainer")
    kind = str(trainer.get("dict_class") or "")
    model_name, place = str(trainer.get("lm_name") or ""), str(trainer.get("submodule_name") or "")
    if kind in CROSSCODERS:
        tensors = plain_names(tensors)
        crosscoder = to_crosscoder(trainer, tensors)
        stated, warnings = OF_CROSSCODERS.review(trainer, tensors)
        return Found(crosscoder, model_name).at(place).noting(stated, *warnings)
    if kind not in _CLASSES:
        raise tensors.fault(f"the class {kind!r} is not one of {', '.join((*_CLASSES, *CROSSCODERS))}")
    dictionary = _dictionary(kind, trainer, tensors, _weights(kind, tensors))
    trainer.sizes(activation_dim=dictionary.d_in, dict_size=dictionary.d_sae)
    stated, warnings = FIELDS.review(trainer, tensors, kind)
    if rows := files.settings("config.json").table("buffer").whole("ctx_len"):
        stated |= {"context_size": rows}
    return Found(dictionary, model_name).at(place).noting(stated, *warnings)


def _weights(kind: str, tensors: Tensors) -> Weights:
    rows = kind in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE")  # these two hold rows already
    W_enc = tensors.take("W_enc", -1, -1) if rows else tensors.take("encoder.weight", -1, -1).T
    d_in, d_sae = W_enc.shape
    W_dec = tensors.take("W_dec", d_sae, d_in) if rows else tensors.take("decoder.weight", d_in, d_sae).T
    b_enc = {"GatedAutoEncoder": "gate_bias"}.get(kind, "b_enc" if rows else "encoder.bias")
    b_dec = {"GatedAutoEncoder": "decoder_bias", "AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}.get(
        kind, "b_dec"
    )
    return Weights(W_enc, tensors.take(b_enc, d_sae), W_dec, tensors.take(b_dec, d_in))


def _dictionary(kind: str, trainer: Settings, tensors: Tensors, weights: Weights) -> EncoderDictionary:
    d_sae = len(weights.b_enc)
    match kind:
        case "AutoEncoder":
            return to_relu(weights)
        case "AutoEncoderNew":  # reads x as it is
            return to_relu(weights.uncentred())
        case "AutoEncoderTopK":
            return to_topk(weights, count(trainer, tensors, "k"), tensors, by_contribution=False)
        case "GatedAutoEncoder":
            return to_gated(weights, tensors.take("r_mag", d_sae), tensors.take("mag_bias", d_sae))
        case "JumpReluAutoEncoder":  # reads x as it is unless it was told to subtract b_dec
            weights = weights if trainer.flag("apply_b_dec_to_input") else weights.uncentred()
            return to_jumprelu(weights, checked(tensors.take("threshold", d_sae), tensors, "threshold"))
    return to_jumprelu(weights, checked(tensors.take("threshold"), tensors, "threshold"))


DICTIONARY_LEARNING = Format(("config.json", "ae.pt"), read_dictionary_learning, fields=FIELDS)
