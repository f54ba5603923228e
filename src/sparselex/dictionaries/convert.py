"""Other people's dictionaries: read into our types, written from them. Names and transposes of other projects live here and nowhere else.

Ours throughout: `pre = (x - b_dec) @ W_enc + b_enc` with `W_enc [d_in, d_sae]`, `x_hat = acts @ W_dec + b_dec` with `W_dec [d_sae, d_in]`, a
JumpReLU threshold compared with `pre * |decoder row|`. What is read is folded, so that decoder rows have unit norm.
"""

import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from sparselex.base.artifacts import read_json, write_json
from sparselex.base.errors import UserError
from sparselex.dictionaries.dictionary import EncoderDictionary, TrainableDictionary
from sparselex.dictionaries.files import SAELENS_CONFIG, WEIGHTS, saelens_config, write_dictionary
from sparselex.dictionaries.gated import Gated, GatedConfig
from sparselex.dictionaries.jumprelu import JumpReLU, JumpReLUConfig
from sparselex.dictionaries.relu import ReLU, ReLUConfig
from sparselex.dictionaries.topk import TopK, TopKConfig


class Imported(NamedTuple):
    """A dictionary that was read, and what its files say of where it belongs."""

    dictionary: TrainableDictionary
    format: str
    """One of `FORMATS`."""
    model_name: str
    """Empty where the files do not say."""
    hook: str
    """Empty where the files do not say."""


def import_dictionary(source: Path | str) -> Imported:
    """Read a dictionary of another project.

    Args:
        source: a local folder or file, or a Hugging Face repository (`owner/name` or `owner/name:sub/folder`, downloaded).

    Pickles are opened with `weights_only`, arrays without pickles: nothing from outside is executed. Raises `UserError` for files of
    no known format, an architecture we do not have, missing or misshapen tensors, damaged files, and numbers that are not finite.
    """
    folder = _local(str(source))
    for name, (marks, read) in FORMATS.items():
        if all((folder / mark).is_file() for mark in marks):
            try:
                dictionary, model_name, hook = read(folder)
            except (AttributeError, TypeError, ValueError) as error:  # a field of another kind than its project writes
                raise UserError(f"{folder} cannot be read as a dictionary of {name}: {error}.",
                                "a configuration as its project writes it", "fetch it again.") from None  # fmt: skip
            dictionary.fold([1.0], [1.0])
            return Imported(dictionary.eval().requires_grad_(False), name, model_name, hook)
    known = "; ".join(f"{name}: {' and '.join(marks)}" for name, (marks, _) in FORMATS.items())
    raise UserError(
        f"{source} holds no dictionary in a format we know.", known, "give the folder that holds these files."
    )


