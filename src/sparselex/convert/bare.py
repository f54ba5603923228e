"""Tensors by themselves, of nobody's format: what each is, is told by its name and its shape, and what neither tells
is said to be assumed."""

import math
from collections.abc import Mapping
from reprlib import repr as shortened
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.convert.fields import Fields
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.tensors import Tensors, read_settings
from sparselex.convert.weights import Weights, to_gated, to_jumprelu, to_relu, to_topk
from sparselex.dictionaries.encoder import EncoderDictionary

_ROLES = {
    "W_enc": ("w_enc", "encoder.weight", "encoder_weights", "encoder_weight", "w_e", "enc.weight", "encoder"),
    "b_enc": ("b_enc", "encoder.bias", "encoder_bias", "latent_bias", "b_e", "enc.bias", "b_gate", "gate_bias"),
    "W_dec": ("w_dec", "decoder.weight", "decoder_weights", "decoder_weight", "w_d", "dec.weight", "decoder"),
    "b_dec": ("b_dec", "decoder.bias", "decoder_bias", "bias", "pre_bias", "b_pre", "b_d", "dec.bias"),
    "threshold": ("threshold", "thresholds", "activation.threshold", "activation_function.threshold"),
    "log_threshold": ("log_threshold", "log_jumprelu_threshold", "activation_function.log_jumprelu_threshold"),
    "r_mag": ("r_mag",),
    "b_mag": ("b_mag", "mag_bias"),
    "k": ("k", "top_k", "topk"),
    "mean": ("act_mean", "activation_mean", "input_mean", "data_mean", "mean"),
}
"""What a tensor is, by the names (in lower case) that it has in files of several projects."""

_CENTRES = ("bias", "pre_bias", "b_pre", "decoder_bias")
"""Names of `b_dec` in projects that subtract it from the input: the first dictionary_learning's `AutoEncoder`."""

_TABLES = ("state_dict", "model_state_dict", "sae_state_dict", "model_state", "model", "sae", "autoencoder", "weights")
_SETTINGS = ("cfg", "config", "hparams", "args", "hyperparameters", "trainer")
_PREFIXES = ("_orig_mod.", "module.", "model.", "sae.", "autoencoder.", "ae.")

_KINDS = {
    "relu": "relu",
    "standard": "relu",
    "autoencoder": "relu",
    "topk": "topk",
    "autoencodertopk": "topk",
    "topk_sae": "topk",
    "batchtopk": "batchtopk",
    "batch_topk": "batchtopk",
    "batchtopksae": "batchtopk",
    "jumprelu": "jumprelu",
    "jump_relu": "jumprelu",
    "jumpreluautoencoder": "jumprelu",
    "gated": "gated",
    "gatedautoencoder": "gated",
    "abstopk": "abstopk",
}
"""Our types by what settings call them, in lower case."""

_SAY_KIND = ("activation", "activation_fn", "act_fn", "architecture", "dict_class", "model_type", "kind", "type")

FIELDS = Fields(
    used="k top_k topk threshold centred tied d_in d_sae d_model dict_size activation_dim num_latents "
    + " ".join(_SAY_KIND),
    harmless="lr seed device dtype steps *_steps *_step batch_size *_batch_size n_epochs epochs epoch step expansion "
    "expansion_factor l1_* l0_coefficient sparsity_* aux* wandb_* optimizer* model_name base_model lm_name layer "
    "hook_* submodule_name num_layers n_tokens* version torch_version weight_decay *_path name loss log_*",
    only={"normalize": (False, None, "none"), "normalize_activations": (False, None, "none"), "input_scale": (1, 1.0)},
    stated={"prepend_bos": "prepend_bos", "context_size": "context_size", "dataset": "dataset"},
    tensors="stats_last_nonzero num_batches_not_active num_tokens_since_fired",
)

_NEEDED = (
    "relu: W_enc, W_dec; topk, abstopk: besides k (--option k=4); batchtopk: besides a threshold of one number; "
    "jumprelu: besides threshold [d_sae]; gated: besides b_gate, r_mag, b_mag. b_enc and b_dec may be missing"
)


class _Parts(NamedTuple):
    """Tensors by what they are, and what was assumed of them."""

    names: Mapping[str, str]
    """The file's name of each."""

    assumed: list[str]

    called: Mapping[str, str]
    """What the file itself calls each, also where a person has given it another name."""


