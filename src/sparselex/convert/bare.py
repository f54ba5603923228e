"""Tensors by themselves, of nobody's format: what each is, is told by its name and its shape, and what neither tells
is said to be assumed."""

from collections.abc import Mapping
from reprlib import repr as shortened
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.convert.bare_fields import (
    CENTRES,
    COUNTS,
    FIELDS,
    FILES,
    KINDS,
    PLACES,
    PREFIXES,
    ROLES,
    SAY_KIND,
    SETTINGS,
    SIZES,
    SUBTRACTS,
    TABLES,
)
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.places import head_of
from sparselex.convert.settings import Settings, count, merge
from sparselex.convert.tensors import Tensors, read_settings, read_tensors
from sparselex.convert.weights import Weights, checked, to_gated, to_jumprelu, to_relu, to_topk
from sparselex.dictionaries.encoder import EncoderDictionary
from sparselex.dictionaries.transformer_lens import name_here

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
    parts = _Parts(roles, [], {role: str(files.names.peek(name) or name) for role, name in roles.items()})
    weights = _weights(tensors, cfg, parts, transcoder=files.transcoder)
    kind = _kind(files, tensors, cfg, parts)
    weights = _centred(tensors, cfg, parts, kind, weights)
    dictionary = _dictionary(kind, tensors, cfg, parts, weights)
    for names, size in zip(SIZES, (dictionary.d_in, dictionary.d_sae), strict=True):
        cfg.sizes(**dict.fromkeys(names, size))
    found = _placed(Found(dictionary, str(cfg.agreed("model_name", "base_model", "lm_name") or "")), cfg)
    stated, warnings = FIELDS.review(cfg, tensors)
    read = ", ".join(f"{role} = {name}" for role, name in parts.names.items() if name in tensors)
    return found.noting(
        stated,
        f"recognised by names and shapes: {read}, read as {kind}",
        *(f"assumed: {said}" for said in parts.assumed),
        *warnings,
    )


def _placed(found: Found, cfg: Settings) -> Found:
    """The same at the places that the settings name."""
    hook = str(cfg.agreed(*PLACES[0]) or cfg.get("submodule_name") or "")
    target = "" if found.dictionary.is_autoencoder else str(cfg.agreed(*PLACES[1]) or "")
    return found.at(name_here(hook, head_of(cfg, hook)), name_here(target), named=(hook, target))


BARE = Format(("*.pt|*.pth|*.bin|*.safetensors|*.npz",), read_bare, fields=FIELDS, last=True)


def _opened(files: Files) -> tuple[Tensors, Settings]:
    """The tensors, out of the table that they lie in, and the settings beside them or in a file of the folder. Raises
    `UserError` where one name stands for two things."""

    def counts(name: str) -> bool:
        return not FIELDS.is_harmless(name)

    read = read_tensors(files.weights)
    values: dict[str, Any] = {name: read.value(name) for name in read.names} | read.plain
    beside = [read_settings(path) for name in FILES if (path := files.folder / name).is_file()]
    inside = [table.pop(name) for table in (*beside, values) for name in SETTINGS if isinstance(table.get(name), dict)]
    for name in TABLES:
        if isinstance(values.get(name), dict):
            values = merge(files.weights, values, values.pop(name), same=counts)
    tensors = Tensors(files.weights, {str(name): value for name, value in values.items() if isinstance(value, Tensor)})
    for prefix in PREFIXES:
        tensors = tensors.without(prefix)
    plain = {str(name): value for name, value in values.items() if not isinstance(value, Tensor)}
    cfg = files.options.over(files.weights, {})
    for table in (*inside, *beside, plain):
        cfg = cfg.beside(table, same=counts)
    return files.renamed(tensors), cfg


def _roles(tensors: Tensors) -> dict[str, str]:
    """The file's name of each tensor that is known. Raises `UserError` where two could be the same."""
    found = {}
    for role, aliases in ROLES.items():
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


def _weights(tensors: Tensors, cfg: Settings, parts: _Parts, *, transcoder: bool) -> Weights:
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


def _n_latents(tensors: Tensors, cfg: Settings, names: Mapping[str, str]) -> int | None:
    """How many latents there are, by what has one number for each."""
    for role in ("b_enc", "threshold", "log_threshold", "r_mag"):
        if role in names and len(shape := tensors.shape(names[role])) == 1 and shape[0] > 1:
            return shape[0]
    return next((size for name in SIZES[1] if (size := cfg.whole(name))), None)


def _rows_are_latents(parts: _Parts, role: str, value: Tensor, d_sae: int) -> bool:
    """Whether a matrix has a row for each latent. Of a square one the file's own name tells: what a linear layer calls
    its `weight` is `[out, in]`; other encoders are `[d_in, d_sae]` and decoders `[d_sae, d_out]`."""
    if value.shape[0] != value.shape[1]:
        return value.shape[0] == d_sae
    name = parts.called[role]
    of_latents = name.lower().endswith(".weight") == (role == "W_enc")
    parts.assumed.append(f"the {'rows' if of_latents else 'columns'} of {name}, which is square, are its latents")
    return of_latents


