"""Are weights and architecture of each other? What loading said of each tensor, held against what may be otherwise."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sparselex.base.errors import UserError

_SHOWN = 4

_FREQUENCIES = "inv_freq"
"""Of rotary embeddings: models have them once, earlier versions had them in each block."""

_MASKS = {
    "codegen": r"h\.\d+\.attn\.causal_mask",
    "gpt2": r"h\.\d+\.attn\.(masked_)?bias",
    "gpt_neo": r"h\.\d+\.attn\.attention\.(masked_)?bias",
    "gpt_neox": r"layers\.\d+\.attention\.(masked_)?bias",
    "gptj": r"h\.\d+\.attn\.(masked_)?bias",
}
"""Masks that earlier versions of transformers saved with a family's weights, under names as a weight might have."""


def check_complete(name: str, model: Any, info: Mapping[str, Any]) -> None:
    """Raise `UserError` where the weights of the model called `name` are not those of its architecture: what lacks a
    tensor would get random numbers in its place, and what nothing reads was learned for something.

    `info` is what loading said (`output_loading_info` of transformers).
    """
    parts = {
        "missing": info["missing_keys"],
        "read by nothing": _not_computed(info["unexpected_keys"], model),
        "of another shape": {f"{key} {[*given]} for {[*wanted]}" for key, given, wanted in info["mismatched_keys"]},
    }
    found = [f"{words}: {_named(sorted(keys))}" for words, keys in parts.items() if keys]
    if found:
        raise UserError(
            f"The weights of {name!r} are not those of its architecture ({'; '.join(found)}).",
            "a tensor for each weight of the model that config.json names, and no others",
            "compare config.json with the weights' files: another architecture, a part of the checkpoint, or a head "
            "that is not in it.",
        )


def _not_computed(keys: Iterable[str], model: Any) -> set[str]:
    """Those of the `keys` of tensors that the model does not compute: what it does, such as masks, positions and
    frequencies, earlier versions saved."""
    buffers, kept = ({_bare(name, model) for name in names} for names in (_buffers(model), model.state_dict()))
    computed, masks = buffers - kept, _MASKS.get(model.config.model_type, "")
    has_frequencies = any(_ending(name) == _FREQUENCIES for name in computed)

    def is_computed(key: str) -> bool:
        frequencies = has_frequencies and _ending(key) == _FREQUENCIES
        return frequencies or key in computed or re.fullmatch(masks, key) is not None

    return {key for key in keys if not is_computed(_bare(key, model))}


def _buffers(model: Any) -> Iterator[str]:
    return (name for name, _ in model.named_buffers())


def _ending(key: str) -> str:
    return key.rpartition(".")[2]


def _bare(key: str, model: Any) -> str:
    """A name as it is inside the model without its head: checkpoints of both are read."""
    return key.removeprefix(f"{model.base_model_prefix}.")


def _named(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more
