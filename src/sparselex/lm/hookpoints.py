"""Canonical hook point names and the module each one means, for every family we know.

A name is `blocks.{layer}.<site>` or `module:<dotted path>` (the output of any module). Names are parsed here, once.
"""

import difflib
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from sparselex.base.errors import UserError


class Part(NamedTuple):
    """The piece of a fused projection that a site means: `get(tensor, n_heads)` is a view into `tensor`."""

    get: Callable[[Tensor, int], Tensor]


class Site(NamedTuple):
    """Where a value lives: the input or the output of one module."""

    path: str
    """Dotted path of the module; relative to the block in the tables, absolute once resolved."""

    side: Literal["input", "output"]
    """Whether the value is what the module reads or what it returns."""

    in_place: bool = False
    """The value is also used past this module (the residual stream at a norm), so an edit must write into it."""

    part: Part | None = None
    """The piece of the tensor that is meant, where a projection is fused."""


class HookPoint(NamedTuple):
    """A place that can be read and edited."""

    name: str
    width: int


def sites_of(hook: str) -> tuple[str, ...]:
    """The single hooks of `hook`, which may name several sites side by side: `one+other`."""
    return tuple(part.strip() for part in hook.split("+"))


class Family(NamedTuple):
    """Where one architecture keeps its parts."""

    layers: str
    final_norm: str
    sites: dict[str, Site]
    norm_offset: float = 0.0
    """Added to the final norm's weight (Gemma stores weight - 1)."""


def _third(number: int) -> Part:
    return Part(lambda x, n_heads: x.chunk(3, dim=-1)[number])


def _third_of_each_head(number: int) -> Part:
    # GPT-NeoX stores q, k and v of one head side by side; the slice is no flat view, so edits write through `get`.
    return Part(lambda x, n_heads: x.unflatten(-1, (n_heads, 3, -1))[..., number, :])


def _sites(
    *, mid: str, attn: str, out: str, mlp: str, down: str, after_attn: str = "", after_mlp: str = ""
) -> dict[str, Site]:
    """The common sites of a pre-norm block; `after_*` are post-norms through which an output joins the stream."""
    return {
        "hook_resid_pre": Site("", "input"),
        "hook_resid_mid": Site(mid, "input", in_place=True),
        "hook_resid_post": Site("", "output"),
        "hook_attn_out": Site(after_attn or f"{attn}.{out}", "output"),
        "attn.hook_z": Site(f"{attn}.{out}", "input"),
        "hook_mlp_in": Site(mlp, "input"),
        "mlp.hook_post": Site(down, "input"),
        "hook_mlp_out": Site(after_mlp or down, "output"),
    }


def _separate(attn: str) -> dict[str, Site]:
    return {f"attn.hook_{letter}": Site(f"{attn}.{letter}_proj", "output") for letter in "qkv"}


_LLAMA_SITES = _separate("self_attn") | _sites(
    mid="post_attention_layernorm", attn="self_attn", out="o_proj", mlp="mlp", down="mlp.down_proj"
)
_GEMMA2_SITES = _separate("self_attn") | _sites(
    mid="pre_feedforward_layernorm",
    attn="self_attn",
    out="o_proj",
    mlp="mlp",
    down="mlp.down_proj",
    after_attn="post_attention_layernorm",
    after_mlp="post_feedforward_layernorm",
)
_GPT2_SITES = _sites(mid="ln_2", attn="attn", out="c_proj", mlp="mlp", down="mlp.c_proj") | {
    f"attn.hook_{letter}": Site("attn.c_attn", "output", part=_third(number)) for number, letter in enumerate("qkv")
}
_NEOX_SITES = _sites(
    mid="post_attention_layernorm", attn="attention", out="dense", mlp="mlp", down="mlp.dense_4h_to_h"
) | {
    f"attn.hook_{letter}": Site("attention.query_key_value", "output", part=_third_of_each_head(number))
    for number, letter in enumerate("qkv")
}
_OPT_SITES = _separate("self_attn") | _sites(
    mid="final_layer_norm", attn="self_attn", out="out_proj", mlp="fc1", down="fc2"
)
_LLAMA = Family("model.layers", "model.norm", _LLAMA_SITES)

