"""OpenAI's `sparse_autoencoder` (arXiv:2406.04093): one `.pt` table; columns where we have rows, inputs centred by
`pre_bias`."""

from reprlib import repr as shortened
from typing import Any

from sparselex.convert.fields import Fields
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.tensors import Tensors
from sparselex.convert.weights import Weights, to_relu, to_topk
from sparselex.dictionaries.encoder import EncoderDictionary

FIELDS = Fields(used="activation activation_state_dict normalize", tensors="stats_last_nonzero")
"""Of what lies beside the tensors: there is no file of settings."""


def read_openai(files: Files) -> Found:
    """A file that names no activation is ReLU, as its project reads it.

    Its project gives every TopK file inputs with mean and deviation taken out, token by token, and puts them back
    afterwards. Published files have no field for it; one that has an entry `normalize`, which is the name of the choice
    there, is taken at its word.
    """
    tensors = files.tensors()
    tensors.plain.update(files.options)
    if "pre_bias" not in tensors or "latent_bias" not in tensors:
        raise tensors.another("it is not OpenAI's: it holds no 'pre_bias' and 'latent_bias'")
    activation = tensors.plain.get("activation", "ReLU")
    if activation not in ("ReLU", "TopK"):
        raise tensors.fault(f"the activation {shortened(activation)} is not ReLU or TopK")
    encoder = tensors.take("encoder.weight", -1, -1)
    d_sae, d_in = encoder.shape
    weights = Weights(
        encoder.T,
        tensors.take("latent_bias", d_sae),
        tensors.take("decoder.weight", d_in, d_sae).T,
        tensors.take("pre_bias", d_in),
        token_norm="layer" if _choice(tensors, "normalize", activation == "TopK") else "none",
    )
    if activation == "ReLU":
        return _found(files, tensors, to_relu(weights))
    state = tensors.plain.get("activation_state_dict") or {}
    if state.get("postact_fn", "ReLU") != "ReLU":
        raise tensors.fault(f"the activation after TopK is {shortened(state['postact_fn'])}, not ReLU")
    return _found(files, tensors, to_topk(weights, state.get("k"), tensors, by_contribution=False))


def _found(files: Files, tensors: Tensors, dictionary: EncoderDictionary) -> Found:
    stated, warnings = FIELDS.review(files.options, tensors.plain, tensors)
    return Found(dictionary).noting(stated, *warnings)


def _choice(tensors: Tensors, name: str, default: bool) -> bool:
    value: Any = bool(tensors.take(name)) if name in tensors else tensors.plain.get(name, default)
    return bool(value)


OPENAI = Format(("*.pt",), read_openai, fields=FIELDS, last=True)
