"""What a pass leaves for later ones, which then compute only what lies behind a place in depth and a token in position.

Modules that had finished before the place give what they gave; keys and values of tokens before the first one computed
are those that were kept. Nothing here knows an architecture: whether a model can be taken up again so is tried on a few
tokens (`TransformersModel.keep`), and one that cannot runs whole.
"""

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.lm.families import SITES
from sparselex.lm.hookpoints import Location


@dataclass(frozen=True)
class Past:
    """Keys and values of the tokens that a pass has read, which those that follow them look back at."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    """Of each layer keys and values, `[batch, heads, ctx, d_head]`."""

    @property
    def n_tokens(self) -> int:
        """Tokens of a row."""
        return self.layers[0][0].shape[2]

    @property
    def bytes_per_token(self) -> int:
        """Memory of one token's keys and values."""
        n_rows = self.layers[0][0].shape[0]
        return sum(part.nbytes for layer in self.layers for part in layer) // max(1, n_rows * self.n_tokens)

    def of(self, rows: Int[Tensor, " n"] | None, until: int) -> "Past":
        """These rows (None for all), and the tokens before `until`."""
        chosen = lambda x: x[:, :, :until] if rows is None else x[rows, :, :until]
        return Past(tuple((chosen(keys), chosen(values)) for keys, values in self.layers))


@dataclass(frozen=True)
class Kept:
    """A pass over some tokens, as later passes need it that change something at `hook` or behind it."""

    hook: Hook
    """Where later passes begin."""

    tokens: Int[Tensor, "batch ctx"]
    """What was read."""

    values: Float[Tensor, "batch ctx width"]
    """What was at `hook`."""

    last: Float[Tensor, "batch ctx d_last"]
    """What the unembedding read."""

    since: int = 0
    """First position that later passes compute."""

    finished: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """What modules that had finished before the hook gave, call by call, by their dotted paths; empty where later
    passes run all of the depth."""

    block: int | None = None
    """The block that the hook is in; None where that is not known."""

    layers: str = ""
    """Dotted path of the blocks."""

    ends: tuple[str, ...] = ()
    """Modules behind the blocks."""

    skipped: tuple[str, ...] = ()
    """Blocks before those, which hand on what they are given."""

    past: Past | None = None
    """Keys and values; None where later passes run all positions."""

    gives: str = ""
    """Dotted path of the module that gives what is at the hook, and what is beside it in a fused projection; empty
    where a module reads it."""

    def of(self, rows: Int[Tensor, " n"], since: int = 0) -> "Kept":
        """These rows, in this order and as often as they are named, of which later passes compute the positions from
        `since` on. Raises `UserError` for a position that there is not."""
        if not 0 <= since < self.tokens.shape[1]:
            raise UserError(
                f"Position {since} of rows of {self.tokens.shape[1]} tokens was asked for.",
                f"a position from 0 to {self.tokens.shape[1] - 1}",
                "count positions from 0, the first token's.",
            )
        rows = rows.to(self.tokens.device)
        shape = (self.tokens.shape[0], self.tokens.shape[1])
        there = rows.to(self.values.device)
        return replace(
            self,
            tokens=self.tokens[rows],
            values=self.values[there],
            last=self.last[there],
            since=since,
            finished={path: [_rows(one, shape, there) for one in given] for path, given in self.finished.items()},
            # From the first position on nothing is looked back at, and copies would cost what they weigh.
            past=None if self.past is None or not since else self.past.of(there, self.past.n_tokens),
        )

    def until(self, stop: int) -> "Kept":
        """The same without the tokens from `stop` on, which no token before them sees."""
        shape = (self.tokens.shape[0], self.tokens.shape[1])
        cut = lambda tensor: tensor[:, :stop] if tuple(tensor.shape[:2]) == shape else _cut(tensor, shape, stop)
        return replace(
            self,
            tokens=self.tokens[:, :stop],
            values=self.values[:, :stop],
            last=self.last[:, :stop],
            finished={path: [_each(one, cut) for one in given] for path, given in self.finished.items()},
            past=None if self.past is None else self.past.of(None, stop),
        )

    def apart(self, rows: Int[Tensor, " n"], positions: Int[Tensor, " n"]) -> "Kept":
        """Single tokens, each as a row of its own: what later passes make of them is right only where nothing behind
        the hook looks at other tokens, or asks where in its row a token stands."""
        shape, flat = (self.tokens.shape[0], self.tokens.shape[1]), rows * self.tokens.shape[1] + positions

        def chosen(tensor: Tensor) -> Tensor:
            by_row = tuple(tensor.shape[:2]) == shape
            one = (tensor.flatten(0, 1) if by_row else tensor)[flat.to(tensor.device)]
            return one[:, None] if by_row else one

        return replace(
            self,
            tokens=chosen(self.tokens),
            values=chosen(self.values),
            last=chosen(self.last),
            since=0,
            finished={path: [_each(one, chosen) for one in given] for path, given in self.finished.items()},
            past=None,
        )

    def check(self, locations: Mapping[Hook, Location]) -> None:
        """Raise `UserError` if one of these places lies, or may lie, in what is not computed again."""
        for hook, location in locations.items():
            if self.finished and hook.whole != self.hook.whole and not self._is_behind(hook, location):
                raise UserError(
                    f"{str(hook)!r} lies before {str(self.hook)!r}, from which on the model runs again.",
                    "a hook at that place or behind it",
                    "keep the pass at the earliest hook that is read or edited.",
                )

    def _is_behind(self, hook: Hook, location: Location) -> bool:
        if self.gives and location.path == self.gives and location.side == "output":
            return True
        if any(location.path == done or location.path.startswith(f"{done}.") for done in self.done):
            return False
        inside = re.match(re.escape(self.layers) + r"\.(\d+)\b", location.path)
        if inside is None:  # of modules outside of the blocks those at the end alone
            return location.path in self.ends
        if int(inside[1]) != self.block:
            return int(inside[1]) > (self.block or 0)
        if hook.is_module:  # what a module gives that had not finished comes behind
            return True
        if self.hook.is_module:
            return location.side == "output"
        return SITES.index(hook.site) >= SITES.index(self.hook.site)

    @property
    def done(self) -> tuple[str, ...]:
        """Modules that are not run again."""
        return (*self.finished, *self.skipped)


