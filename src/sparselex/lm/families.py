"""Where each architecture keeps the values that canonical hooks name. A family of another package is one more row."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from torch import Tensor

from sparselex.base.registry import Registry

Part = Callable[[Tensor, Any], Tensor]
"""A view into the tensor of a fused projection, `[batch, ctx, ...]`, given the configuration (of the text model)."""

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
    "mlp.hook_router_logits",
    "mlp.hook_post",
    "hook_mlp_out",
    "hook_resid_post",
)
"""The canonical sites of a block, in the order of the forward pass."""

OF_HEADS = ("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z")
"""Those that are divided into heads."""

READ_ONLY = ("mlp.hook_router_logits",)
"""Those that nothing reads: a router hands the experts it chose on beside its logits."""

ADDED = ("hook_attn_out", "hook_mlp_out")
"""Those that are added to the residual stream as they are."""


class Site(NamedTuple):
    """Where a value lives in a block: the input or the output of one module."""

    path: str
    """Dotted path of the module, relative to the block; empty for the block itself. Of several joined by `|` the first
    that the block has; a block that has none of them has no such site."""

    side: Literal["input", "output"]
    """Whether the value is what the module reads or what it returns."""

    in_place: bool = False
    """The value is also used past this module (the residual stream at a norm), so an edit must write into it."""

    overwritten: bool = False
    """What follows writes into the tensor, so what is kept of it, and what takes its place, are copies."""

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

    block_scale: str = ""
    """Dotted path, relative to the block, of the tensor that its whole output is multiplied by; empty for none."""


def _third(number: int) -> Part:
    def part(x: Tensor, config: Any) -> Tensor:
        width = x.shape[-1] // 3
        return x[..., number * width : (number + 1) * width]

    return part


def _third_of_each_head(number: int) -> Part:
    # GPT-NeoX and Bloom store q, k and v of one head side by side; the slice is no flat view.
    return lambda x, config: x.unflatten(-1, (config.num_attention_heads, 3, -1))[..., number, :]


def _run_of_heads(number: int) -> Part:
    # Phi 3 stores all queries, then the keys, then the values, which may be fewer.
    def part(x: Tensor, config: Any) -> Tensor:
        n_shared = config.num_key_value_heads
        heads = x.unflatten(-1, (config.num_attention_heads + 2 * n_shared, -1))
        ends = [0, config.num_attention_heads, config.num_attention_heads + n_shared, heads.shape[-2]]
        return heads[..., ends[number] : ends[number + 1], :]

    return part


def _of_starcoder(number: int) -> Part:
    one = _third_of_each_head(number)

    def part(x: Tensor, config: Any) -> Tensor:
        if not config.multi_query:
            return one(x, config)
        width = config.hidden_size // config.num_attention_heads
        ends = [0, config.hidden_size, config.hidden_size + width, x.shape[-1]]
        return x[..., ends[number] : ends[number + 1]]

    return part


def _of_falcon(number: int) -> Part:
    one = _third_of_each_head(number)

    def part(x: Tensor, config: Any) -> Tensor:
        n_heads = config.num_attention_heads
        if not (config.new_decoder_architecture or config.multi_query):
            return one(x, config)
        # Groups of queries, each group followed by the one key and the one value that it shares.
        n_groups = config.num_kv_heads if config.new_decoder_architecture else 1
        groups = x.unflatten(-1, (n_groups, n_heads // n_groups + 2, -1))
        return groups[..., :-2, :] if number == 0 else groups[..., -3 + number, :]

    return part


def _ungated(x: Tensor, config: Any) -> Tensor:
    # Qwen 3.5 projects each head's query together with the gate of its output.
    return x.unflatten(-1, (config.num_attention_heads, 2, -1))[..., 0, :]


def _sites(*, mid: str, out: str, mlp: str, down: str, after_attn: str = "", after_mlp: str = "") -> dict[str, Site]:
    """The common sites of a block; `mid` is what reads the stream between attention and MLP, empty where they run in
    parallel; `after_*` are norms through which an output joins the stream."""
    between = {"hook_resid_mid": Site(mid, "input", in_place=True)} if mid else {}
    return between | {
        "hook_resid_pre": Site("", "input"),
        "hook_resid_post": Site("", "output"),
        "hook_attn_out": Site(after_attn or out, "output"),
        "attn.hook_z": Site(out, "input", through=after_attn),
        "hook_mlp_in": Site(mlp, "input"),
        "mlp.hook_post": Site(down, "input", through=after_mlp),
        "hook_mlp_out": Site(after_mlp or down, "output"),
    }


def _separate(attn: str) -> dict[str, Site]:
    return {f"attn.hook_{letter}": Site(f"{attn}.{letter}_proj", "output") for letter in "qkv"}


def _fused(path: str, part: Callable[[int], Part]) -> dict[str, Site]:
    return {f"attn.hook_{letter}": Site(path, "output", part=part(number)) for number, letter in enumerate("qkv")}


def _experts(sites: dict[str, Site], mlp: str, router: str) -> dict[str, Site]:
    """The same where some blocks, or all, choose among experts: what leaves the MLP is what they and a shared one give
    together, and a hidden layer is there in the dense ones alone."""
    return sites | {"hook_mlp_out": Site(mlp, "output"), "mlp.hook_router_logits": Site(router, "output")}


def _inside(family: Family) -> Family:
    """The same as the text model inside a multimodal one."""
    return family._replace(
        layers=family.layers.replace("model.", "model.language_model.", 1),
        final_norm=family.final_norm.replace("model.", "model.language_model.", 1),
    )


def _scaled(config: Any) -> float:
    return config.residual_multiplier


_SEPARATE = _separate("self_attn")
_STREAM = {"hook_resid_pre": Site("", "input"), "hook_resid_post": Site("", "output")}


def _llama(**places: str) -> dict[str, Site]:
    """The sites of Llama's block, but for what is said to lie elsewhere."""
    usual = {
        "mid": "post_attention_layernorm",
        "out": "self_attn.o_proj",
        "mlp": "mlp",
        "down": "mlp.down_proj",
    }
    return _SEPARATE | _sites(**usual | places)


