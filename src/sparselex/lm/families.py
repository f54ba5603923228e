"""Where each architecture keeps the values that canonical hooks name. A family of another package is one more row."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from torch import Tensor

from sparselex.base.registry import Registry

Part = Callable[[Tensor, int], Tensor]
"""A view into the tensor of a fused projection, `[batch, ctx, ...]`, given the number of heads."""

Scale = Callable[[Any], float]
"""A number that a model's configuration carries, given that configuration (of the text model)."""

SITES = (
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
"""The canonical sites of a block, in the order of the forward pass."""

OF_HEADS = ("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z")
"""Those that are divided into heads."""

ADDED = ("hook_attn_out", "hook_mlp_out")
"""Those that are added to the residual stream as they are."""


class Site(NamedTuple):
    """Where a value lives in a block: the input or the output of one module."""

    path: str
    """Dotted path of the module, relative to the block; empty for the block itself."""

    side: Literal["input", "output"]
    """Whether the value is what the module reads or what it returns."""

    in_place: bool = False
    """The value is also used past this module (the residual stream at a norm), so an edit must write into it."""

    part: Part | None = None
    """The piece of the tensor that is meant, where a projection is fused."""

    through: str = ""
    """Dotted path, relative to the block, of the norm through which what the module makes of the value joins the
    residual stream; empty where it is added as it is."""


def _one(config: Any) -> float:
    return 1.0


class Family(NamedTuple):
    """Where one architecture keeps its parts."""

    layers: str
    """Dotted path of the list of blocks."""

    final_norm: str
    """Dotted path of the norm before the unembedding; empty where the blocks normalise the stream themselves."""

    sites: dict[str, Site]
    """Canonical site to its place in a block."""

    residual_scale: Scale = _one
    """What the outputs of attention and MLP are multiplied by on their way into the stream. `hook_attn_out` and
    `hook_mlp_out` are read and edited behind it."""

    logit_scale: Scale = _one
    """What the unembedding's products are multiplied by."""


def _third(number: int) -> Part:
    def part(x: Tensor, n_heads: int) -> Tensor:
        width = x.shape[-1] // 3
        return x[..., number * width : (number + 1) * width]

    return part


def _third_of_each_head(number: int) -> Part:
    # GPT-NeoX stores q, k and v of one head side by side; the slice is no flat view.
    return lambda x, n_heads: x.unflatten(-1, (n_heads, 3, -1))[..., number, :]


def _sites(
    *, mid: str, attn: str, out: str, mlp: str, down: str, after_attn: str = "", after_mlp: str = ""
) -> dict[str, Site]:
    """The common sites of a pre-norm block; `after_*` are post-norms through which an output joins the stream."""
    return {
        "hook_resid_pre": Site("", "input"),
        "hook_resid_mid": Site(mid, "input", in_place=True),
        "hook_resid_post": Site("", "output"),
        "hook_attn_out": Site(after_attn or f"{attn}.{out}", "output"),
        "attn.hook_z": Site(f"{attn}.{out}", "input", through=after_attn),
        "hook_mlp_in": Site(mlp, "input"),
        "mlp.hook_post": Site(down, "input", through=after_mlp),
        "hook_mlp_out": Site(after_mlp or down, "output"),
    }


def _separate(attn: str) -> dict[str, Site]:
    return {f"attn.hook_{letter}": Site(f"{attn}.{letter}_proj", "output") for letter in "qkv"}


def _fused(path: str, part: Callable[[int], Part]) -> dict[str, Site]:
    return {f"attn.hook_{letter}": Site(path, "output", part=part(number)) for number, letter in enumerate("qkv")}


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
_GPT2_SITES = _fused("attn.c_attn", _third) | _sites(
    mid="ln_2", attn="attn", out="c_proj", mlp="mlp", down="mlp.c_proj"
)
_NEOX_SITES = _fused("attention.query_key_value", _third_of_each_head) | _sites(
    mid="post_attention_layernorm", attn="attention", out="dense", mlp="mlp", down="mlp.dense_4h_to_h"
)
_OPT_SITES = _separate("self_attn") | _sites(
    mid="final_layer_norm", attn="self_attn", out="out_proj", mlp="fc1", down="fc2"
)
_LLAMA = Family("model.layers", "model.norm", _LLAMA_SITES)

FAMILIES: Registry[Family] = Registry(
    "family",
    {
        "gpt2": Family("transformer.h", "transformer.ln_f", _GPT2_SITES),
        "gpt_neox": Family("gpt_neox.layers", "gpt_neox.final_layer_norm", _NEOX_SITES),
        "llama": _LLAMA,
        "mistral": _LLAMA,
        "qwen2": _LLAMA,
        "qwen3": _LLAMA,
        "gemma": _LLAMA,
        "gemma2": _LLAMA._replace(sites=_GEMMA2_SITES),
        "gemma3_text": _LLAMA._replace(sites=_GEMMA2_SITES),
        "granite": _LLAMA._replace(
            residual_scale=lambda config: config.residual_multiplier,
            logit_scale=lambda config: 1 / config.logits_scaling,
        ),
        "opt": Family("model.decoder.layers", "model.decoder.final_layer_norm", _OPT_SITES),
    },
)
"""Families by the `model_type` of their configuration; other packages add theirs as entry points
`sparselex.family`."""
