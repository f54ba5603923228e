"""Load any Hugging Face causal language model by name, folder or configuration."""

from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from sparselex.base.errors import UserError
from sparselex.base.reading import regular
from sparselex.lm.complete import check_complete
from sparselex.lm.config import ModelConfig
from sparselex.lm.families import FAMILIES
from sparselex.lm.gguf import dequantised
from sparselex.lm.homes.interp_engine import EngineModel, on_transformers, on_vllm, runs_vllm
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.named import is_gguf, local
from sparselex.lm.quiet import quiet
from sparselex.lm.subject import SubjectModel
from sparselex.lm.tokenizer import ModelTokenizer
from sparselex.lm.twins import TWINS

_HUB_TIMEOUT_S = 10

_READ_BY_VLLM = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py"]


def load_model(config: ModelConfig | str) -> SubjectModel:
    """Load a model and its tokenizer by configuration or by name.

    Raises `UserError` for a name or folder that cannot be loaded, damaged weights, remote code not asked for, and a
    model that sees later tokens.
    """
    if isinstance(config, str):
        config = ModelConfig(name=config)
    check_device(config.device)
    with quiet():
        try:
            if config.engine == "interp-engine" and runs_vllm(config):
                return _on_vllm(config)
            model, tokenizer = _loaded(config)
        except UserError:
            raise
        except Exception as error:  # a door: the library raises many kinds, all meaning "this cannot be loaded"
            raise _unloadable(config, error) from None
    _check_causal(config, model)
    if config.twin != "none":
        TWINS[config.twin](model, config.twin_seed)
    n_vocab = model.config.get_text_config().vocab_size
    subject = TransformersModel(model.to(config.device), _embedded(ModelTokenizer(tokenizer), n_vocab), config)
    return on_transformers(subject, tokenizer) if config.engine == "interp-engine" else subject


def _source(config: ModelConfig) -> tuple[str, dict[str, bool]]:
    """The folder or the hub's name of a model, and the options with which anything of it is read."""
    found = local(config.name)
    if found is not None and is_gguf(found):
        found = dequantised(found)
    where = str(found or config.name)
    if found is not None:
        _check_files(found)
    options = {"trust_remote_code": config.trust_remote_code, "local_files_only": found is not None}
    if found is None:
        options["local_files_only"] = not _reachable(where)
    return where, options


def _on_vllm(config: ModelConfig) -> EngineModel:
    """The model in processes of vLLM, tokenizer and configuration in this one."""
    where, options = _source(config)
    folder = Path(where)
    if not folder.is_dir():
        offline = options["local_files_only"]
        folder = Path(snapshot_download(where, allow_patterns=_READ_BY_VLLM, local_files_only=offline))
    tokenizer = ModelTokenizer(transformers.AutoTokenizer.from_pretrained(folder, **options))
    text_config = transformers.AutoConfig.from_pretrained(folder, **options).get_text_config()
    return on_vllm(folder, _embedded(tokenizer, text_config.vocab_size), text_config, config)


def _embedded(tokenizer: ModelTokenizer, n_vocab: int) -> ModelTokenizer:
    """The same without special tokens that the embedding has no row for, such as a padding token that was added to the
    tokenizer alone: rows are padded with, and begin with, what the model can read."""
    for name in ("bos_id", "eos_id", "pad_id"):
        if (found := getattr(tokenizer, name)) is not None and found >= n_vocab:
            setattr(tokenizer, name, None)
    return tokenizer


def _loaded(config: ModelConfig) -> tuple[Any, Any]:
    """Model and tokenizer as transformers has them, every weight read from a file."""
    where, options = _source(config)
    chosen = {"attn_implementation": config.attention} if config.attention else {}
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        where,
        dtype=_dtype(config),
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # told with all else that does not fit
        **chosen,
        **options,
    )
    check_complete(config.name, model, info)
    return model, transformers.AutoTokenizer.from_pretrained(where, **options)


def _dtype(config: ModelConfig) -> Any:
    return config.dtype if config.dtype == "auto" else getattr(torch, config.dtype)


@torch.no_grad()
def _check_causal(config: ModelConfig, model: Any) -> None:
    """Raise `UserError` where what the model says of a token moves with a later one. Families that have names here are
    known not to unless their configuration says so; of others the library loads encoders, too."""
    text = model.config.get_text_config()
    told = getattr(text, "is_causal", True) is False or bool(getattr(text, "use_bidirectional_attention", False))
    if model.config.model_type in FAMILIES.names() and not told:
        return
    tokens = torch.arange(8).repeat(2, 1)
    tokens[1, -1] = 0
    # Each in a pass of its own: experts may be computed together for all tokens of one.
    try:
        first, second = (model.eval()(input_ids=row[None], use_cache=False).logits.float() for row in tokens)
    except Exception as error:  # a door: whatever code came with the weights
        raise _unloadable(config, error) from None
    moved, size = (first - second)[:, :-1].abs().max(), first.std()
    if moved > max(1e-4, 4 * torch.finfo(model.dtype).eps) * size:
        raise UserError(
            f"{config.name!r} ({model.config.model_type}) sees later tokens: they change what it says of a token.",
            "a causal language model, which predicts each token from those before it",
            "choose a decoder; an encoder such as BERT is none, whatever head it has.",
        )


def check_device(name: str) -> None:
    """Raise `UserError` for a device that this machine has not."""
    if why := _lacks(name, torch.float32):
        raise UserError(
            f"The device {name!r} cannot be used: {why}",
            "a device that this PyTorch finds on this machine",
            "use cpu, as --device or as the field device of a configuration.",
        )


def float64_device(name: str) -> str:
    """Where dictionaries are beside a model on the device `name`: there too, or on the CPU where it has no float64
    (Apple's), in which they keep scales and thresholds."""
    return "cpu" if _lacks(name, torch.float64) and not _lacks(name, torch.float32) else name


def _lacks(name: str, dtype: torch.dtype) -> str | None:
    """Why a device does not hold numbers of this kind; None where it does."""
    try:
        torch.zeros(1, dtype=dtype, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:  # each for another absent device
        return str(error).splitlines()[0]
    return None


def _check_files(folder: Path) -> None:
    """Raise `OSError` for a pipe or a device in a local folder: the loader would read it."""
    for path in folder.glob("*"):
        if path.exists() and not path.is_dir():
            regular(path)


def _reachable(where: str) -> bool:
    """Whether the hub answers for this name; asked once, where the loader would ask for each file and retry for half a
    minute.

    Raises what the hub says of a name that it does not know.
    """
    try:
        HfApi().model_info(where, timeout=_HUB_TIMEOUT_S)
    except (HFValidationError, RepositoryNotFoundError):
        raise
    except Exception:  # no network, or told to stay offline: what was downloaded earlier may do
        return False
    return True


def _unloadable(config: ModelConfig, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if config.attention and ("attn_implementation" in reason or config.attention in reason):
        return UserError(
            f"{config.name!r} cannot compute attention as {config.attention!r}: {reason[:600]}",
            "a way that transformers has for it, such as eager or sdpa, with the packages that it takes",
            "choose another --attention, or leave it out.",
        )
    found = Path(config.name)
    kind = "folder" if found.is_dir() else "file" if is_gguf(found) else "name"
    return UserError(
        f"The model {kind} {config.name!r} cannot be loaded: {reason[:600]}",
        "`embedded`, `embedded-b`, `smollm2`, a folder with config.json, weights and tokenizer, a GGUF file, or a "
        "reachable Hugging Face name",
        "check the spelling, the files and the network; --trust-remote-code allows code that comes with the weights.",
    )
