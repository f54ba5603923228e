"""Several processes that train one dictionary: where this one stands, and the few sums that all of them need.

Processes form a grid of data by latents (a device mesh): those of one column share a batch among them, those of one row
share the latents. A process alone is a grid of one, for which every function here gives back what it was given.
"""

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from sparselex.base.errors import ElsewhereError, UserError, a
from sparselex.dictionaries.sparse.products import WHOLE, nth_largest

T = TypeVar("T")

_LONGEST_WAIT = timedelta(days=7)

_DIGIT_BITS = 11
"""Bits of a number that one histogram settles: three rounds of 2,048 counts find a float32 exactly."""

_DRAWN_ROWS = 1024
"""Rows drawn at a time where others' are dropped. Torch draws normal numbers by sixteens: ranges of rows in multiples
of 16 give the numbers that all rows drawn at once would be."""


class Ranks:
    """This process's place among those that train together."""

    _opened_here: ClassVar[bool] = False
    """Whether it was training that connected this process with others."""

    @classmethod
    def from_environment(cls, n_latents: int = 1, device: str = "cpu") -> "Ranks":
        """This process's place as `torchrun` set it, the latents divided among `n_latents` of every such group; alone
        without torchrun.

        Raises `UserError` if the processes cannot be arranged like that.
        """
        n = int(os.environ.get("WORLD_SIZE", "1"))
        if n_latents < 1 or n % n_latents:
            raise UserError(
                f"{n} process(es) cannot divide the latents among {n_latents}.",
                "a divisor of their number",
                "start more with torchrun --nproc-per-node, or divide among fewer.",
            )
        if n == 1:
            return ALONE
        if not dist.is_initialized():
            if device != "cpu":
                dist.init_process_group("cpu:gloo,cuda:nccl")
            else:  # one may be hours behind the others; that one has died the connection tells at once
                dist.init_process_group("gloo", timeout=_LONGEST_WAIT)
        kind = "cuda" if device != "cpu" else "cpu"
        return cls(init_device_mesh(kind, (n // n_latents, n_latents), mesh_dim_names=("data", "latents")))

    @classmethod
    @contextmanager
    def connected(cls, n_latents: int = 1, device: str = "cpu") -> "Iterator[Ranks]":
        """`from_environment` for as long as a `with` lasts. Raises like it.

        Connections that were opened for it last as long as the process, which may train again and cannot open them
        twice. They are closed when it ends; not after an error, when others may wait for this process, and closing
        would wait for them.
        """
        atexit.unregister(_disconnect)
        were_open = dist.is_initialized()
        ranks = cls.from_environment(n_latents, device)
        cls._opened_here |= dist.is_initialized() and not were_open
        yield ranks
        if cls._opened_here:
            atexit.register(_disconnect)

    def __init__(self, mesh: DeviceMesh | None = None):
        """`mesh` has the dimensions `data` and `latents`; None for a process alone."""
        self.mesh = mesh
        self.n_data, self.n_latents = (1, 1) if mesh is None else (mesh.size(0), mesh.size(1))
        self.data, self.latents = (
            (0, 0) if mesh is None else (mesh.get_local_rank("data"), mesh.get_local_rank("latents"))
        )

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.n_data * self.n_latents == 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes what all of them made."""
        return self.data == self.latents == 0

    def wait(self) -> None:
        """Go on when all processes have come this far. Raises `ElsewhereError` when one of them has ended."""
        if self.is_alone:
            return
        try:
            dist.barrier()
        except RuntimeError as error:  # which is all that the library below says of a closed connection
            raise ElsewhereError(
                f"Another of the {self.n_data * self.n_latents} processes has ended.",
                "all of them, until the work is done",
                "see what it said, then run the same command again: finished work is kept.",
            ) from error

    def begin(self, prepare: Callable[[], T]) -> T:
        """What `prepare` gives, when all processes have it. A `UserError` that it raises in all of them is raised as
        such in the main one alone, which tells it, and as `ElsewhereError` in the others."""
        try:
            found = prepare()
        except UserError:
            if not self.is_main:
                self.wait()
            raise
        self.wait()
        return found

    def total(self, value: Tensor) -> Tensor:
        """Sum over all processes, without gradients."""
        return self._summed(value, None) if not self.is_alone else value

    def least(self, value: float, device: torch.device) -> float:
        """The smallest of all processes' numbers."""
        if self.is_alone:
            return value
        found = torch.tensor(value, dtype=torch.float64, device=device)
        dist.all_reduce(found, dist.ReduceOp.MIN)
        return float(found)

    def over_data(self, value: Tensor) -> Tensor:
        """Sum over the processes that share a batch, without gradients."""
        return self._summed(value, "data") if self.n_data > 1 else value

    def over_latents(self, value: Tensor) -> Tensor:
        """Sum over the processes that share the latents; the gradient goes to this process's part as if it were alone
        with it, since each of them computes the same loss from the sum."""
        return value if self.n_latents == 1 else _Sum.apply(value, self)

    def mean_over_all(self, value: Tensor) -> Tensor:
        """What is summed over latents and averaged over data, for a term that is no plain sum; the gradient as in
        `over_latents`."""
        if self.is_alone:
            return value
        return value + (self._summed(value.detach(), None) / self.n_data - value.detach())

    def share_of(self, value: Tensor) -> Tensor:
        """Of a term that each of those that share the latents has whole, this one's share of the sum; the gradient is
        that of the whole."""
        return value if self.n_latents == 1 else value + (value / self.n_latents - value).detach()

    def shared(self, parameter: Tensor) -> Tensor:
        """A parameter that all share, used by each process's latents for themselves: its gradient is the sum of all
        their uses."""
        return parameter if self.n_latents == 1 else _Shared.apply(parameter, self)

    def gather_latents(self, value: Tensor) -> Tensor:
        """`[..., m]` of each of those that share the latents side by side, `[..., n_latents m]`, without gradients."""
        if self.n_latents == 1:
            return value
        parts = [torch.empty_like(value) for _ in range(self.n_latents)]
        dist.all_gather(parts, value.detach().contiguous(), group=self._group("latents"))
        return torch.cat(parts, dim=-1)

    def gather_data(self, value: Tensor) -> Tensor:
        """`[m, ...]` of each of those that share a batch, one after another as in the batch; m may differ. Without
        gradients."""
        if self.n_data == 1:
            return value
        counts = torch.zeros(self.n_data, dtype=torch.int64, device=value.device)
        counts[self.data] = len(value)
        counts = self.over_data(counts)
        gathered = value.new_zeros(int(counts.sum()), *value.shape[1:])
        gathered[int(counts[: self.data].sum()) :][: len(value)] = value.detach()
        return self.over_data(gathered)

    def place_in_latents(self, n: int, device: torch.device) -> tuple[int, int]:
        """Where this one's `n` begin among those of all that share the latents, and how many these are together."""
        counts = self.gather_latents(torch.tensor([n], device=device)).tolist()
        return sum(counts[: self.latents]), sum(counts)

    def same(self, value: Tensor) -> Tensor:
        """The main process's `value`, for what each computes of the same data and rounding could make differ."""
        if not self.is_alone:
            value = value.detach().clone().contiguous()
            dist.broadcast(value, 0)
        return value

    def randn(self, n: int, width: int, generator: torch.Generator | None) -> Float[Tensor, "n_here {width}"]:
        """This process's rows of `torch.randn(n, width)`, to the bit, without ever holding all."""
        if self.n_latents == 1:
            return torch.randn(n, width, generator=generator)
        n_here, n_parts = n // self.n_latents, max(1, n // _DRAWN_ROWS)
        first, kept = self.latents * n_here, list[Tensor]()
        for number in range(n_parts):
            start = number * _DRAWN_ROWS
            # What is left over could be too little to be drawn by sixteens: the last part takes it.
            end = n if number + 1 == n_parts else start + _DRAWN_ROWS
            rows = torch.randn(end - start, width, generator=generator)
            kept.append(rows[max(0, first - start) : max(0, first + n_here - start)].clone())
        return torch.cat(kept)

    def part(self, whole: Tensor, dim: int, n_blocks: int = 1) -> Tensor:
        """This process's part of `whole` along `dim`, the latents: of each of `n_blocks` equal ranges the same part."""
        if self.n_latents == 1:
            return whole
        ranges = whole.unflatten(dim, (n_blocks, self.n_latents, -1)).select(dim + 1, self.latents)
        return ranges.flatten(dim, dim + 1)

    def whole(self, part: Tensor, dim: int, n_blocks: int = 1) -> Tensor | None:
        """The tensor whose `part` lies here, on the CPU of the main process; None in the others, which gather it too
        and drop it at once."""
        if self.n_latents == 1 or self.data:
            return part.detach().cpu() if self.is_main else None
        # Half a second to import, which every command would wait for, and few divide their latents.
        from torch.distributed.tensor import DTensor, Shard

        assert self.mesh is not None
        here = part.detach().unflatten(dim, (n_blocks, -1)).contiguous()
        found = DTensor.from_local(here, self.mesh["latents"], [Shard(dim + 1)]).full_tensor()
        return found.flatten(dim, dim + 1).cpu() if self.is_main else None

    def nth_largest(self, values: Float[Tensor, " m"], n: int) -> Float[Tensor, ""]:
        """The `n`-th largest of all processes' `values` together (none negative, at least `n`), exactly.

        Bits of floats above zero order like the floats: each round counts how often each value of the next digit occurs
        and adds up the counts of all processes. No value leaves its process.
        """
        if self.is_alone:
            return nth_largest(values, n)
        whole = WHOLE[values.dtype]
        bits, shift, found = values.detach().view(whole).to(torch.int64), 8 * values.element_size() - 1, 0
        while shift:
            width = min(_DIGIT_BITS, shift)
            inside = bits[(bits >> shift) == found]
            shift -= width
            digits = (inside >> shift) & ((1 << width) - 1)
            from_above = self.total(torch.bincount(digits, minlength=1 << width)).flip(0).cumsum(0)
            place = int((from_above < n).sum())
            n -= int(from_above[place - 1]) if place else 0
            found = (found << width) | ((1 << width) - 1 - place)
        return torch.tensor(found, dtype=whole, device=values.device).view(values.dtype)

    def largest(self, values: Float[Tensor, " m"], n_keep: int) -> Bool[Tensor, " m"]:
        """Which of `values` are among the `n_keep` largest of all processes together; among equals at the cut the first
        ones are."""
        if self.count(values) <= n_keep:
            return torch.ones_like(values, dtype=torch.bool)
        smallest = self.nth_largest(values, n_keep)
        keep = values >= smallest
        surplus = self.count(values[keep]) - n_keep
        if surplus > 0:
            equal = (values == smallest).nonzero().view(-1)
            mine = max(0, min(len(equal), surplus - self._after(len(equal), values.device)))
            keep[equal[len(equal) - mine :]] = False
        return keep

    def count(self, values: Tensor) -> int:
        """How many entries all processes have together."""
        return int(self.total(torch.tensor(len(values), device=values.device)))

    def _after(self, n: int, device: torch.device) -> int:
        """The sum of `n` over the processes after this one."""
        if self.is_alone:
            return 0
        counts = [torch.zeros((), dtype=torch.int64, device=device) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, torch.tensor(n, device=device))
        return int(torch.stack(counts)[dist.get_rank() + 1 :].sum())

    def _summed(self, value: Tensor, dimension: str | None) -> Tensor:
        value = value.detach().clone().contiguous()
        dist.all_reduce(value, group=self._group(dimension))
        return value

    def _group(self, dimension: str | None) -> Any:
        assert self.mesh is not None
        return None if dimension is None else self.mesh.get_group(dimension)


class _Sum(torch.autograd.Function):
    # Each must get the same bits: what they share would drift apart by gradients that differ in rounding.
    @staticmethod
    def forward(ctx, value: Tensor, ranks: Ranks) -> Tensor:
        return ranks._summed(value, "latents")

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, parameter: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return parameter.view_as(parameter)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks._summed(grads[0], "latents"), None


def _disconnect() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


ALONE = Ranks()
"""A process by itself."""


def even_part(d_sae: int, n_blocks: int, ranks: Ranks, kind: str, dims: object) -> None:
    """Raise `UserError` if a dictionary of this kind and width, in `n_blocks` equal ranges, cannot be divided among
    these processes."""
    if ranks.n_latents == 1:
        return
    if not dims:
        raise UserError(
            f"The latents of {a(kind)} dictionary cannot be divided among processes.",
            "a type that says how its tensors are divided (`latent_dims`), such as batchtopk",
            "divide the data only.",
        )
    if d_sae // n_blocks % ranks.n_latents:
        each = "" if n_blocks == 1 else " of each layer"
        raise UserError(
            f"{d_sae // n_blocks} latents{each} cannot be divided evenly among {ranks.n_latents} processes.",
            "a multiple",
            "choose another width.",
        )