FAMILIES: dict[str, Family] = {
    "gpt2": Family("transformer.h", "transformer.ln_f", _GPT2_SITES),
    "gpt_neox": Family("gpt_neox.layers", "gpt_neox.final_layer_norm", _NEOX_SITES),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA._replace(norm_offset=1.0),
    "gemma2": Family("model.layers", "model.norm", _GEMMA2_SITES, norm_offset=1.0),
    "gemma3_text": Family("model.layers", "model.norm", _GEMMA2_SITES, norm_offset=1.0),
    "opt": Family("model.decoder.layers", "model.decoder.final_layer_norm", _OPT_SITES),
}
"""Families by the `model_type` of their configuration."""


def family_of(model: Any) -> Family | None:
    """The family of a Hugging Face model, adjusted to its configuration; None for one we do not know."""
    config = model.config
    family = FAMILIES.get(config.model_type)
    if family is None:
        return None
    sites = dict(family.sites)
    if getattr(config, "use_parallel_residual", False):
        del sites["hook_resid_mid"]  # attention and MLP read the same stream: there is no value between them
    if getattr(config, "do_layer_norm_before", True) is False:
        sites["hook_resid_mid"] = Site("self_attn_layer_norm", "output")  # OPT-350m normalises the stream itself
    return family._replace(sites=sites)


def names(family: Family | None, n_layers: int) -> list[str]:
    """Every canonical name of a model, in the order of the forward pass within each block."""
    order = (
        "hook_resid_pre",
        "attn.hook_q",
        "attn.hook_k",
        "attn.hook_v",
        "attn.hook_z",
        "hook_attn_out",
        "hook_resid_mid",
        "hook_mlp_in",
        "mlp.hook_post",
        "hook_mlp_out",
        "hook_resid_post",
    )
    sites = family.sites if family else {}
    return [f"blocks.{layer}.{site}" for layer in range(n_layers) for site in order if site in sites]


def resolve(name: str, model: nn.Module, n_layers: int) -> Site:
    """The site that `name` means in `model`. Raises `UserError` with the nearest names if there is none."""
    if name.startswith("module:"):
        return _module_site(name, model)
    family = family_of(model)
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    if family and match and int(match[1]) < n_layers and match[2] in family.sites:
        site = family.sites[match[2]]
        return site._replace(path=f"{family.layers}.{match[1]}.{site.path}".rstrip("."))
    raise _unknown(name, model, family, n_layers)


def _module_site(name: str, model: nn.Module) -> Site:
    path = name.removeprefix("module:")
    modules = [known for known, _ in model.named_modules() if known]
    if path not in modules:
        near = difflib.get_close_matches(path, modules, n=3, cutoff=0.4)
        raise UserError(
            f"The model has no module {path!r}.",
            "the dotted path of a module, such as " + ", ".join(f"module:{m}" for m in near or modules[:3]),
            "print the model, or run `sparselex hooks MODEL`.",
        )
    return Site(path, "output")


def _unknown(name: str, model: Any, family: Family | None, n_layers: int) -> UserError:
    if family is None:
        return UserError(
            f"{name!r} is a canonical hook name, and the architecture {model.config.model_type!r} has none here.",
            "an architecture among " + ", ".join(FAMILIES) + ", or a hook of the form module:<dotted path>",
            "use module:<dotted path>, such as module:" + next(n for n, _ in model.named_modules() if n),
        )
    if getattr(model.config, "use_parallel_residual", False) and name.endswith("hook_resid_mid"):
        return UserError(
            f"{name!r} does not exist: attention and MLP of this model run in parallel on the same stream.",
            "a site of a parallel block",
            "use hook_resid_pre, hook_attn_out or hook_mlp_out of the same block.",
        )
    known = names(family, n_layers)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return UserError(
        f"Unknown hook {name!r}.",
        f"blocks.0 … blocks.{n_layers - 1} with one of {', '.join(family.sites)}, or module:<dotted path>",
        f"did you mean {', '.join(near)}?" if near else "run `sparselex hooks MODEL` for the whole list.",
    )