def read_bare(files: Files) -> Found:
    """A dictionary out of nothing but tensors. The person may say its kind, fields that no file says (`k`, `threshold`,
    `centred`, `tied`), and which tensor is which; where that does not suffice, the `UserError` lists what was
    found and what each kind needs."""
    tensors, cfg = _opened(files)
    roles = _roles(tensors)
    parts = _Parts(roles, [], {role: files.names.get(name, name) for role, name in roles.items()})
    weights = _weights(tensors, cfg, parts, transcoder=files.transcoder)
    kind = _kind(files, tensors, cfg, parts)
    weights = _centred(tensors, cfg, parts, kind, weights)
    dictionary = _dictionary(kind, tensors, cfg, parts, weights)
    for name, size in (("d_in", dictionary.d_in), ("d_sae", dictionary.d_sae)):
        if cfg.get(name, size) != size:
            raise tensors.fault(f"{name} is {shortened(cfg[name])} in the settings and {size} in the weights")
    stated, warnings = FIELDS.review(files.options, cfg, tensors)
    read = ", ".join(f"{role} = {name}" for role, name in parts.names.items() if name in tensors)
    found = Found(dictionary, str(cfg.get("model_name") or cfg.get("base_model") or ""))
    return found.noting(
        stated,
        f"recognised by names and shapes: {read}, read as {kind}",
        *(f"assumed: {said}" for said in parts.assumed),
        *warnings,
    )


BARE = Format(("*.pt|*.pth|*.bin|*.safetensors|*.npz",), read_bare, fields=FIELDS, last=True)


def _opened(files: Files) -> tuple[Tensors, dict[str, Any]]:
    """The tensors, out of the table that they lie in, and the settings beside them or in a file of the folder."""
    read = files._replace(names={}).tensors()
    cfg: dict[str, Any] = {}
    for name in ("config.json", "cfg.json"):
        if (files.folder / name).is_file():
            cfg |= read_settings(files.folder / name)
    values = {name: read.value(name) for name in read.names} | read.plain
    for table in (cfg, values):
        for name in _SETTINGS:
            if isinstance(table.get(name), dict):
                cfg |= table.pop(name)
    for name in _TABLES:
        if isinstance(values.get(name), dict):
            values |= values.pop(name)
    cfg |= {str(name): value for name, value in values.items() if not isinstance(value, Tensor)}
    tensors = {str(name): value for name, value in values.items() if isinstance(value, Tensor)}
    for prefix in _PREFIXES:
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return Tensors(files.weights, tensors).renamed(files.names), cfg | dict(files.options)


def _roles(tensors: Tensors) -> dict[str, str]:
    """The file's name of each tensor that is known. Raises `UserError` where two could be the same."""
    found = {}
    for role, aliases in _ROLES.items():
        if role in tensors.names:  # ours, or what the person called so
            found[role] = role
            continue
        names = [name for name in tensors.names if name.lower() in aliases]
        if len(names) > 1:
            raise _undecided(tensors, f"{' and '.join(names)} could both be {role}", f"--map {role}={names[0]}")
        if names:
            found[role] = names[0]
    return found


def _undecided(tensors: Tensors, reason: str, todo: str) -> UserError:
    return UserError(
        f"{tensors.path} cannot be read as a dictionary: {reason}. It holds {tensors.found()}.",
        _NEEDED,
        f"say it: {todo} (--map NAME=TENSOR, --kind KIND, --option NAME=VALUE).",
    )


def _weights(tensors: Tensors, cfg: Mapping[str, Any], parts: _Parts, *, transcoder: bool) -> Weights:
    """Weights in our orientation. Raises `UserError` where names and shapes do not tell it."""
    names = parts.names
    if "W_enc" not in names:
        raise _undecided(tensors, "none of its tensors is known as an encoder", "--map W_enc=TENSOR")
    W_enc = tensors.take(names["W_enc"], -1, -1)
    d_sae = _n_latents(tensors, cfg, names)
    if d_sae is None:
        d_sae = max(W_enc.shape)
        parts.assumed.append(f"the longer side of {names['W_enc']} are its {d_sae} latents")
    if d_sae not in W_enc.shape:
        raise _undecided(tensors, f"{names['W_enc']} has no side of {d_sae} latents", "--map W_enc=TENSOR")
    if _rows_are_latents(parts, "W_enc", W_enc, d_sae):
        W_enc = W_enc.T
    d_in = W_enc.shape[0]
    W_dec = _decoder(tensors, cfg, parts, W_enc)
    d_out = W_dec.shape[1]
    if d_out != d_in and not transcoder:
        raise tensors.fault(f"it reads width {d_in} and writes width {d_out}: a transcoder, whose target must be named")
    biases = []
    for role, size in (("b_enc", d_sae), ("b_dec", d_out)):
        if role not in names:
            parts.assumed.append(f"{role} is 0, for there is none")
        biases.append(tensors.take(names[role], size) if role in names else torch.zeros(size))
    return Weights(W_enc, biases[0], W_dec, biases[1], transcoder=transcoder)


