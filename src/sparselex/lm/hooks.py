"""Edit and read: forward hooks put on for one pass and taken off again."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.lm.families import SITES
from sparselex.lm.hookpoints import Location
from sparselex.lm.subject import Edit

Act = Callable[[Tensor], Tensor | None]
"""Sees the whole tensor that passes a module; what it returns, if anything, takes its place."""


class Stop(Exception):
    """Raised inside a forward pass when everything asked for has been read."""


class Visit:
    """What one forward pass over `shape` (batch, context) tokens does at its hooks, and what it found there."""

    def __init__(self, edits: Mapping[Hook, Edit], read: Sequence[Hook], shape: tuple[int, int]):
        self.edits, self.read, self.shape = dict(edits), list(dict.fromkeys(read)), shape
        self.values: dict[str, Tensor] = {}
        self.edited: set[Hook] = set()

    @property
    def missed(self) -> list[Hook]:
        """Hooks at which the pass has not been."""
        return [*(hook for hook in self.read if hook not in self.values), *sorted(self.edits.keys() - self.edited)]

    @contextlib.contextmanager
    def of(self, model: nn.Module, locations: Mapping[Hook, Location], *, grad: bool, stops: bool) -> Iterator[None]:
        """Put the hooks on while this is open, edits before readings: what is read is what an edit left. Where several
        places are one module's input, as the stream and what the MLP reads of it, they come in the order of the pass.

        With `grad` a value read is put back as the tensor that the rest of the pass uses, so that gradients reach it;
        with `stops` the pass ends as soon as everything has been read.
        """
        edits, readings = list(self.edits), list(self.read)
        ordered = [(turn_of(hook, is_read=False), hook, self._changing(hook, locations[hook])) for hook in edits]
        ordered += [
            (turn_of(hook, is_read=True), hook, self._keeping(hook, locations[hook], grad, stops)) for hook in readings
        ]
        with contextlib.ExitStack() as stack:
            for _, hook, act in sorted(ordered, key=lambda one: one[0]):  # stable: else as they were given
                stack.enter_context(hooked(model, locations[hook], act))
            with contextlib.suppress(Stop):
                yield

    def _changing(self, hook: Hook, location: Location) -> Act:
        def change(tensor: Tensor) -> Tensor:
            self.edited.add(hook)
            return with_value(location, tensor, self.edits[hook](self._value(location, tensor)), self.shape)

        return change

    def _keeping(self, hook: Hook, location: Location, grad: bool, stops: bool) -> Act:
        def keep(tensor: Tensor) -> Tensor | None:
            value = self._value(location, tensor) if grad else value_in(location, tensor, self.shape)
            if grad and not value.requires_grad:
                value = value.detach().requires_grad_()
            self.values[hook] = value.clone() if location.overwritten and not grad else value
            if stops and len(self.values) == len(self.read):
                raise Stop
            return with_value(location, tensor, value, self.shape) if grad else None  # a copy where it is overwritten

        return keep

    def _value(self, location: Location, tensor: Tensor) -> Tensor:
        """The value as something that writing into `tensor` does not change."""
        return value_in(location, tensor.clone() if location.in_place else tensor, self.shape)


def turn_of(hook: Hook, *, is_read: bool) -> tuple[int, bool]:
    """Where a hook's turn is among those of one module: canonical ones in the order of the pass, each edited before it
    is read; modules by their paths are edited first and read last."""
    if hook.is_module:
        return (len(SITES) if is_read else -1), is_read
    return (SITES.index(hook.site) if hook.site in SITES else 0), is_read


def value_in(location: Location, tensor: Tensor, shape: tuple[int, int]) -> Tensor:
    """The value `[batch, ctx, width]` inside the tensor that passes the module."""
    tensor = _by_token(tensor, shape, location)
    if location.scale != 1:
        tensor = tensor * location.scale
    return (tensor if location.piece is None else location.piece(tensor)).flatten(2)


def with_value(location: Location, tensor: Tensor, new: Tensor, shape: tuple[int, int]) -> Tensor:
    """The tensor with `new` in the place of the value."""
    if location.scale != 1:
        new = new / location.scale
    if location.piece is not None:
        whole = tensor.clone()
        piece = location.piece(_by_token(whole, shape, location))
        piece.copy_(new.reshape(piece.shape))
        return whole
    if location.in_place:
        return tensor.copy_(new.reshape(tensor.shape))
    new = new.to(tensor.dtype).reshape(tensor.shape)
    return new.clone() if location.overwritten else new


def _by_token(tensor: Tensor, shape: tuple[int, int], location: Location) -> Tensor:
    if tensor.ndim == 2 and tensor.shape[0] == shape[0] * shape[1]:
        return tensor.view(*shape, -1)  # OPT flattens tokens before its MLP, experts are chosen for each
    if tensor.ndim < 3 or tuple(tensor.shape[:2]) != shape:
        raise UserError(
            f"What passes {location.path} has the shape {[*tensor.shape]}, of {shape[0]} rows of {shape[1]} tokens.",
            "a module whose values are of one token each, [rows, tokens, width]",
            "choose another module.",
        )
    return tensor


@contextlib.contextmanager
def hooked(model: nn.Module, location: Location, act: Act) -> Iterator[None]:
    """While this is open, `act` sees what passes a place, and what it returns takes its place. Raises `UserError` in
    the pass for a module that returns no tensor."""

    def before(module: nn.Module, args: tuple, kwargs: dict) -> tuple | None:
        if args:
            new = act(args[0])
            return None if new is None else ((new, *args[1:]), kwargs)
        name = "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))
        new = act(kwargs[name])
        return None if new is None else (args, {**kwargs, name: new})

    def after(module: nn.Module, args: tuple, output: Any) -> Any:
        if isinstance(output, Tensor):
            return act(output)
        if not (isinstance(output, tuple) and output and isinstance(output[0], Tensor)):
            raise UserError(
                f"The module {location.path} returns {type(output).__name__}, and no tensor.",
                "a module that returns a tensor, alone or as the first of a tuple",
                "choose a module inside it.",
            )
        new = act(output[0])
        return None if new is None else (new, *output[1:])

    module = model.get_submodule(location.path)
    if location.side == "input":
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()
