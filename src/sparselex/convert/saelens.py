"""SAELens 6 and older: `cfg.json`, `sae_weights.safetensors`, rows as ours."""

from pathlib import Path
from reprlib import repr as shortened
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparselex.base.files import write_json
from sparselex.base.sites import Sites
from sparselex.convert.fields import Fields
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.tensors import Tensors, write_safetensors
from sparselex.convert.weights import Weights, to_gated, to_jumprelu, to_relu, to_topk, unfit
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


FIELDS = Fields(
    used="architecture activation_fn activation_fn_str activation_fn_kwargs d_in d_out d_sae k apply_b_dec_to_input "
    "normalize_activations reshape_activations rescale_acts_by_decoder_norm finetuning_scaling_factor metadata "
    "residual_threshold max_iterations stop_on_duplicate_support model_name hook_name hook_point hook_name_out "
    "hook_head_index hook_point_head_index model_from_pretrained_kwargs",
    harmless="dtype device hook_layer hook_point_layer hook_layer_out hook_point_eval hook_eval hf_hook_name "
    "sae_lens_version sae_lens_training_version neuronpedia_id model_class_name model_kwargs dataset_trust_remote_code "
    "exclude_special_tokens disable_concat_sequences sequence_separator_token streaming is_dataset_tokenized "
    "use_cached_activations cached_activations_path from_pretrained_path n_batches_in_buffer store_batch_size* "
    "training_tokens finetuning_* b_dec_init_method expansion_factor normalize_sae_decoder noise_scale "
    "decoder_orthogonal_init decoder_heuristic_init* decoder_init_norm init_encoder_as_decoder_transpose "
    "act_store_device seed autocast* compile_* llm_* sae_compilation_mode train_batch_size* adam_beta* "
    "mse_loss_normalization l1_* lp_norm l0_* scale_sparsity_penalty_by_decoder_norm lr lr_* n_restart_cycles "
    "use_ghost_grads feature_sampling_* dead_feature_* n_eval_* eval_* log_* wandb_* run_name verbose resume "
    "n_checkpoints checkpoint_path output_path save_path save_final_checkpoint jumprelu_* pre_act_loss_coefficient "
    "aux_loss_coefficient use_sparse_activations topk_threshold_lr k_aux matryoshka_widths use_matryoshka_aux_loss "
    "use_error_term total_training_samples logger",
    warned={"seqpos_slice": (None, [None], [None, None])},
    stated={"prepend_bos": "prepend_bos", "context_size": "context_size", "dataset_path": "dataset"},
)

_MODEL_FIELDS = Fields(
    used="center_writing_weights fold_ln fold_value_biases refactor_factored_attn_matrices",
    harmless="n_devices device device_map dtype torch_dtype center_unembed default_padding_side move_to_device "
    "low_cpu_mem_usage trust_remote_code cache_dir local_files_only token first_n_layers attn_implementation",
    warned={"checkpoint_index": (None,), "checkpoint_value": (None,), "revision": (None, "main")},
)
"""What TransformerLens is asked for when it loads the model (`model_from_pretrained_kwargs`)."""

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
    cfg, tensors = files.settings(SAELENS_CONFIG), files.tensors()
    about = cfg | (cfg.get("metadata") or {}) | dict(files.options)
    names = (about.get("model_name"), about.get("hook_name") or about.get("hook_point"), about.get("hook_name_out"))
    model_name, hook, target = (str(name or "") for name in names)
    kind = _kind(cfg, tensors)
    target = target if kind in _TRANSCODERS else ""
    place, place_out = name_here(hook, _head(about, hook, tensors)), name_here(target)
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
    stated, warnings = FIELDS.review(files.options, about, tensors)
    found = Found(dictionary, model_name).at(place, place_out, named=(hook, target))
    return found.noting(stated, *changed.warnings, *warnings)


SAELENS = Format((SAELENS_CONFIG, WEIGHTS), read_saelens, fields=FIELDS)


class _OfModel(NamedTuple):
    """What the model did otherwise than ours when the dictionary was trained."""

    centred: bool
    """Whether the mean over coordinates was taken out of each token."""

    warnings: tuple[str, ...] = ()


def _of_model(about: dict[str, Any], tensors: Tensors, places: tuple[str, str], *, transcoder: bool) -> _OfModel:
    """Raises `UserError` for changes of the model that change the values at these places and cannot be made up for."""
    kwargs = about.get("model_from_pretrained_kwargs") or {}
    if not isinstance(kwargs, dict):
        raise tensors.fault("its model_from_pretrained_kwargs are no table")
    sites = [
        name.partition(".")[2].partition(".")[2].partition(":")[0] for place in places for name in place.split("+")
    ]
    for name, changed in _CHANGED_BY.items():
        if kwargs.get(name) and any(site in changed or "ln" in site for site in sites):
            raise tensors.fault(f"it was trained on a model with {name}, which changes the values of {places[0]}")
    _, warnings = _MODEL_FIELDS.review({}, kwargs, Tensors(tensors.path, {}))
    warnings = tuple(f"model_from_pretrained_kwargs: {warning}" for warning in warnings)
    inside = [site in _IN_STREAM for site in sites if site]
    if not kwargs.get("center_writing_weights") or not (any(inside) or not places[0]):
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


def _head(about: dict[str, Any], hook: str, tensors: Tensors) -> int | None:
    """The one head that is read. Raises `UserError` for a number that is none, and where a place has no heads."""
    head = about.get("hook_head_index", about.get("hook_point_head_index"))
    if head is None:
        return None
    if type(head) is not int or head < 0:
        raise tensors.fault(f"hook_head_index is {shortened(head)}, which is no number of a head")
    if "+" in hook:
        raise tensors.fault(f"hook_head_index is {head}, and it reads several places ({hook})")
    return head