def _n_latents(tensors: Tensors, cfg: Mapping[str, Any], names: Mapping[str, str]) -> int | None:
    """How many latents there are, by what has one number for each."""
    for role in ("b_enc", "threshold", "log_threshold", "r_mag"):
        if role in names and len(shape := tensors.shape(names[role])) == 1 and shape[0] > 1:
            return shape[0]
    given = next((cfg[name] for name in ("d_sae", "dict_size", "num_latents") if name in cfg), None)
    return given if isinstance(given, int) else None


def _rows_are_latents(parts: _Parts, role: str, value: Tensor, d_sae: int) -> bool:
    """Whether a matrix has a row for each latent. Of a square one the file's own name tells: what a linear layer calls
    its `weight` is `[out, in]`; other encoders are `[d_in, d_sae]` and decoders `[d_sae, d_out]`."""
    if value.shape[0] != value.shape[1]:
        return value.shape[0] == d_sae
    name = parts.called[role]
    of_latents = name.lower().endswith(".weight") == (role == "W_enc")
    parts.assumed.append(f"the {'rows' if of_latents else 'columns'} of {name}, which is square, are its latents")
    return of_latents


def _decoder(tensors: Tensors, cfg: Mapping[str, Any], parts: _Parts, W_enc: Tensor) -> Tensor:
    names, d_sae = parts.names, W_enc.shape[1]
    if "W_dec" not in names:
        if not _flag(tensors, cfg, "tied"):
            raise _undecided(
                tensors,
                "none of its tensors is known as a decoder",
                "--map W_dec=TENSOR, or --option tied=true where it is the encoder's transpose",
            )
        return W_enc.T
    W_dec = tensors.take(names["W_dec"], -1, -1)
    if d_sae not in W_dec.shape:
        raise _undecided(tensors, f"{names['W_dec']} has no side of {d_sae} latents", "--map W_dec=TENSOR")
    return W_dec if _rows_are_latents(parts, "W_dec", W_dec, d_sae) else W_dec.T


def _kind(files: Files, tensors: Tensors, cfg: Mapping[str, Any], parts: _Parts) -> str:
    """The type: as the person says, as the settings say, or as what is there tells."""
    if files.kind:
        return files.kind
    if said := _said(tensors, cfg):
        return said
    names, k = parts.names, _k(tensors, cfg, parts)
    if "r_mag" in names and "b_mag" in names:
        return "gated"
    if "log_threshold" in names:
        return "jumprelu"
    if "threshold" in names and not tensors.is_scalar(names["threshold"]):
        return "jumprelu"
    if "threshold" in names and float(tensors.take(names["threshold"])) > 0:
        if k:
            parts.assumed.append(
                f"a latent is active above {names['threshold']} (batchtopk): a file of TopK may keep one besides, "
                "and --kind topk then takes the k largest"
            )
        return "batchtopk"
    if k:
        return "topk"
    parts.assumed.append("the activation is a ReLU: nothing says k or a threshold (--kind, --option k=32)")
    return "relu"


def _said(tensors: Tensors, cfg: Mapping[str, Any]) -> str | None:
    """The type that the settings name; what says the most, as `topk` does beside an activation `relu`. Raises
    `UserError` where they name several, or an activation that is none of ours."""
    given = {name: cfg[name] for name in _SAY_KIND if cfg.get(name) is not None}
    kinds = {name: _KINDS.get(str(value).lower()) for name, value in given.items()}
    for name, kind in kinds.items():
        if kind is None and name.startswith("activation"):
            raise _undecided(tensors, f"{name} is {shortened(given[name])}, which no kind here has", "--kind KIND")
    found = {kind for kind in kinds.values() if kind} - {"relu"}
    if len(found) > 1:
        named = ", ".join(f"{name}={shortened(given[name])}" for name, kind in kinds.items() if kind)
        raise _undecided(tensors, f"its settings contradict each other: {named}", "--kind KIND")
    return next(iter(found), "relu" if "relu" in kinds.values() else None)


