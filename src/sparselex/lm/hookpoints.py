"""From a hook to the module that it means, in one model."""

import difflib
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.lm.families import ADDED, FAMILIES, READ_ONLY, SITES, Family, Site

Piece = Callable[[Tensor], Tensor]
"""A view into the tensor that passes through a module, `[batch, ctx, ...]`."""


class Location(NamedTuple):
    """Where the value of a hook passes in one model."""

    path: str
    """Dotted path of the module."""

    side: Literal["input", "output"]
    """Whether the value is what the module reads or what it returns."""

    in_place: bool = False
    """The value is also used past this module, so an edit must write into it."""

    overwritten: bool = False
    """What follows writes into the tensor, so what is kept of it, and what takes its place, are copies."""

    piece: Piece | None = None
    """The piece of the tensor that is meant; None for all of it."""

    scale: float = 1.0
    """What the tensor is multiplied by on its way on: the value is the product."""


def family_of(model: Any) -> Family | None:
    """The family of a Hugging Face model, adjusted to its configuration; None for one we do not know."""
    if model.config.model_type not in FAMILIES.names():
        return None
    family, config = FAMILIES.get(model.config.model_type), model.config.get_text_config()
    sites = dict(family.sites)
    if getattr(config, "use_parallel_residual", False):
        sites.pop("hook_resid_mid", None)  # attention and MLP read the same stream: there is no value between them
    if getattr(config, "new_decoder_architecture", False) or getattr(config, "parallel_attn", False):
        sites.pop("hook_resid_mid", None)  # Falcon's words for it
    if getattr(config, "do_layer_norm_before", True) is False:
        # OPT-350m normalises the stream itself, in every block, and not again at the end.
        sites["hook_resid_mid"] = Site("self_attn_layer_norm", "output")
        family = family._replace(final_norm="")
    if getattr(config, "enable_moe_block", False):
        del sites["mlp.hook_post"]  # Gemma 4 adds up two branches, of which this is one
    return family._replace(sites=sites)


def names(family: Family | None, model: Any, n_layers: int) -> list[Hook]:
    """Every canonical hook of a model, in the order of the forward pass within each block."""
    if family is None:
        return []
    return [
        Hook(f"blocks.{layer}.{site}")
        for layer in range(n_layers)
        for site in SITES
        if site in family.sites and module_path(family, layer, family.sites[site].path, model) is not None
    ]


def module_path(family: Family, layer: int, path: str, model: nn.Module) -> str | None:
    """The dotted path in the model of the first of these alternatives that a block has; None if it has none."""
    block = f"{family.layers}.{layer}"
    for one in path.split("|"):
        whole = f"{block}.{one}".rstrip(".")
        with suppress(AttributeError):
            model.get_submodule(whole)
            return whole
    return None


def locate(hook: Hook, model: Any, family: Family | None, n_layers: int) -> Location:
    """Where the value of `hook` passes, all its heads. Raises `UserError` with the nearest names if there is none."""
    if hook.layer is None:
        return _module(hook, model)
    if family is None or hook.layer >= n_layers or hook.site not in family.sites:
        raise _unknown(hook, model, family, n_layers)
    site, config = family.sites[hook.site], model.config.get_text_config()
    path = module_path(family, hook.layer, site.path, model)
    if path is None:
        raise _unknown(hook, model, family, n_layers)
    part = site.part
    return Location(
        path,
        site.side,
        in_place=site.in_place,
        overwritten=site.overwritten,
        piece=None if part is None else lambda x: part(x, config),
        scale=family.residual_scale(config) if hook.site in ADDED else 1.0,
    )


def check_editable(hook: Hook, family: Family | None) -> None:
    """Raise `UserError` for a site that nothing reads, by its name or as the module that gives it: an edit there would
    change nothing and say nothing."""
    router = hook.site in READ_ONLY
    if hook.is_module and family is not None:
        inside = re.fullmatch(re.escape(family.layers) + r"\.\d+\.(.+)", hook.site)
        paths = [path for site in READ_ONLY if site in family.sites for path in family.sites[site].path.split("|")]
        router = inside is not None and inside[1] in paths
    if router:
        said = f"{str(hook)!r} can be read and not edited: the experts are chosen beside it."
        raise UserError(said, "a site that something later reads", "edit hook_mlp_in or hook_mlp_out.")


def of_head(location: Location, head: int, d_head: int) -> Location:
    """One head of a value whose heads stand side by side, each `d_head` wide."""

    def piece(x: Tensor) -> Tensor:
        x = x if location.piece is None else location.piece(x)
        if x.ndim == 5:  # in groups
            return x[..., head // x.shape[-2], head % x.shape[-2], :]
        heads = x if x.ndim == 4 else x.unflatten(-1, (-1, d_head))
        return heads[..., head, :]

    return location._replace(piece=piece)


def _module(hook: Hook, model: nn.Module) -> Location:
    modules = [known for known, _ in model.named_modules() if known]
    if hook.site in modules:
        return Location(hook.site, "output")
    near = difflib.get_close_matches(hook.site, modules, n=3, cutoff=0.4)
    raise UserError(
        f"The model has no module {hook.site!r}.",
        "the dotted path of a module, such as " + ", ".join(f"module:{name}" for name in near or modules[:3]),
        "print the model, or run `sparselex hooks MODEL`.",
    )


def _unknown(hook: Hook, model: Any, family: Family | None, n_layers: int) -> UserError:
    name = str(hook)
    if family is None:
        return UserError(
            f"{name!r} is a canonical hook name, and the architecture {model.config.model_type!r} has none here.",
            f"an architecture among {', '.join(FAMILIES.names())}, or a hook of the form module:<dotted path>",
            "use module:<dotted path>, such as module:" + next(n for n, _ in model.named_modules() if n),
        )
    known, blocks = names(family, model, n_layers), "blocks.0" if n_layers == 1 else f"blocks.0 … blocks.{n_layers - 1}"
    own = [one.site for one in known if one.layer == hook.layer]
    if hook.site == "hook_resid_mid" and own and "hook_mlp_out" in own:
        return UserError(
            f"{name!r} does not exist: attention and MLP of this model run in parallel on the same stream.",
            "a site of a parallel block",
            "use hook_resid_pre, hook_attn_out or hook_mlp_out of the same block.",
        )
    if hook.site in SITES and own:
        return UserError(
            f"{name!r} does not exist: block {hook.layer} of {model.config.model_type!r} has no such value.",
            f"one of its own: {', '.join(own)}",
            "choose one of these, another block, or module:<dotted path>.",
        )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return UserError(
        f"Unknown hook {name!r}.",
        f"{blocks} with one of {', '.join(family.sites)}, or module:<dotted path>",
        f"did you mean {', '.join(near)}?" if near else "run `sparselex hooks MODEL` for the whole list.",
    )