def _decoder(tensors: Tensors, cfg: Settings, parts: _Parts, W_enc: Tensor) -> Tensor:
    names, d_sae = parts.names, W_enc.shape[1]
    if "W_dec" not in names:
        if not cfg.flag("tied"):
            raise _undecided(
                tensors,
                "none of its tensors is known as a decoder",
                "--map W_dec=TENSOR, or --option tied=true where it is the encoder's transpose",
            )
        return W_enc.T
    W_dec = tensors.take(names["W_dec"], -1, -1)
    if d_sae not in W_dec.shape:
        raise _undecided(tensors, f"{names['W_dec']} has no side of {d_sae} latents", "--map W_dec=TENSOR")
    W_dec = W_dec if _rows_are_latents(parts, "W_dec", W_dec, d_sae) else W_dec.T
    if cfg.flag("tied") and not torch.equal(W_dec, W_enc.T):
        raise tensors.fault(
            f"tied is true, and {names['W_dec']} is another matrix than the encoder's transpose "
            "(--option tied=false takes it)"
        )
    return W_dec


def _kind(files: Files, tensors: Tensors, cfg: Settings, parts: _Parts) -> str:
    """The type: as the person says, as the settings say, or as what is there tells."""
    if files.kind:
        return files.kind
    if said := _said(tensors, cfg):
        return said
    # Whether it is there decides; what a dictionary of that kind has no use for is named afterwards.
    names, counted = parts.names, [name for name in COUNTS if cfg.peek(name) is not None]
    k = "k" in names or bool(counted)
    if "threshold" in cfg.given or ("threshold" in names and cfg.given.intersection(counted)):
        raise _undecided(tensors, "nothing says whether k or a threshold decides", "--kind topk, or --kind batchtopk")
    if "r_mag" in names and "b_mag" in names:
        return "gated"
    if "log_threshold" in names:
        return "jumprelu"
    if "threshold" in names and not tensors.is_scalar(names["threshold"]):
        return "jumprelu"
    if "threshold" in names and float(tensors.peek(names["threshold"])) > 0:
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


def _said(tensors: Tensors, cfg: Settings) -> str | None:
    """The type that the settings name; what says the most, as `topk` does beside an activation `relu`. Raises
    `UserError` where they name several, or an activation that is none of ours."""
    given = {name: cfg.peek(name) for name in SAY_KIND if cfg.peek(name) is not None}
    kinds = {name: KINDS.get(str(value).lower()) for name, value in given.items()}
    for name, kind in kinds.items():
        if kind:  # what says nothing here counts as left out
            cfg[name]
    for name, kind in kinds.items():
        if kind is None and name.startswith("activation"):
            raise _undecided(tensors, f"{name} is {shortened(given[name])}, which no kind here has", "--kind KIND")
    found = {kind for kind in kinds.values() if kind} - {"relu"}
    if len(found) > 1:
        named = ", ".join(f"{name}={shortened(given[name])}" for name, kind in kinds.items() if kind)
        raise _undecided(tensors, f"its settings contradict each other: {named}", "--kind KIND")
    return next(iter(found), "relu" if "relu" in kinds.values() else None)


def _centred(tensors: Tensors, cfg: Settings, parts: _Parts, kind: str, weights: Weights) -> Weights:
    """For `pre = (x - b_dec) @ W_enc + b_enc`, whatever is subtracted from the input there."""
    name = parts.names.get("b_dec", "")
    mean = tensors.take(parts.names["mean"], len(weights.W_enc)) if "mean" in parts.names else None
    if not weights.transcoder and name:
        for said in SUBTRACTS:
            cfg.flag(said)
        centred = cfg.agreed(*SUBTRACTS)
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
    if name in CENTRES:
        return True
    return not name.endswith(".bias") and not (kind == "jumprelu" and parts.names["W_enc"].lower() == "w_enc")


def _dictionary(kind: str, tensors: Tensors, cfg: Settings, parts: _Parts, weights: Weights) -> EncoderDictionary:
    names, d_sae = parts.names, len(weights.b_enc)
    match kind:
        case "relu":
            return to_relu(weights)
        case "topk" | "abstopk":
            k = count(cfg, tensors, *COUNTS, tensor=names.get("k", "k"))
            if k is None:
                raise _undecided(tensors, f"it is read as {kind}, and nothing says k", "--option k=32")
            return to_topk(weights, k, tensors, by_contribution=False, signed=kind == "abstopk")
        case "gated":
            if missing := [role for role in ("b_enc", "r_mag", "b_mag") if role not in names]:
                raise _undecided(tensors, f"a gated one needs {', '.join(missing)}", f"--map {missing[0]}=TENSOR")
            r_mag, b_mag = tensors.take(names["r_mag"], d_sae), tensors.take(names["b_mag"], d_sae)
            shift = weights.b_enc - tensors.take(names["b_enc"], d_sae)  # what `uncentred` made up for
            return to_gated(weights, r_mag, b_mag + r_mag.exp() * shift)
    return to_jumprelu(weights, _threshold(kind, tensors, cfg, parts, d_sae))


def _threshold(kind: str, tensors: Tensors, cfg: Settings, parts: _Parts, d_sae: int) -> Tensor:
    names = parts.names
    if cfg.get("threshold") is not None:
        said = torch.tensor(cfg.number("threshold", 0.0))
        kept = tensors.value(names["threshold"]) if "threshold" in names and "threshold" not in cfg.given else said
        if bool((kept != said).any()):
            raise tensors.fault(
                f"threshold is {float(said):g} in the settings, and the tensor {names['threshold']!r} has others "
                "(--option threshold=VALUE decides)"
            )
        return checked(said, tensors, "threshold")
    if "log_threshold" in names:
        return tensors.take(names["log_threshold"], d_sae).exp()
    if "threshold" not in names:
        raise _undecided(tensors, f"it is read as {kind}, and there is no threshold", "--map threshold=TENSOR")
    name = names["threshold"]
    return checked(tensors.take(name, *(() if tensors.is_scalar(name) else (d_sae,))), tensors, name)