def _flag(tensors: Tensors, cfg: Mapping[str, Any], name: str) -> bool | None:
    """A setting that is true or false; a word such as `False` would be true."""
    value = cfg.get(name)
    if value is not None and not isinstance(value, bool):
        raise tensors.fault(f"{name} is {shortened(value)}, and neither true nor false")
    return value


def _k(tensors: Tensors, cfg: Mapping[str, Any], parts: _Parts) -> int | None:
    """How many latents are kept, by the person, the settings or a tensor."""
    said = next((cfg[name] for name in ("k", "top_k", "topk") if cfg.get(name) is not None), None)
    if said is None and "k" in parts.names:
        said = int(tensors.take(parts.names["k"]))
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int):
        raise tensors.fault(f"k is {shortened(said)}, which is no number of latents")
    return said


def _centred(tensors: Tensors, cfg: Mapping[str, Any], parts: _Parts, kind: str, weights: Weights) -> Weights:
    """For `pre = (x - b_dec) @ W_enc + b_enc`, whatever is subtracted from the input there."""
    name = parts.names.get("b_dec", "")
    mean = tensors.take(parts.names["mean"], len(weights.W_enc)) if "mean" in parts.names else None
    if not weights.transcoder and name:
        centred = _flag(tensors, cfg, "centred")
        if centred is None:
            centred = _subtracts(name.lower(), parts, kind)
            parts.assumed.append(
                f"{name} is {'' if centred else 'not '}subtracted from the input first "
                f"(--option centred={'false' if centred else 'true'} for the other)"
            )
        weights = weights if centred else weights.uncentred()
    if mean is None:
        return weights
    parts.assumed.append(f"{parts.names['mean']} is taken off the input first and added to the reconstruction")
    if weights.transcoder:
        return weights._replace(b_enc=weights.b_enc - mean @ weights.W_enc)
    return weights._replace(b_dec=weights.b_dec + mean)


def _subtracts(name: str, parts: _Parts, kind: str) -> bool:
    """Whether `b_dec` is subtracted from the input, by its name and the project that uses it: not where it is a decoder
    layer's own (dictionary_learning's `AutoEncoderNew`), and not in JumpReLU files with rows (Gemma Scope)."""
    if name in _CENTRES:
        return True
    return not name.endswith(".bias") and not (kind == "jumprelu" and parts.names["W_enc"].lower() == "w_enc")


def _dictionary(
    kind: str, tensors: Tensors, cfg: Mapping[str, Any], parts: _Parts, weights: Weights
) -> EncoderDictionary:
    names, d_sae = parts.names, len(weights.b_enc)
    match kind:
        case "relu":
            return to_relu(weights)
        case "topk" | "abstopk":
            k = _k(tensors, cfg, parts)
            if not k:
                raise _undecided(tensors, f"it is read as {kind}, and nothing says k", "--option k=32")
            return to_topk(weights, k, tensors, by_contribution=False, signed=kind == "abstopk")
        case "gated":
            if missing := [role for role in ("b_enc", "r_mag", "b_mag") if role not in names]:
                raise _undecided(tensors, f"a gated one needs {', '.join(missing)}", f"--map {missing[0]}=TENSOR")
            r_mag, b_mag = tensors.take(names["r_mag"], d_sae), tensors.take(names["b_mag"], d_sae)
            shift = weights.b_enc - tensors.take(names["b_enc"], d_sae)  # what `uncentred` made up for
            return to_gated(weights, r_mag, b_mag + r_mag.exp() * shift)
    return to_jumprelu(weights, _threshold(kind, tensors, cfg, parts, d_sae))


def _threshold(kind: str, tensors: Tensors, cfg: Mapping[str, Any], parts: _Parts, d_sae: int) -> Tensor:
    names, given = parts.names, cfg.get("threshold")
    if given is not None:
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise tensors.fault(f"threshold is {shortened(given)}, which is no number")
        if not math.isfinite(given):
            raise tensors.fault(f"threshold is {shortened(given)}, which is no finite number")
        return torch.tensor(float(given))
    if "log_threshold" in names:
        return tensors.take(names["log_threshold"], d_sae).exp()
    if "threshold" not in names:
        raise _undecided(tensors, f"it is read as {kind}, and there is no threshold", "--map threshold=TENSOR")
    name = names["threshold"]
    return tensors.take(name) if tensors.is_scalar(name) else tensors.take(name, d_sae)