_LLAMA = Family("model.layers", "model.norm", _llama())
_GEMMA2 = _LLAMA._replace(
    sites=_llama(
        mid="pre_feedforward_layernorm", after_attn="post_attention_layernorm", after_mlp="post_feedforward_layernorm"
    )
)
# Its larger ones add experts to a dense MLP, both behind norms of their own.
_GEMMA4 = _GEMMA2._replace(
    sites=_GEMMA2.sites | {"mlp.hook_router_logits": Site("router.proj", "output")}, block_scale="layer_scalar"
)
# Norms stand behind attention and MLP alone: both read the stream as it is.
_OLMO2 = _LLAMA._replace(
    sites=_llama(mid="mlp", after_attn="post_attention_layernorm", after_mlp="post_feedforward_layernorm")
)
_GLM4 = _LLAMA._replace(sites=_llama(after_attn="post_self_attn_layernorm", after_mlp="post_mlp_layernorm"))
_MIXTRAL = _LLAMA._replace(sites=_experts(_llama(), "mlp", "mlp.gate"))
_GRANITE = _LLAMA._replace(residual_scale=_scaled, logit_scale=lambda config: 1 / config.logits_scaling)
# Latent attention: keys and values come out of one compressed vector, queries in two parts.
_DEEPSEEK = _MIXTRAL._replace(sites={name: site for name, site in _MIXTRAL.sites.items() if name not in _SEPARATE})
_COHERE = _LLAMA._replace(sites=_llama(mid=""), logit_scale=lambda config: config.logit_scale)
# Three of four blocks mix tokens by a recurrence; what comes out of it is added like attention.
_QWEN35 = _LLAMA._replace(
    sites=_llama()
    | {
        "attn.hook_q": Site("self_attn.q_proj", "output", part=_ungated),
        "hook_attn_out": Site("self_attn.o_proj|linear_attn.out_proj", "output"),
    }
)
_QWEN35_MOE = _QWEN35._replace(sites=_experts(_QWEN35.sites, "mlp", "mlp.gate"))
_GPT2 = Family(
    "transformer.h",
    "transformer.ln_f",
    _fused("attn.c_attn", _third) | _sites(mid="ln_2", out="attn.c_proj", mlp="mlp", down="mlp.c_proj"),
)
_GPTJ = _GPT2._replace(sites=_separate("attn") | _sites(mid="", out="attn.out_proj", mlp="mlp", down="mlp.fc_out"))
_GPT_NEO = _GPT2._replace(
    sites=_separate("attn.attention") | _sites(mid="ln_2", out="attn.attention.out_proj", mlp="mlp", down="mlp.c_proj")
)
_NEOX_SITES = _fused("attention.query_key_value", _third_of_each_head) | _sites(
    mid="post_attention_layernorm", out="attention.dense", mlp="mlp", down="mlp.dense_4h_to_h"
)
_BLOOM = _GPT2._replace(
    sites=_fused("self_attention.query_key_value", _third_of_each_head)
    | _sites(
        mid="post_attention_layernorm",
        out="self_attention.dense",
        mlp="mlp.dense_h_to_4h",
        down="mlp.dense_4h_to_h",
    )
)
# It adds the attention's output into the tensor of the MLP's.
_FALCON = _BLOOM._replace(
    sites=_BLOOM.sites
    | _fused("self_attention.query_key_value", _of_falcon)
    | {"hook_mlp_out": Site("mlp.dense_4h_to_h", "output", overwritten=True)}
)
_OPT_SITES = _SEPARATE | _sites(mid="final_layer_norm", out="self_attn.out_proj", mlp="fc1", down="fc2")

