"""SAELens 6 and older: `cfg.json`, `sae_weights.safetensors`, rows as ours."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparselex.base.files import write_json
from sparselex.base.sites import Sites
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.places import head_of
from sparselex.convert.saelens_fields import ACTIVATION, FACTORS, FIELDS, MODEL_FIELDS
from sparselex.convert.settings import Settings
from sparselex.convert.tensors import Tensors, write_safetensors
from sparselex.convert.weights import Weights, checked, to_gated, to_jumprelu, to_relu, to_topk, unfit
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.files import (
    SAELENS_CONFIG,
    TOKEN_NORMS,
    TRANSCODERS,
    WEIGHTS,
    saelens_config,
    write_dictionary,
)
from sparselex.dictionaries.kinds import TokenNorm
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.dictionaries.transformer_lens import OF_HEADS, name_here
from sparselex.dictionaries.types.gated import Gated
from sparselex.dictionaries.types.matching_pursuit import MatchingPursuit, MatchingPursuitConfig

_TRANSCODERS = {name: activations for (activations, _), name in TRANSCODERS.items()}
"""Its names for transcoders, and for the autoencoder with the same activations."""

_ARCHITECTURES = (
    "standard",
    "topk",
    "abstopk",
    "batchtopk",
    "matryoshka_batchtopk",
    "jumprelu",
    "gated",
    "matching_pursuit",
    *_TRANSCODERS,
)

_UNIT = 1e-6
"""Norms that differ from 1 by less are 1 but for rounding."""


_IN_STREAM = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out")
"""Sites that hold what weights write into the residual stream, all of which `center_writing_weights` centres."""

_CHANGED_BY = {
    "fold_ln": ("hook_mlp_in",),
    "fold_value_biases": ("attn.hook_z", "attn.hook_v"),
    "refactor_factored_attn_matrices": ("attn.hook_z", "attn.hook_v", "attn.hook_q", "attn.hook_k"),
}
"""Sites whose values each of these changes; of others it leaves the values."""


def read_saelens(files: Files) -> Found:
    """Raises `UserError` for an architecture that is not ours, and for inputs it changes in ways that are not in the
    weights."""
    top, tensors = files.settings(SAELENS_CONFIG), files.tensors()
    about = cfg = top.beside(top.get("metadata"))
    kind = _kind(cfg, tensors)
    hook = str(about.agreed("hook_name", "hook_point") or "")
    target = str(about.get("hook_name_out") or "") if kind in _TRANSCODERS else ""
    model_name = str(about.get("model_name") or "")
    place, place_out = name_here(hook, head_of(about, hook)), name_here(target)
    changed = _of_model(about, tensors, (place, place_out), transcoder=kind in _TRANSCODERS)
    if kind == "matching_pursuit":
        if changed.centred:
            raise tensors.fault("it is a pursuit on a stream that was centred (center_writing_weights)")
        dictionary: TrainableDictionary = _matching_pursuit(cfg, tensors)
    else:
        norm = (
            _centred(_token_norm(cfg, tensors, kind), tensors) if changed.centred else _token_norm(cfg, tensors, kind)
        )
        dictionary = _dictionary(cfg, tensors, kind, _weights(cfg, tensors, kind)._replace(token_norm=norm))
    stated, warnings = FIELDS.review(cfg, tensors, kind)
    found = Found(dictionary, model_name).at(place, place_out, named=(hook, target))
    return found.noting(stated, *changed.warnings, *warnings)


SAELENS = Format((SAELENS_CONFIG, WEIGHTS), read_saelens, fields=FIELDS)


class _OfModel(NamedTuple):
    """What the model did otherwise than ours when the dictionary was trained."""

    centred: bool
    """Whether the mean over coordinates was taken out of each token."""

    warnings: tuple[str, ...] = ()


def _of_model(about: Settings, tensors: Tensors, places: tuple[str, str], *, transcoder: bool) -> _OfModel:
    """Raises `UserError` for changes of the model that change the values at these places and cannot be made up for."""
    kwargs = about.table("model_from_pretrained_kwargs")
    sites = [
        name.partition(".")[2].partition(".")[2].partition(":")[0] for place in places for name in place.split("+")
    ]
    for name, changed in _CHANGED_BY.items():
        if kwargs.flag(name) and any(site in changed or "ln" in site for site in sites):
            raise tensors.fault(f"it was trained on a model with {name}, which changes the values of {places[0]}")
    _, warnings = MODEL_FIELDS.review(kwargs, Tensors(tensors.path, {}))
    warnings = tuple(f"model_from_pretrained_kwargs: {warning}" for warning in warnings)
    inside = [site in _IN_STREAM for site in sites if site]
    if not kwargs.flag("center_writing_weights") or not (any(inside) or not places[0]):
        return _OfModel(False, warnings)
    if transcoder:
        raise tensors.fault("it is a transcoder on a stream that was centred (center_writing_weights)")
    centred = (
        "center_writing_weights: the mean over coordinates is taken out of each token and put back (token_norm=mean), "
        "as TransformerLens does in models with LayerNorm; in one with RMSNorm it does not, so give "
        "--option model_from_pretrained_kwargs={} there"
    )
    return _OfModel(True, (centred, *warnings))


def _centred(norm: TokenNorm, tensors: Tensors) -> TokenNorm:
    """What is done to tokens that were centred before."""
    if norm == "length":
        raise tensors.fault("it scales the length of tokens that were centred (center_writing_weights)")
    return "mean" if norm == "none" else norm  # a layer norm takes the mean out itself


def _kind(cfg: Settings, tensors: Tensors) -> str:
    kind = str(cfg.get("architecture") or "standard")
    activation = str(cfg.agreed("activation_fn_str", "activation_fn") or "relu")
    if kind == "temporal":
        raise tensors.fault(
            "the architecture 'temporal' predicts a token from those before it by attention, and our types code each "
            "token by itself"
        )
    if kind not in _ARCHITECTURES:
        raise tensors.fault(f"the architecture {kind!r} is not one of {', '.join(_ARCHITECTURES)}")
    if activation in ("relu", kind):
        return kind
    if activation == "topk" and kind == "standard":  # as versions before 6 say it
        return "topk"
    raise tensors.fault(f"the activation {activation!r} is not relu or topk, as the architecture {kind} would have it")


def _token_norm(cfg: Settings, tensors: Tensors, kind: str) -> TokenNorm:
    """Raises `UserError` for other changes of the input, which are not in the weights."""
    if cfg.get("reshape_activations", "none") not in ("none", OF_HEADS, None):
        raise tensors.fault(f"it reshapes its inputs ({cfg['reshape_activations']}), which we do not do")
    norm = cfg.get("normalize_activations") or "none"
    if norm is True:  # as old versions say it
        norm = "expected_average_only_in"
    ours = next((ours for ours, theirs in TOKEN_NORMS.items() if theirs == norm), None)
    if ours is None:
        raise tensors.fault(f"it normalises its inputs ({norm}), which is not folded into these weights")
    if ours != "none" and kind in _TRANSCODERS:
        raise tensors.fault(f"it is a transcoder that normalises each token ({norm}), which only our autoencoders do")
    return ours


def _weights(cfg: Settings, tensors: Tensors, kind: str) -> Weights:
    """Weights as they lie there, whether or not inputs are centred."""
    transcoder = kind in _TRANSCODERS
    W_enc = tensors.take("W_enc", -1, -1)
    d_in, d_sae = W_enc.shape
    W_dec = tensors.take("W_dec", d_sae, -1 if transcoder else d_in)
    d_out = W_dec.shape[1]
    cfg.sizes(d_in=d_in, d_sae=d_sae, d_out=d_out)
    finetuned = cfg.flag("finetuning_scaling_factor")
    if finetuned and not any(name in tensors for name in FACTORS):
        raise tensors.fault("its settings say finetuning_scaling_factor, and it holds no factors of the activations")
    if all(name in tensors for name in FACTORS):
        raise tensors.fault(f"it holds factors of the activations twice, {' and '.join(FACTORS)}")
    for name in FACTORS:
        if name in tensors:
            W_dec = W_dec * _finetuned(finetuned, tensors.take(name, d_sae), tensors)[:, None]
    if "skip" not in kind:
        tensors.refuse("W_skip")
    return Weights(
        W_enc,
        tensors.take("b_gate" if kind == "gated" else "b_enc", d_sae),
        W_dec,
        tensors.take("b_dec", d_out),
        transcoder=transcoder,
        W_skip=tensors.take("W_skip", d_out, d_in) if "skip" in kind else None,
    )


def _finetuned(stated: bool, factors: Tensor, tensors: Tensors) -> Tensor:
    """Factors of the activations. Its project refuses a file that has some and does not say so."""
    if not stated and bool((factors != 1).any()):
        raise tensors.fault(
            "it holds factors of the activations, and its settings do not say finetuning_scaling_factor "
            "(--option finetuning_scaling_factor=true takes them)"
        )
    return factors


def _dictionary(cfg: Settings, tensors: Tensors, kind: str, weights: Weights) -> EncoderDictionary:
    d_sae = len(weights.b_enc)
    shift = torch.zeros(d_sae)
    if not weights.transcoder and not cfg.flag("apply_b_dec_to_input", True):
        shift = weights.b_dec @ weights.W_enc
        weights = weights.uncentred()
    match _TRANSCODERS.get(kind, kind):
        case "standard":
            return to_relu(weights)
        case "jumprelu":
            return to_jumprelu(weights, checked(tensors.take("threshold", d_sae), tensors, "threshold"))
        case "batchtopk" | "matryoshka_batchtopk":
            cut = checked(tensors.take("topk_threshold"), tensors, "topk_threshold")
            # Scores are contributions where activations are rescaled by decoder norms, else activations.
            norms = weights.W_dec.norm(dim=-1) if cfg.flag("rescale_acts_by_decoder_norm", True) else torch.ones(d_sae)
            return to_jumprelu(weights, cut / norms)
        case "topk" | "abstopk":
            by_contribution = cfg.flag("rescale_acts_by_decoder_norm")
            return to_topk(
                weights, _k(cfg, tensors), tensors, by_contribution=by_contribution, signed=kind == "abstopk"
            )
        case "gated":
            r_mag, b_mag = tensors.take("r_mag", d_sae), tensors.take("b_mag", d_sae)
            return to_gated(weights, r_mag, b_mag + r_mag.exp() * shift)
    raise AssertionError(f"{kind} has a name and no reader")


def _k(cfg: Settings, tensors: Tensors) -> int | None:
    """How many latents are kept, by the settings or what they give to the activation."""
    kwargs = cfg.table("activation_fn_kwargs")
    k, of_activation = cfg.whole("k"), kwargs.whole("k")
    _, told = ACTIVATION.review(kwargs, Tensors(tensors.path, {}))
    tensors.notes += [f"activation_fn_kwargs: {said}" for said in told]
    if k and of_activation and k != of_activation and "k" not in cfg.given:
        raise tensors.fault(f"k is {k} in the settings and {of_activation} in their activation_fn_kwargs")
    return k or of_activation


def _matching_pursuit(cfg: Settings, tensors: Tensors) -> MatchingPursuit:
    """Its steps take products with the rows as they are, and end by the length of what is left, in raw units."""
    if _token_norm(cfg, tensors, kind="matching_pursuit") != "none":
        raise tensors.fault(
            f"it is a pursuit that normalises each token ({cfg['normalize_activations']}), which ours does not"
        )
    W_dec = tensors.take("W_dec", -1, -1)
    d_sae, d_in = W_dec.shape
    cfg.sizes(d_in=d_in, d_sae=d_sae, d_out=d_in)
    norms = W_dec.norm(dim=-1)
    most = cfg.whole("max_iterations")
    n_steps = d_in if most is None else most
    if n_steps < 1:
        raise tensors.fault(f"max_iterations is {n_steps}")
    values = {
        "d_in": d_in,
        "d_sae": d_sae,
        "k": n_steps,
        "stop_left": max(0.0, cfg.number("residual_threshold", 0.01)),
        "stop_at_repeat": cfg.flag("stop_on_duplicate_support", True),
        "step": "projection" if bool((norms - 1).abs().max() < _UNIT) else "product",
    }
    dictionary = MatchingPursuit(MatchingPursuitConfig.model_validate(values))
    with torch.no_grad():
        dictionary.W_dec.copy_(W_dec)
        if cfg.flag("apply_b_dec_to_input", True):  # else it is not added either
            dictionary.b_dec.copy_(tensors.take("b_dec", d_in))
    return dictionary


def write_saelens(dictionary: TrainableDictionary, folder: Path, model_name: str, sites: Sites | None) -> None:
    """The layout of our own files, and besides gated autoencoders and pursuits without `stop_below`.

    Raises `UserError` for what SAELens has no architecture for.
    """
    if isinstance(dictionary, Gated) and dictionary.is_autoencoder and not dictionary.config.parts:
        settings, tensors = {"architecture": "gated"}, dictionary.state_dict()
        tensors["b_gate"] = tensors.pop("b_enc")  # the gate's bias has a name of its own there
    elif isinstance(dictionary, MatchingPursuit) and not dictionary.config.stop_below:
        settings, tensors = _pursuit_settings(dictionary), _pursuit_tensors(dictionary)
    else:
        write_dictionary(dictionary, folder, model_name=model_name, sites=sites)
        if not (folder / SAELENS_CONFIG).exists():
            raise unfit(dictionary, "SAELens")
        return
    write_safetensors(folder / WEIGHTS, tensors)
    write_json(folder / SAELENS_CONFIG, saelens_config(dictionary, settings, model_name, sites))


def _pursuit_settings(dictionary: MatchingPursuit) -> dict[str, Any]:
    return {
        "architecture": "matching_pursuit",
        "residual_threshold": 0.0 if dictionary.left is None else float(dictionary.left),
        "max_iterations": dictionary.config.k,
        "stop_on_duplicate_support": dictionary.config.stop_at_repeat,
    }


def _pursuit_tensors(dictionary: MatchingPursuit) -> dict[str, Tensor]:
    gains = torch.ones(dictionary.d_sae) if dictionary.gains is None else dictionary.gains
    return {"W_dec": dictionary.W_dec * gains[:, None], "b_dec": dictionary.b_dec}
