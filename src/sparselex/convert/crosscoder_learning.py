"""Crosscoders of dictionary_learning's fork for model diffing (arXiv:2504.02922): `ae.pt`, or `model.safetensors` as
the Hub has them.

There `encoder.weight [n_sites, d, d_sae]` reads the sites as they are, `decoder.weight [n_sites, d_sae, d]` writes
them. A threshold is compared with the activation times a norm of the latent's decoder rows, of which there are several
kinds (`code_normalization_id`). Newer files normalise each site by a mean vector and one scale, both kept beside the
weights.
"""

from typing import Any

import torch
from torch import Tensor

from sparselex.convert.fields import Fields
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.tensors import Tensors
from sparselex.convert.weights import Weights, to_jumprelu, to_relu
from sparselex.dictionaries.encoder import EncoderDictionary

CROSSCODERS = ("CrossCoder", "BatchTopKCrossCoder")
"""Names of its classes; a file of the second has a threshold."""

_SUM = 1
"""What `code_normalization_id` is where a file has none: older ones all take the sum of the sites' norms."""

_COMPILED = "_orig_mod."
_ROUNDING = 1e-8
"""What is added to a scale there before it is divided by."""


FIELDS = Fields(
    used="dict_class code_normalization_alpha_* code_normalization k lm_name submodule_name",
    harmless="activation_dim dict_size num_layers same_init_for_all_layers norm_init_scale init_with_transpose "
    "encoder_layers latent_processor num_decoder_layers activation_mean activation_std activation_global_scale "
    "target_rms trainer_class wandb_* device layer seed lr steps *_steps *_step auxk_alpha threshold_beta top_k_aux "
    "l1_penalty mu use_mse_loss normalize_* dict_class_kwargs pretrained_ae model_type",
    tensors="k threshold activation_global_scale target_rms",
)


def read_crosscoder_learning(files: Files) -> Found:
    """As `push_to_hub` writes it: `model.safetensors`, and the class's arguments in `config.json`."""
    cfg, tensors = files.settings("config.json"), plain_names(files.tensors())
    dictionary = to_crosscoder(cfg, tensors)
    stated, warnings = FIELDS.review(files.options, cfg, tensors)
    return Found(dictionary).noting(stated, *warnings)


def plain_names(tensors: Tensors) -> Tensors:
    """Without what a compiled module puts before the names of its tensors."""
    return tensors.without(_COMPILED)


def to_crosscoder(cfg: dict[str, Any], tensors: Tensors) -> EncoderDictionary:
    """A ReLU or JumpReLU crosscoder. Raises `UserError` for latents that open at each site by themselves."""
    if "encoder.weight" not in tensors:
        raise tensors.another("it is no crosscoder of dictionary_learning: it holds no 'encoder.weight'")
    if len(shape := tensors.shape("encoder.weight")) != 3:
        raise tensors.another(f"tensor 'encoder.weight' has shape {list(shape)}, not [any, any, any]")
    encoder = tensors.take("encoder.weight", -1, -1, -1)
    n, d, d_sae = encoder.shape
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
    return to_jumprelu(weights, tensors.take("threshold") / norms) if "threshold" in tensors else to_relu(weights)


def _norms(cfg: dict[str, Any], tensors: Tensors, decoder: Tensor) -> Tensor:
    """What an activation is multiplied by before it is compared with a threshold, `[d_sae]`."""
    kind = int(tensors.take("code_normalization_id")) if "code_normalization_id" in tensors else _SUM
    together, joint = decoder.norm(dim=-1).sum(0), decoder.norm(dim=(0, 2))
    match kind:
        case 1:
            return together
        case 2:
            return joint
        case 3:
            of_joint = float(cfg.get("code_normalization_alpha_sae", 1.0))
            of_together = float(cfg.get("code_normalization_alpha_cc", 0.1))
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