def export_dictionary(
    dictionary: TrainableDictionary, to: Path | str, layout: str, *, model_name: str = "", hook: str = ""
) -> None:
    """Write a folded dictionary to the new folder `to` in the layout `saelens` or `sparsify`.

    Raises `UserError` for an existing folder, an unknown layout, and a type that the layout cannot hold.
    """
    to = Path(to).absolute()
    if layout not in WRITERS:
        raise UserError(f"There is no layout {layout!r}.", "one of " + ", ".join(WRITERS), "choose another --layout.")
    if to.exists():
        raise UserError(f"{to} exists.", "a new folder", "choose another folder.")
    aside = to.with_name(f".{to.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        WRITERS[layout](dictionary, aside, model_name, hook)
        os.rename(aside, to)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _local(source: str) -> Path:
    path = Path(source)
    if path.is_dir():
        return path
    if path.is_file():
        known = {mark for marks, _ in FORMATS.values() for mark in marks}
        if path.name not in known:
            raise UserError(f"{path} is not a file we know by its name.", "one of " + ", ".join(sorted(known)),
                            "give the folder, or rename the file you mean (a checkpoint beside it would be another dictionary).")  # fmt: skip
        return path.parent
    repository, _, inside = source.partition(":")
    if repository.count("/") != 1 or repository.startswith((".", "/")):
        raise UserError(
            f"{source} does not exist.",
            "a folder, a file, or a Hugging Face name (owner/name:sub/folder)",
            "check the path.",
        )
    try:
        root = snapshot_download(repository, allow_patterns=[f"{inside}/*"] if inside else None)
    except Exception as error:  # a door: the library raises many kinds, all meaning "this cannot be fetched"
        raise UserError(
            f"{source} is no local folder, and no Hugging Face repository of that name can be read: {str(error).splitlines()[0]}",
            "a folder, a file, or a reachable name (owner/name:sub/folder)",
            "check the spelling and the network.",
        ) from None
    return Path(root) / inside


class _Tensors:
    """Named tensors of one foreign file, each checked for presence, shape and finite numbers when it is taken."""

    def __init__(self, path: Path, values: Mapping[str, Tensor]):
        self.path, self._values = path, values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor in float32; -1 in `shape` stands for any length."""
        if name not in self._values:
            raise self.fault(f"tensor {name!r} is missing (there are {', '.join(sorted(self._values)) or 'none'})")
        value = self._values[name].float()
        if value.ndim != len(shape) or any(
            want not in (-1, have) for want, have in zip(shape, value.shape, strict=True)
        ):
            wanted = ", ".join("any" if length == -1 else str(length) for length in shape)
            raise self.fault(f"tensor {name!r} has shape {list(value.shape)}, not [{wanted}]")
        if not torch.isfinite(value).all():
            raise self.fault(f"tensor {name!r} holds NaN or infinity")
        return value

    def refuse(self, *names: str) -> None:
        """Raise where a tensor is there that we would have to leave out."""
        for name in names:
            if name in self._values:
                raise self.fault(f"tensor {name!r} has no place in our types yet")

    def fault(self, reason: str) -> UserError:
        return UserError(f"{self.path} cannot be read as a dictionary: {reason}.", "the file as its project writes it",
                         "fetch it again, or check which project wrote it.")  # fmt: skip


def _safetensors(path: Path) -> _Tensors:
    try:
        return _Tensors(path, load_file(path))
    except (SafetensorError, OSError) as error:
        raise _Tensors(path, {}).fault(str(error).splitlines()[0]) from None


def _torch_file(path: Path) -> _Tensors:
    try:
        with warnings.catch_warnings(action="ignore"):  # of pickle protocols: what cannot be read is refused below
            values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _Tensors(path, {}).fault(
            f"it is damaged or holds more than tensors, which is never executed ({type(error).__name__})"
        ) from None
    if not isinstance(values, dict):
        raise _Tensors(path, {}).fault(f"it holds a {type(values).__name__}, not a table of tensors")
    return _Tensors(path, {name: value for name, value in values.items() if isinstance(value, Tensor)})


def _numpy_file(path: Path) -> _Tensors:
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            return _Tensors(path, {name: torch.from_numpy(file[name]) for name in file.files})
    except (OSError, ValueError, EOFError) as error:
        raise _Tensors(path, {}).fault(str(error).splitlines()[0]) from None
    except Exception as error:  # zipfile's own kinds
        raise _Tensors(path, {}).fault(type(error).__name__) from None


def _settings(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} is no JSON object.", "the configuration beside the weights", "fetch it again.")
    return values


class _Weights(NamedTuple):
    """Weights in our orientation, before they become a type of ours."""

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor

    def uncentred(self) -> "_Weights":
        """The same dictionary for `pre = x @ W_enc + b_enc`: ours subtracts `b_dec` first, so the bias makes up for it."""
        return self._replace(b_enc=self.b_enc + self.b_dec @ self.W_enc)

    def scaled(self, scale: float) -> "_Weights":
        """The same dictionary for raw inputs, when it was made for inputs multiplied by `scale`; activations keep their units."""
        return _Weights(self.W_enc * scale, self.b_enc, self.W_dec / scale, self.b_dec / scale)

    def fill(self, dictionary: EncoderDictionary) -> None:
        with torch.no_grad():
            for name, value in self._asdict().items():
                getattr(dictionary, name).copy_(value)

    @property
    def size(self) -> dict[str, Any]:
        return {"d_in": self.W_enc.shape[0], "d_sae": self.W_enc.shape[1]}


def _relu(weights: _Weights) -> ReLU:
    dictionary = ReLU(ReLUConfig(**weights.size))
    weights.fill(dictionary)
    return dictionary


def _jumprelu(weights: _Weights, threshold: Tensor) -> JumpReLU:
    """`threshold [d_sae]` or a scalar, compared with pre-activations."""
    dictionary = JumpReLU(JumpReLUConfig(**weights.size))
    weights.fill(dictionary)
    with torch.no_grad():
        dictionary.threshold.copy_(threshold.clamp_min(0) * weights.W_dec.norm(dim=-1))
    return dictionary


def _topk(weights: _Weights, k: int, tensors: _Tensors, *, by_contribution: bool) -> TopK:
    norms = weights.W_dec.norm(dim=-1)
    if not by_contribution and float((norms / norms.mean() - 1).abs().max()) > 0.01:
        raise tensors.fault(
            "it ranks latents by activation with decoder rows of unequal norm; ours are ranked by contribution"
        )
    try:
        config = TopKConfig(**weights.size, k=k)
    except ValueError as error:
        raise tensors.fault(f"k is {k}: {error}") from None
    dictionary = TopK(config)
    weights.fill(dictionary)
    return dictionary


def _gated(weights: _Weights, r_mag: Tensor, b_mag: Tensor) -> Gated:
    """`weights.b_enc` is the gate's bias; `b_mag` is added to `exp(r_mag) * (x - b_dec) @ W_enc`."""
    dictionary = Gated(GatedConfig(**weights.size))
    weights.fill(dictionary)
    with torch.no_grad():
        dictionary.r_mag.copy_(r_mag)
        dictionary.b_mag.copy_(b_mag)
    return dictionary


_Read = tuple[EncoderDictionary, str, str]


def _read_saelens(folder: Path) -> _Read:
    """SAELens 6 and older: `cfg.json`, `sae_weights.safetensors`."""
    cfg, tensors = _settings(folder / SAELENS_CONFIG), _safetensors(folder / WEIGHTS)
    about = cfg.get("metadata") or cfg
    where = str(about.get("model_name") or ""), str(about.get("hook_name") or about.get("hook_point") or "")
    kind = str(cfg.get("architecture") or "standard")
    kwargs = cfg.get("activation_fn_kwargs") or {}
    if kind == "standard" and str(cfg.get("activation_fn_str") or cfg.get("activation_fn") or "relu") == "topk":
        kind = "topk"  # as versions before 6 say it
    if kind == "standard" and str(cfg.get("activation_fn_str") or cfg.get("activation_fn") or "relu") != "relu":
        raise tensors.fault(
            f"the activation {cfg.get('activation_fn_str') or cfg.get('activation_fn')!r} is not relu or topk"
        )
    if cfg.get("reshape_activations", "none") not in ("none", None):
        raise tensors.fault(f"it reshapes its inputs ({cfg['reshape_activations']}), which we do not do")
    tensors.refuse("W_skip")
    if cfg.get("normalize_activations", "none") not in ("none", None, False):
        raise tensors.fault(
            f"it normalises its inputs ({cfg['normalize_activations']}), which is not folded into these weights"
        )
    W_enc = tensors.take("W_enc", -1, -1)
    d_in, d_sae = W_enc.shape
    for name, size in (("d_in", d_in), ("d_sae", d_sae)):
        if cfg.get(name, size) != size:
            raise tensors.fault(f"{name} is {cfg[name]} in cfg.json and {size} in W_enc")
    bias = "b_gate" if kind == "gated" else "b_enc"
    weights = _Weights(
        W_enc, tensors.take(bias, d_sae), tensors.take("W_dec", d_sae, d_in), tensors.take("b_dec", d_in)
    )
    if "scaling_factor" in tensors:  # before version 6: activations are multiplied by it
        weights = weights._replace(W_dec=weights.W_dec * tensors.take("scaling_factor", d_sae)[:, None])
    centred = cfg.get("apply_b_dec_to_input", True)
    if not centred:
        shift = weights.b_dec @ weights.W_enc
        weights = weights.uncentred()
    match kind:
        case "standard":
            return _relu(weights), *where
        case "jumprelu":
            return _jumprelu(weights, tensors.take("threshold", d_sae)), *where
        case "batchtopk" | "matryoshka_batchtopk":
            cut = tensors.take("topk_threshold")
            # Scores are contributions where activations are rescaled by decoder norms, else activations.
            norms = weights.W_dec.norm(dim=-1) if cfg.get("rescale_acts_by_decoder_norm", True) else torch.ones(d_sae)
            return _jumprelu(weights, cut / norms), *where
        case "topk":
            k = int(cfg.get("k") or kwargs.get("k") or 0)
            return _topk(weights, k, tensors, by_contribution=cfg.get("rescale_acts_by_decoder_norm", False)), *where
        case "gated":
            r_mag, b_mag = tensors.take("r_mag", d_sae), tensors.take("b_mag", d_sae)
            return _gated(weights, r_mag, b_mag if centred else b_mag + r_mag.exp() * shift), *where
    raise tensors.fault(
        f"the architecture {kind!r} is not one of standard, topk, batchtopk, matryoshka_batchtopk, jumprelu, gated"
    )


def _read_sparsify(folder: Path) -> _Read:
    """sparsify: `cfg.json`, `sae.safetensors` with `encoder.weight [d_sae, d_in]` and `W_dec [d_sae, d_in]`."""
    cfg, tensors = _settings(folder / SAELENS_CONFIG), _safetensors(folder / "sae.safetensors")
    if cfg.get("transcode") or cfg.get("skip_connection"):
        raise tensors.fault("it is a transcoder, which we cannot read yet")
    if cfg.get("activation", "topk") != "topk":
        raise tensors.fault(f"the activation {cfg['activation']!r} is not topk")
    tensors.refuse("W_skip")
    encoder = tensors.take("encoder.weight", -1, -1)
    d_sae, d_in = encoder.shape
    weights = _Weights(
        encoder.T, tensors.take("encoder.bias", d_sae), tensors.take("W_dec", d_sae, d_in), tensors.take("b_dec", d_in)
    )
    return _topk(weights, int(cfg.get("k") or 0), tensors, by_contribution=False), "", folder.name


def _read_dictionary_learning(folder: Path) -> _Read:
    """dictionary_learning: `ae.pt`, `config.json` with {"trainer": {...}}; columns where we have rows."""
    tensors, trainer = _torch_file(folder / "ae.pt"), _settings(folder / "config.json").get("trainer")
    if not isinstance(trainer, dict):
        raise tensors.fault("config.json beside it names no trainer")
    kind = str(trainer.get("dict_class") or "")
    where = str(trainer.get("lm_name") or ""), str(trainer.get("submodule_name") or "")
    if kind in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"):  # these two hold rows already
        W_enc = tensors.take("W_enc", -1, -1)
        d_in, d_sae = W_enc.shape
        weights = _Weights(
            W_enc, tensors.take("b_enc", d_sae), tensors.take("W_dec", d_sae, d_in), tensors.take("b_dec", d_in)
        )
        if kind == "JumpReluAutoEncoder":  # reads x as it is unless it was told to subtract b_dec
            return _jumprelu(weights.uncentred(), tensors.take("threshold", d_sae)), *where
        return _jumprelu(weights, tensors.take("threshold")), *where
    W_enc = tensors.take("encoder.weight", -1, -1).T
    d_in, d_sae = W_enc.shape
    W_dec = tensors.take("decoder.weight", d_in, d_sae).T
    match kind:
        case "AutoEncoder":
            return _relu(
                _Weights(W_enc, tensors.take("encoder.bias", d_sae), W_dec, tensors.take("bias", d_in))
            ), *where
        case "AutoEncoderTopK" | "BatchTopKSAE":
            weights = _Weights(W_enc, tensors.take("encoder.bias", d_sae), W_dec, tensors.take("b_dec", d_in))
            if kind == "BatchTopKSAE":
                return _jumprelu(weights, tensors.take("threshold")), *where
            return _topk(weights, int(trainer.get("k") or tensors.take("k")), tensors, by_contribution=False), *where
        case "GatedAutoEncoder":
            weights = _Weights(W_enc, tensors.take("gate_bias", d_sae), W_dec, tensors.take("decoder_bias", d_in))
            return _gated(weights, tensors.take("r_mag", d_sae), tensors.take("mag_bias", d_sae)), *where
    raise tensors.fault(f"the class {kind!r} is not one of AutoEncoder, AutoEncoderTopK, BatchTopKSAE, GatedAutoEncoder, "
                        "JumpReluAutoEncoder, MatryoshkaBatchTopKSAE")  # fmt: skip


def _read_gemma_scope(folder: Path) -> _Read:
    """Gemma Scope 1: `params.npz`, rows as ours, `b_dec` not subtracted from the input, inputs unscaled."""
    tensors = _numpy_file(folder / "params.npz")
    W_enc = tensors.take("W_enc", -1, -1)
    d_in, d_sae = W_enc.shape
    weights = _Weights(
        W_enc, tensors.take("b_enc", d_sae), tensors.take("W_dec", d_sae, d_in), tensors.take("b_dec", d_in)
    )
    return _jumprelu(weights.uncentred(), tensors.take("threshold", d_sae)), "", ""


FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Path], _Read]]] = {
    "saelens": ((SAELENS_CONFIG, WEIGHTS), _read_saelens),
    "sparsify": ((SAELENS_CONFIG, "sae.safetensors"), _read_sparsify),
    "dictionary_learning": (("config.json", "ae.pt"), _read_dictionary_learning),
    "gemma_scope": (("params.npz",), _read_gemma_scope),
}
"""Formats by name: the files that tell them, and their reader."""