def _kind(cfg: dict[str, Any], tensors: Tensors) -> str:
    kind = str(cfg.get("architecture") or "standard")
    activation = str(cfg.get("activation_fn_str") or cfg.get("activation_fn") or "relu")
    if kind == "temporal":
        raise tensors.fault(
            "the architecture 'temporal' predicts a token from those before it by attention, and our types code each "
            "token by itself"
        )
    if kind not in _ARCHITECTURES:
        raise tensors.fault(f"the architecture {kind!r} is not one of {', '.join(_ARCHITECTURES)}")
    if kind != "standard" or activation == "relu":
        return kind
    if activation == "topk":  # as versions before 6 say it
        return "topk"
    raise tensors.fault(f"the activation {activation!r} is not relu or topk")


def _token_norm(cfg: dict[str, Any], tensors: Tensors, kind: str) -> TokenNorm:
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


def _weights(cfg: dict[str, Any], tensors: Tensors, kind: str) -> Weights:
    """Weights as they lie there, whether or not inputs are centred."""
    transcoder = kind in _TRANSCODERS
    W_enc = tensors.take("W_enc", -1, -1)
    d_in, d_sae = W_enc.shape
    W_dec = tensors.take("W_dec", d_sae, -1 if transcoder else d_in)
    d_out = W_dec.shape[1]
    _check_sizes(cfg, tensors, d_in=d_in, d_sae=d_sae, **({"d_out": d_out} if transcoder else {}))
    for name in ("scaling_factor", "finetuning_scaling_factor"):  # before version 6: activations are multiplied by it
        if name in tensors:
            W_dec = W_dec * _finetuned(cfg, tensors.take(name, d_sae), tensors)[:, None]
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


def _finetuned(cfg: dict[str, Any], factors: Tensor, tensors: Tensors) -> Tensor:
    """Factors of the activations. Its project refuses a file that has some and says that it has none."""
    if cfg.get("finetuning_scaling_factor") is False and bool((factors != 1).any()):
        raise tensors.fault("it holds factors of the activations, and its settings say finetuning_scaling_factor=false")
    return factors


def _check_sizes(cfg: dict[str, Any], tensors: Tensors, **sizes: int) -> None:
    for name, size in sizes.items():
        if cfg.get(name, size) != size:
            raise tensors.fault(f"{name} is {cfg[name]} in cfg.json and {size} in the weights")


def _dictionary(cfg: dict[str, Any], tensors: Tensors, kind: str, weights: Weights) -> EncoderDictionary:
    d_sae = len(weights.b_enc)
    shift = torch.zeros(d_sae)
    if not weights.transcoder and not cfg.get("apply_b_dec_to_input", True):
        shift = weights.b_dec @ weights.W_enc
        weights = weights.uncentred()
    match _TRANSCODERS.get(kind, kind):
        case "standard":
            return to_relu(weights)
        case "jumprelu":
            return to_jumprelu(weights, tensors.take("threshold", d_sae))
        case "batchtopk" | "matryoshka_batchtopk":
            cut = tensors.take("topk_threshold")
            # Scores are contributions where activations are rescaled by decoder norms, else activations.
            norms = weights.W_dec.norm(dim=-1) if cfg.get("rescale_acts_by_decoder_norm", True) else torch.ones(d_sae)
            return to_jumprelu(weights, cut / norms)
        case "topk" | "abstopk":
            k = cfg.get("k") or (cfg.get("activation_fn_kwargs") or {}).get("k")
            by_contribution = cfg.get("rescale_acts_by_decoder_norm", False)
            return to_topk(weights, k, tensors, by_contribution=by_contribution, signed=kind == "abstopk")
        case "gated":
            r_mag, b_mag = tensors.take("r_mag", d_sae), tensors.take("b_mag", d_sae)
            return to_gated(weights, r_mag, b_mag + r_mag.exp() * shift)
    raise AssertionError(f"{kind} has a name and no reader")


def _matching_pursuit(cfg: dict[str, Any], tensors: Tensors) -> MatchingPursuit:
    """Its steps take products with the rows as they are, and end by the length of what is left, in raw units."""
    if _token_norm(cfg, tensors, kind="matching_pursuit") != "none":
        raise tensors.fault(
            f"it is a pursuit that normalises each token ({cfg['normalize_activations']}), which ours does not"
        )
    W_dec = tensors.take("W_dec", -1, -1)
    d_sae, d_in = W_dec.shape
    _check_sizes(cfg, tensors, d_in=d_in, d_sae=d_sae)
    norms = W_dec.norm(dim=-1)
    n_steps = d_in if cfg.get("max_iterations") is None else int(cfg["max_iterations"])
    if n_steps < 1:
        raise tensors.fault(f"max_iterations is {n_steps}")
    values = {
        "d_in": d_in,
        "d_sae": d_sae,
        "k": n_steps,
        "stop_left": max(0.0, float(cfg.get("residual_threshold", 0.01))),
        "stop_at_repeat": bool(cfg.get("stop_on_duplicate_support", True)),
        "step": "projection" if bool((norms - 1).abs().max() < _UNIT) else "product",
    }
    dictionary = MatchingPursuit(MatchingPursuitConfig.model_validate(values))
    with torch.no_grad():
        dictionary.W_dec.copy_(W_dec)
        if cfg.get("apply_b_dec_to_input", True):  # else it is not added either
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