@contextlib.contextmanager
def recording(
    model: nn.Module,
    layers: str,
    layer: int,
    location: Location,
    shape: tuple[int, int],
    known: Collection[str] | None = None,
) -> Iterator[dict[str, list[Any]]]:
    """While this is open, what the modules gave that finish before a place in a block: of each token something. A
    module inside another that has finished is left out. The dictionary is filled when it closes.

    `known` are the modules of which it is known that they give something of each token; without it the shape tells,
    which a row of as many tokens as there are heads deceives.
    """
    found: dict[str, list[Any]] = {}
    given: dict[str, list[Any]] = {}
    reached = False

    def reach(*_: Any) -> None:
        nonlocal reached
        reached = True

    def keep(path: str) -> Callable[..., None]:
        def record(module: nn.Module, args: Any, output: Any) -> None:
            if not reached:
                given.setdefault(path, []).append(_kept(output, shape))

        return record

    block = f"{layers}.{layer}"
    watched = [f"{layers}.{layer - 1}"] if layer else []
    watched += [f"{block}.{name}".rstrip(".") for name, _ in model.get_submodule(block).named_modules()]
    with contextlib.ExitStack() as stack:
        for path in watched:
            # Before a person's own hooks: those act again on what the module is made to give.
            stack.callback(model.get_submodule(path).register_forward_hook(keep(path), prepend=True).remove)
        site = model.get_submodule(location.path)
        put = site.register_forward_pre_hook if location.side == "input" else site.register_forward_hook
        stack.callback(put(reach).remove)
        yield found
    whole = {path: outputs for path, outputs in given.items() if all(one is not None for one in outputs)}
    whole = {path: outputs for path, outputs in whole.items() if known is None or path in known}
    inside = lambda path: any(path.startswith(f"{other}.") for other in whole)
    found.update({path: outputs for path, outputs in whole.items() if not inside(path)})


@contextlib.contextmanager
def taken_up(model: nn.Module, kept: Kept) -> Iterator[None]:
    """While this is open, modules that had finished give what they gave, at the positions that are computed."""
    with contextlib.ExitStack() as stack:
        before = kept.tokens.shape[0], kept.tokens.shape[1]
        for path, outputs in kept.finished.items():
            cut = [_since(one, before, kept.since) for one in outputs]
            stack.enter_context(_forward(model.get_submodule(path), cut))
        for path in kept.skipped:
            last = kept.finished[f"{kept.layers}.{len(kept.skipped)}"]
            stack.enter_context(_forward(model.get_submodule(path), None, as_tuple=isinstance(last[0], tuple)))
        yield


@contextlib.contextmanager
def _forward(module: nn.Module, outputs: Sequence[Any] | None, *, as_tuple: bool = False) -> Iterator[None]:
    """Another forward for a while: its first calls give `outputs`; without any it hands on its first argument."""
    own, before = module.__dict__.get("forward"), module.forward
    left = list(outputs or [])

    def forward(*args: Any, **kwargs: Any) -> Any:
        if outputs is None:
            stream = args[0] if args else kwargs["hidden_states"]
            return (stream,) if as_tuple else stream
        return left.pop(0) if left else before(*args, **kwargs)

    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.__dict__["forward"]
        else:
            module.forward = own


def _kept(output: Any, shape: tuple[int, int]) -> Any | None:
    """A copy, for what follows may write into it; None for what is not of tokens. Of a tuple the first is kept: what
    else there is are weights of attention and the like, which nothing reads."""
    if isinstance(output, tuple) and output:
        first = _kept(output[0], shape)
        return None if first is None else (first, *(None for _ in output[1:]))
    return output.detach().clone() if isinstance(output, Tensor) and _by_token(output, shape) else None


def _by_token(tensor: Tensor, shape: tuple[int, int]) -> bool:
    return tuple(tensor.shape[:2]) == shape or (tensor.ndim == 2 and tensor.shape[0] == shape[0] * shape[1])


def _each(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(output, tuple):
        return tuple(change(one) if isinstance(one, Tensor) else one for one in output)
    return change(output)


def _rows(output: Any, shape: tuple[int, int], rows: Tensor) -> Any:
    def chosen(tensor: Tensor) -> Tensor:
        if tuple(tensor.shape[:2]) == shape:
            return tensor[rows]
        return tensor.unflatten(0, shape)[rows].flatten(0, 1)

    return _each(output, chosen)


def _cut(tensor: Tensor, shape: tuple[int, int], stop: int) -> Tensor:
    return tensor.unflatten(0, shape)[:, :stop].flatten(0, 1)


def _since(output: Any, shape: tuple[int, int], since: int) -> Any:
    """A copy from this position on: what follows may write into it."""

    def cut(tensor: Tensor) -> Tensor:
        if tuple(tensor.shape[:2]) == shape:
            return tensor[:, since:].clone()
        return tensor.unflatten(0, shape)[:, since:].flatten(0, 1).clone()

    return _each(output, cut)
