"""Crosscoders of dictionary_learning's fork for model diffing (arXiv:2504.02922): `ae.pt`, or `model.safetensors` as
the Hub has them.

There `encoder.weight [n_sites, d, d_sae]` reads the sites as they are, `decoder.weight [n_sites, d_sae, d]` writes
them. A threshold is compared with the activation times a norm of the latent's decoder rows, of which there are several
kinds (`code_normalization_id`). Newer files normalise each site by a mean vector and one scale, both kept beside the
weights.
"""

from reprlib import repr as shortened

import torch
from torch import Tensor

from sparselex.convert.fields import Fields
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.settings import Settings
from sparselex.convert.tensors import Tensors
from sparselex.convert.weights import Weights, checked, to_jumprelu, to_relu
from sparselex.dictionaries.encoder import EncoderDictionary

CROSSCODERS = ("CrossCoder", "BatchTopKCrossCoder")
"""Names of its classes; a file of the second has a threshold."""

_NORMS = {"CROSSCODER": 1, "SAE": 2, "MIXED": 3, "NONE": 4, "DECOUPLED": 5}
"""What `code_normalization_id` is by its name in the settings. Older files have neither and take the sum of the sites'
norms, which is the first."""

_COMPILED = "_orig_mod."
_ROUNDING = 1e-8
"""What is added to a scale there before it is divided by."""


FIELDS = Fields(
    used="dict_class code_normalization_alpha_sae code_normalization_alpha_cc code_normalization activation_dim "
    "dict_size lm_name submodule_name",
    harmless="num_layers same_init_for_all_layers norm_init_scale init_with_transpose k "
    # What a site was normalised by is in the weights.
    "activation_mean activation_std activation_global_scale target_rms normalize_activations trainer_class wandb_name "
    "device layer seed lr steps warmup_steps resample_steps decay_start threshold_start_step auxk_alpha threshold_beta "
    "top_k_aux l1_penalty mu use_mse_loss dict_class_kwargs pretrained_ae model_type",
    only={"encoder_layers": (None,), "latent_processor": (None,), "num_decoder_layers": (None,)},
    tensors="k threshold activation_global_scale target_rms",
)


def read_crosscoder_learning(files: Files) -> Found:
    """As `push_to_hub` writes it: `model.safetensors`, and the class's arguments in `config.json`."""
    cfg, tensors = files.settings("config.json"), plain_names(files.tensors())
    dictionary = to_crosscoder(cfg, tensors)
    stated, warnings = FIELDS.review(cfg, tensors)
    found = Found(dictionary, str(cfg.get("lm_name") or ""))
    return found.at(str(cfg.get("submodule_name") or "")).noting(stated, *warnings)


def plain_names(tensors: Tensors) -> Tensors:
    """Without what a compiled module puts before the names of its tensors."""
    return tensors.without(_COMPILED)


def to_crosscoder(cfg: Settings, tensors: Tensors) -> EncoderDictionary:
    """A ReLU or JumpReLU crosscoder. Raises `UserError` for latents that open at each site by themselves."""
    if "encoder.weight" not in tensors:
        raise tensors.another("it is no crosscoder of dictionary_learning: it holds no 'encoder.weight'")
    if len(shape := tensors.shape("encoder.weight")) != 3:
        raise tensors.another(f"tensor 'encoder.weight' has shape {list(shape)}, not [any, any, any]")
    encoder = tensors.take("encoder.weight", -1, -1, -1)
    n, d, d_sae = encoder.shape
    if (kind := cfg.get("dict_class") or CROSSCODERS[0]) not in CROSSCODERS:
        raise tensors.fault(f"the class {shortened(kind)} is not one of {', '.join(CROSSCODERS)}")
    cfg.sizes(activation_dim=d, dict_size=d_sae)
    if n < 2:
        raise tensors.fault("it reads one site, and a crosscoder has two or more")
    decoder = tensors.take("decoder.weight", n, d_sae, d)
    b_enc, b_dec = tensors.take("encoder.bias", d_sae), tensors.take("decoder.bias", n, d)
    norms, scales = _norms(cfg, tensors, decoder), torch.ones(n)
    # NaN where a file normalises nothing.
    normalises = {name: tensors.is_finite(name) for name in ("activation_mean", "activation_std")}
    if len(set(normalises.values())) > 1:
        known = next(name for name, there in normalises.items() if there)
        raise tensors.fault(f"it has numbers in {known} alone, and normalises its sites by a mean and a deviation")
    if normalises["activation_mean"]:
        mean, scales = tensors.take("activation_mean", n, d), tensors.take("activation_global_scale", n)
        encoder = encoder * scales[:, None, None]
        b_enc = b_enc - torch.einsum("ld,ldf->f", mean, encoder)
        back = 1 / (scales + _ROUNDING)
        decoder, b_dec = decoder * back[:, None, None], b_dec * back[:, None] + mean
    W_enc, W_dec = encoder.flatten(0, 1), decoder.transpose(0, 1).flatten(1)
    weights = Weights(W_enc, b_enc, W_dec, b_dec.flatten(), part_scales=scales).uncentred()
    if "threshold" not in tensors:
        return to_relu(weights)
    return to_jumprelu(weights, checked(tensors.take("threshold"), tensors, "threshold") / norms)


def _norms(cfg: Settings, tensors: Tensors, decoder: Tensor) -> Tensor:
    """What an activation is multiplied by before it is compared with a threshold, `[d_sae]`."""
    said = cfg.get("code_normalization")
    name = str(said or "CROSSCODER").rpartition(".")[2].upper()
    if name not in _NORMS:
        raise tensors.fault(f"code_normalization is {shortened(name)}, not one of {', '.join(_NORMS)}")
    kind = _NORMS[name]
    if "code_normalization_id" in tensors:
        kept = tensors.whole("code_normalization_id")
        if kept != kind and said is not None and "code_normalization" not in cfg.given:
            raise tensors.fault(f"code_normalization is {name} in the settings and {kept} in the weights")
        kind = kind if "code_normalization" in cfg.given else kept
    of_joint = cfg.number("code_normalization_alpha_sae", 1.0)
    of_together = cfg.number("code_normalization_alpha_cc", 0.1)
    together, joint = decoder.norm(dim=-1).sum(0), decoder.norm(dim=(0, 2))
    match kind:
        case 1:
            return together
        case 2:
            return joint
        case 3:
            return of_joint * joint + of_together * together
        case 4:
            return torch.ones_like(joint)
        case 5 if "threshold" not in tensors:  # a ReLU opens at all sites at once
            return together
        case 5:
            raise tensors.fault(
                "its latents open at each site by themselves (DECOUPLED), and ours at all sites together"
            )
    raise tensors.fault(f"code_normalization_id is {kind}, not from 1 to 5")


CROSSCODER_LEARNING = Format(("config.json", "model.safetensors"), read_crosscoder_learning, fields=FIELDS)
