"""Hook names of TransformerLens, in which the files of other projects say where a dictionary belongs. Most are ours;
some name another tensor of the same width, which nothing else would notice."""

from collections.abc import Sequence

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook

_THEIRS = {"hook_mlp_in": "mlp.hook_in"}
"""Our sites that are called otherwise there. What the MLP reads, behind its norm, has no name in TransformerLens;
circuit-tracer gives it this one. Elsewhere a name that is not known is better than one that means something else."""

_OURS = {"mlp.hook_in": "hook_mlp_in", "hook_mlp_in": "hook_resid_mid"}
"""Their sites that are called otherwise here. Their `hook_mlp_in` is the residual stream before the norm of the MLP."""

OF_HEADS = "hook_z"
"""What SAELens calls a reshaping of heads side by side to one vector, as our `attn.hook_z` is."""


def names_there(hooks: Sequence[Hook]) -> str:
    """Our hooks by their names, without a single hook's head, which has a field of its own; empty for none."""
    named = [_renamed(hook, _THEIRS) for hook in hooks]
    return named[0].rpartition(":")[0] if head_of(hooks) is not None else "+".join(named)


def head_of(hooks: Sequence[Hook]) -> int | None:
    """The one head of the one hook; None where all heads are read, or several hooks."""
    return hooks[0].head if len(hooks) == 1 else None


def reshapes(hooks: Sequence[Hook]) -> bool:
    """Whether their hook gives heads apart where ours gives them side by side."""
    return any(hook.site.endswith(OF_HEADS) and hook.head is None for hook in hooks)


def name_here(name: str, head: object = None) -> str:
    """What a place by their name is called here, `head` being the one that the file means if it means one. A name that
    is no hook stays as it is."""
    parts = []
    for part in name.split("+") if name else ():
        try:
            hook = Hook(part)
        except UserError:
            parts.append(part)
            continue
        renamed = _renamed(hook, _OURS)
        alone = isinstance(head, int) and hook.head is None and "+" not in name
        parts.append(f"{renamed}:{head}" if alone else renamed)
    return "+".join(parts)


def _renamed(hook: Hook, names: dict[str, str]) -> str:
    if hook.layer is None or hook.site not in names:
        return str(hook)
    return f"blocks.{hook.layer}.{names[hook.site]}" + ("" if hook.head is None else f":{hook.head}")