FAMILIES: Registry[Family] = Registry(
    "family",
    {
        **dict.fromkeys(
            (
                "llama",
                "mistral",
                "ministral",
                "ministral3",
                "qwen2",
                "qwen3",
                "gemma",
                "smollm3",
                "bitnet",
                "olmo",
                "arcee",
                "ernie4_5",
                "glm",
                "helium",
                "hunyuan_v1_dense",
                "nemotron",
                "seed_oss",
                "stablelm",
            ),
            _LLAMA,
        ),
        **dict.fromkeys(("gemma2", "gemma3_text"), _GEMMA2),
        "gemma3": _inside(_GEMMA2),
        "gemma4_text": _GEMMA4,
        "gemma4": _inside(_GEMMA4),
        **dict.fromkeys(("olmo2", "olmo3", "exaone4"), _OLMO2),
        "glm4": _GLM4,
        "granite": _GRANITE,
        "granitemoe": _GRANITE._replace(
            sites=_experts(_llama(mlp="block_sparse_moe"), "block_sparse_moe", "block_sparse_moe.router")
        ),
        "apertus": _LLAMA._replace(sites=_llama(mid="feedforward_layernorm")),
        "starcoder2": _LLAMA._replace(sites=_llama(down="mlp.c_proj")),
        "phi3": _LLAMA._replace(sites=_llama() | _fused("self_attn.qkv_proj", _run_of_heads)),
        "phi": Family("model.layers", "model.final_layernorm", _llama(mid="", out="self_attn.dense", down="mlp.fc2")),
        **dict.fromkeys(("cohere", "cohere2"), _COHERE),
        **dict.fromkeys(("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "glm4_moe"), _MIXTRAL),
        "gpt_oss": _LLAMA._replace(sites=_experts(_llama(), "mlp", "mlp.router")),
        **dict.fromkeys(("deepseek_v2", "deepseek_v3"), _DEEPSEEK),
        **dict.fromkeys(("qwen3_next", "qwen3_5_moe_text"), _QWEN35_MOE),
        "qwen3_5_text": _QWEN35,
        "lfm2": Family(
            "model.layers",
            "model.embedding_norm",
            _llama(mid="ffn_norm", out="self_attn.out_proj", mlp="feed_forward", down="feed_forward.w2")
            | {"hook_attn_out": Site("self_attn.out_proj|conv.out_proj", "output")},
        ),
        "gpt2": _GPT2,
        "gpt_bigcode": _GPT2._replace(sites=_GPT2.sites | _fused("attn.c_attn", _of_starcoder)),
        "gpt_neo": _GPT_NEO,
        "gptj": _GPTJ,
        "gpt_neox": Family("gpt_neox.layers", "gpt_neox.final_layer_norm", _NEOX_SITES),
        "bloom": _BLOOM,
        "falcon": _FALCON,
        "opt": Family("model.decoder.layers", "model.decoder.final_layer_norm", _OPT_SITES),
        **dict.fromkeys(("mamba", "mamba2", "falcon_mamba"), Family("backbone.layers", "backbone.norm_f", _STREAM)),
    },
)
"""Families by the `model_type` of their configuration; other packages add theirs as entry points
`sparselex.family`."""