def _write_saelens(dictionary: TrainableDictionary, folder: Path, model_name: str, hook: str) -> None:
    if isinstance(dictionary, Gated):  # the same tensors; the gate's bias has a name of its own there
        tensors = {name: value.detach().contiguous() for name, value in dictionary.state_dict().items()}
        tensors["b_gate"] = tensors.pop("b_enc")
        (folder / WEIGHTS).write_bytes(save(tensors))
        write_json(folder / SAELENS_CONFIG, saelens_config(dictionary, model_name, hook))
        return
    write_dictionary(dictionary, folder, model_name=model_name, hook=hook)
    if not (folder / SAELENS_CONFIG).exists():
        raise _unfit(dictionary, "SAELens")


def _write_sparsify(dictionary: TrainableDictionary, folder: Path, model_name: str, hook: str) -> None:
    if type(dictionary) is not TopK:
        raise _unfit(dictionary, "sparsify, which has TopK alone")
    tensors = {
        "encoder.weight": dictionary.W_enc.T,
        "encoder.bias": dictionary.b_enc,
        "W_dec": dictionary.W_dec,
        "b_dec": dictionary.b_dec,
    }
    write_json(folder / SAELENS_CONFIG, {
        "activation": "topk", "expansion_factor": dictionary.d_sae // dictionary.d_in, "normalize_decoder": True,
        "num_latents": dictionary.d_sae, "k": dictionary.config.k, "multi_topk": False, "skip_connection": False,
        "transcode": False, "d_in": dictionary.d_in,
    })  # fmt: skip
    (folder / "sae.safetensors").write_bytes(
        save({name: value.detach().contiguous() for name, value in tensors.items()})
    )


def _unfit(dictionary: TrainableDictionary, layout: str) -> UserError:
    return UserError(f"A {type(dictionary).__name__} dictionary has no place in the layout of {layout}.", "a type that it holds",
                     "choose another layout.")  # fmt: skip


WRITERS: dict[str, Callable[[TrainableDictionary, Path, str, str], None]] = {
    "saelens": _write_saelens,
    "sparsify": _write_sparsify,
}
"""Layouts that can be written."""
