"""OpenAI's `sparse_autoencoder` (arXiv:2406.04093): one `.pt` table; columns where we have rows, inputs centred by
`pre_bias`."""

from reprlib import repr as shortened

from sparselex.convert.fields import Fields
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.settings import Settings
from sparselex.convert.tensors import Tensors
from sparselex.convert.weights import Weights, to_relu, to_topk
from sparselex.dictionaries.encoder import EncoderDictionary

FIELDS = Fields(used="activation activation_state_dict normalize", tensors="stats_last_nonzero")
"""Of what lies beside the tensors: there is no file of settings."""

_STATE = Fields(used="k postact_fn")
"""What `activation_state_dict` holds."""

_OTHERS = ("k", "top_k", "topk", "cfg", "config", "architecture", "threshold", "log_threshold")
"""What files of others have that call their biases likewise; here k stands in `activation_state_dict`."""

_SETTINGS = ("config.json", "cfg.json")


def read_openai(files: Files) -> Found:
    """A file that names no activation is ReLU, as its project reads it.

    Its project gives every TopK file inputs with mean and deviation taken out, token by token, and puts them back
    afterwards. Published files have no field for it; one that has an entry `normalize`, which is the name of the choice
    there, is taken at its word.
    """
    tensors = files.tensors()
    cfg = files.options.over(files.weights, tensors.plain)
    if "pre_bias" not in tensors or "latent_bias" not in tensors:
        raise tensors.another("it is not OpenAI's: it holds no 'pre_bias' and 'latent_bias'")
    if others := [name for name in _OTHERS if name in cfg or name in tensors]:
        raise tensors.another(f"it is not OpenAI's, whose files state no {others[0]} beside their tensors")
    if beside := [name for name in _SETTINGS if (files.folder / name).is_file()]:
        raise tensors.another(f"it is not OpenAI's, whose files have no {beside[0]} beside them")
    activation = cfg.get("activation") or "ReLU"
    if activation not in ("ReLU", "TopK"):
        raise tensors.fault(f"the activation {shortened(activation)} is not ReLU or TopK")
    encoder = tensors.take("encoder.weight", -1, -1)
    d_sae, d_in = encoder.shape
    weights = Weights(
        encoder.T,
        tensors.take("latent_bias", d_sae),
        tensors.take("decoder.weight", d_in, d_sae).T,
        tensors.take("pre_bias", d_in),
        token_norm="layer" if _normalises(cfg, tensors, activation == "TopK") else "none",
    )
    if activation == "ReLU":
        return _found(cfg, tensors, to_relu(weights))
    state = cfg.table("activation_state_dict")
    if state.get("postact_fn", "ReLU") != "ReLU":
        raise tensors.fault(f"the activation after TopK is {shortened(state['postact_fn'])}, not ReLU")
    dictionary = to_topk(weights, state.whole("k"), tensors, by_contribution=False)
    _, warnings = _STATE.review(state, Tensors(files.weights, {}))
    return _found(cfg, tensors, dictionary).noting({}, *warnings)


def _found(cfg: Settings, tensors: Tensors, dictionary: EncoderDictionary) -> Found:
    stated, warnings = FIELDS.review(cfg, tensors)
    return Found(dictionary).noting(stated, *warnings)


def _normalises(cfg: Settings, tensors: Tensors, default: bool) -> bool:
    """Whether it normalises each token, by the entry `normalize`, which may be a tensor."""
    if "normalize" in tensors and "normalize" not in cfg.given:
        return tensors.flag("normalize")
    return cfg.flag("normalize", default)


OPENAI = Format(("*.pt",), read_openai, fields=FIELDS, last=True)
