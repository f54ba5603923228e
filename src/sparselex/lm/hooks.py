"""Capture and edit: forward hooks put on for one pass and taken off again."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from sparselex.lm.hookpoints import Site

Edit = Callable[[Tensor], Tensor]


class Stop(Exception):
    """Raised inside a forward pass when everything asked for has been captured."""


def read(site: Site, value: Tensor, n_heads: int, shape: tuple[int, int]) -> Tensor:
    """The site's value `[batch, context, width]` inside the tensor that passed through its module."""
    if value.ndim == 2:  # OPT flattens tokens before its MLP
        value = value.view(*shape, -1)
    return value if site.part is None else site.part.get(value, n_heads).flatten(2)


@contextlib.contextmanager
def capturing(
    model: nn.Module, sites: Mapping[str, Site], n_heads: int, shape: tuple[int, int]
) -> Iterator[dict[str, Tensor]]:
    """Fill the yielded dictionary during one forward pass, then raise `Stop` once nothing is missing."""
    found: dict[str, Tensor] = {}

    def see(name: str, site: Site) -> Callable[[Tensor], None]:
        def keep(value: Tensor) -> None:
            found[name] = read(site, value, n_heads, shape)
            if len(found) == len(sites):
                raise Stop

        return keep

    with contextlib.ExitStack() as stack:
        for name, site in sites.items():
            stack.enter_context(_hooked(model, site, see(name, site)))
        with contextlib.suppress(Stop):
            yield found


@contextlib.contextmanager
def editing(
    model: nn.Module, sites: Mapping[str, Site], edits: Mapping[str, Edit], n_heads: int, shape: tuple[int, int]
) -> Iterator[None]:
    """While open, the value of each site is replaced by what its edit makes of it."""

    def change(site: Site, edit: Edit) -> Edit:
        def apply(value: Tensor) -> Tensor:
            new = edit(read(site, value, n_heads, shape))
            if site.part is not None:
                whole = value.clone()
                piece = site.part.get(whole, n_heads)
                piece.copy_(new.view(piece.shape))
                return whole
            if site.in_place:
                return value.copy_(new.view(value.shape))
            return new.to(value.dtype).view(value.shape)

        return apply

    with contextlib.ExitStack() as stack:
        for name, edit in edits.items():
            stack.enter_context(_hooked(model, sites[name], change(sites[name], edit)))
        yield


@contextlib.contextmanager
def _hooked(model: nn.Module, site: Site, act: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """`act` sees the site's whole tensor; where it returns one, that takes its place."""

    def before(module: nn.Module, args: tuple, kwargs: dict) -> tuple | None:
        if args:
            new = act(args[0])
            return None if new is None else ((new, *args[1:]), kwargs)
        new = act(kwargs["hidden_states"])
        return None if new is None else (args, {**kwargs, "hidden_states": new})

    def after(module: nn.Module, args: tuple, output: Tensor | tuple) -> Tensor | tuple | None:
        value = output if isinstance(output, Tensor) else output[0]
        new = act(value)
        if new is None:
            return None
        return new if isinstance(output, Tensor) else (new, *output[1:])

    module = model.get_submodule(site.path)
    if site.side == "input":
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def causal_positions(tokens: Tensor) -> Tensor:
    """All-ones attention mask: every token is read, padding included (it stands last, so nothing reads it)."""
    return torch.ones_like(tokens)
