"""Places in a model as the files of other projects name them: by modules, or by words and a layer's number."""

import re
from reprlib import repr as shortened

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.convert.settings import Settings

_LAYERS = r"(?:model\.|language_model\.|transformer\.|gpt_neox\.|base_model\.|decoder\.)*(?:layers|h|blocks)\.(\d+)"
"""The list of blocks in the modules of models, by its path from any place above."""

_SITES = {
    "": "hook_resid_post",
    "output": "hook_resid_post",
    "input": "hook_resid_pre",
    "self_attn.o_proj.input": "attn.hook_z",
    "pre_feedforward_layernorm.output": "hook_mlp_in",
    "post_feedforward_layernorm.output": "hook_mlp_out",
}
"""Sites of a block that one module's input or output is in every family, by that module; those of Gemma Scope 2 too."""

_WORDS = {"resid_post": "hook_resid_post", "resid_pre": "hook_resid_pre", "resid_mid": "hook_resid_mid"}
"""dictionary_learning's words before `_layer_<i>`. What its `mlp_out` and `attn_out` are is a module (`module_paths`):
where that joins the stream differs between models."""

_ROOTS = ("", "model.", "transformer.", "gpt_neox.", "model.language_model.", "model.decoder.")
_LISTS = ("model.layers", "gpt_neox.layers", "transformer.h", "model.language_model.layers", "model.decoder.layers")
_PARTS = {"mlp": ("mlp", "feed_forward", "block_sparse_moe"), "attn": ("self_attn", "attn", "attention")}


def place_here(name: str) -> str:
    """Our name for places that files name, several joined by `+`; what has none stays as it is."""
    return "+".join(_one(part) for part in name.split("+"))


def _one(name: str) -> str:
    if (match := re.fullmatch(rf"{_LAYERS}(?:\.(.+))?", name)) and (match[2] or "") in _SITES:
        return f"blocks.{match[1]}.{_SITES[match[2] or '']}"
    if (match := re.fullmatch(r"(\w+?)_layer_?(\d+)", name)) and match[1] in _WORDS:
        return f"blocks.{match[2]}.{_WORDS[match[1]]}"
    return name


def head_of(cfg: Settings, hook: str) -> int | None:
    """The one head that is read at `hook`; None for all. Raises `UserError` for a number that is none, and where none
    of our hooks or several are read."""
    head = cfg.agreed("hook_head_index", "hook_point_head_index")
    if head is None:
        return None
    if type(head) is not int or head < 0:
        raise cfg.fault(f"hook_head_index is {shortened(head)}, which is no number of a head")
    if "+" in hook:
        raise cfg.fault(f"hook_head_index is {head}, and it reads several places ({hook})")
    try:
        named = Hook(hook).head
    except UserError:
        raise cfg.fault(
            f"hook_head_index is {head}, and the place {shortened(hook)} is no hook that has heads"
        ) from None
    if named not in (None, head):
        raise cfg.fault(f"hook_head_index is {head}, and the place is {hook}")
    return head


def module_paths(name: str) -> list[str]:
    """Paths of modules that a name which has no hook of ours may mean, the likeliest first: which of them a model has,
    the model says. Empty for a name that is no path."""
    if match := re.fullmatch(r"(mlp|attn)(?:_out)?_layer_?(\d+)", name):
        return [f"{layers}.{match[2]}.{part}" for layers in _LISTS for part in _PARTS[match[1]]]
    name = name.removesuffix(".output")
    return [root + name for root in _ROOTS] if re.fullmatch(r"\w+(\.\w+)*", name) else []
