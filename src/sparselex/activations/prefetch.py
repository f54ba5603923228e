"""Reading ahead: a process of its own runs the model over the next blocks while this one trains on the last."""

import pickle
import signal
import traceback
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch
import torch.multiprocessing
from numpy.typing import NDArray

from sparselex.activations.source import Batch, Telling, Told, Units
from sparselex.base.errors import UserError
from sparselex.base.memory import keep_freed_memory

_END_TIMEOUT_S = 10

_TELL_S = 1.0
"""While a block is waited for, how far it is is told this often."""


class PrefetchedUnits:
    """Units whose next blocks are read in the background, with the same numbers in the same order as without.

    The process is started at the first read and gets the units themselves: a model's weights are moved to shared memory
    and not copied (on a GPU both processes use the one copy). It reads what it is asked for, one block after the other,
    and at most `ahead` blocks are asked for beyond the one in hand: that bounds the memory. What has been read ahead is
    nobody's state, so the position of a `ShuffledSource` over these units is that of the batches given out. It computes
    with as many threads as this process, since their number decides how sums are rounded.

    What goes wrong there is raised here, when the block concerned is asked for. The process ends with `close`, with
    this process however that ends (the pipe breaks), and when the object is no longer used.
    """

    def __init__(self, units: Units, ahead: int = 1):
        """`units` must survive pickling, as `LiveUnits` and `StoredUnits` do; `ahead` is at least 1."""
        if ahead < 1:
            raise UserError(f"ahead is {ahead}.", "at least 1 block", "use the units themselves to read nothing ahead.")
        self._units, self.ahead = units, ahead
        self.n_units, self.tokens_per_unit = units.n_units, units.tokens_per_unit
        self._asked: deque[NDArray[np.int64]] = deque()
        self._worker: tuple[BaseProcess, Connection] | None = None
        self._end: weakref.finalize | None = None
        self._told: Told | None = None
        # A count in shared memory and not messages: a pipe that nobody empties while a block is trained on fills up.
        self._n_read, self._n_told = torch.zeros((), dtype=torch.int64), 0

    @property
    def d_in(self) -> int:
        """Width of what is read."""
        return self._units.d_in

    @property
    def d_out(self) -> int | None:
        """Width of the target; None where there is none of its own."""
        return self._units.d_out

    def tell(self, told: Told | None) -> None:
        """Call `told` with the tokens that have been read there since it was last called, while a block is waited
        for."""
        self._told = told

    def read(self, units: NDArray[np.int64], then: Sequence[NDArray[np.int64]] = ()) -> Batch:
        """Activations of the chosen units; the first `ahead` choices of `then` are begun meanwhile.

        Raises what reading raises there, as it is if it is a `UserError`; and `UserError` if the process is gone.
        """
        process, pipe = self._worker or self._start()
        wanted = [units, *then[: self.ahead]]
        try:
            if not _begins_with(wanted, self._asked):
                self._forget(pipe)
            for choice in wanted[len(self._asked) :]:
                pipe.send(choice)
                self._asked.append(choice)
            while not pipe.poll(_TELL_S):
                self._tell()
            answer = pipe.recv()
        except (EOFError, ConnectionError, FileNotFoundError):  # the last: its socket for tensors is gone
            raise self._gone(process) from None
        self._asked.popleft()
        self._tell()
        return _unpacked(answer)

    def positions(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the tokens of the chosen units lie; read in this process."""
        return self._units.positions(units)

    def close(self) -> None:
        """End the process. A later read would start another."""
        if self._end is not None:
            self._end()
        self._worker = None
        self._asked.clear()

    def _start(self) -> tuple[BaseProcess, Connection]:
        # CUDA does not survive a fork, nor do locks held by threads.
        context = torch.multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, torch.get_num_threads()), daemon=True)
        process.start()
        theirs.close()  # the worker's end must be open in the worker alone, or its death would go unnoticed
        self._end = weakref.finalize(self, _end, process, ours)
        self._worker = process, ours
        try:
            # Not as an argument: what a process is started with goes through a pipe whose other end is open here as
            # well, and were the process dead already, writing more than the pipe holds would never end.
            ours.send((self._units, self._n_read.share_memory_()))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self.close()
            raise UserError(
                f"{type(self._units).__name__} cannot be sent to another process: {error}.",
                "units that can be pickled",
                "train without --prefetch.",
            ) from None
        except (EOFError, ConnectionError):
            raise self._gone(process) from None
        return self._worker

    def _tell(self) -> None:
        n = int(self._n_read)
        if self._told and n > self._n_told:
            self._told(n - self._n_told)
        self._n_told = n

    def _forget(self, pipe: Connection) -> None:
        """Take and drop what was read ahead: somebody went to another position."""
        while self._asked:
            pipe.recv()
            self._asked.popleft()

    def _gone(self, process: BaseProcess) -> UserError:
        process.join(_END_TIMEOUT_S)
        code = process.exitcode
        self.close()
        return UserError(
            f"The process that reads ahead has ended (exit code {code}).",
            "a process that lives until training is done",
            "train again, it goes on where it was; if memory or /dev/shm is short, lower --prefetch or leave it out. "
            'A script of your own needs `if __name__ == "__main__":` around what it runs.',
        )


@contextmanager
def reading_ahead(units: Units, ahead: int) -> Iterator[Units]:
    """`units` with `ahead` blocks read by a process of their own while this is open; with 0 the units themselves."""
    if not ahead:
        yield units
        return
    with closing(PrefetchedUnits(units, ahead)) as feed:
        yield feed


def _begins_with(wanted: Sequence[NDArray[np.int64]], asked: Sequence[NDArray[np.int64]]) -> bool:
    return len(asked) <= len(wanted) and all(map(np.array_equal, asked, wanted))


def _end(process: BaseProcess, pipe: Connection) -> None:
    pipe.close()
    process.terminate()  # it holds nothing that would have to be saved
    process.join(_END_TIMEOUT_S)
    process.close()


def _unpacked(answer: tuple[Any, ...]) -> Batch:
    kind, *content = answer
    if kind == "refused":
        raise UserError(*content)
    if kind == "failed":
        raise RuntimeError(f"Reading ahead failed:\n{content[0]}")
    x, positions, target = content
    return Batch(x, positions.numpy(), target)


def _serve(pipe: Connection, n_threads: int) -> None:
    """The worker: take the units, then answer one request after the other until the pipe breaks."""
    # Ctrl-C reaches the whole group; the parent decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(n_threads)
    keep_freed_memory()
    try:
        units, n_read = pipe.recv()
        if isinstance(units, Telling):
            units.tell(n_read.add_)
        while True:
            pipe.send(_answer(units, pipe.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # closed, or the parent is dead


def _answer(units: Units, choice: NDArray[np.int64]) -> tuple[Any, ...]:
    try:
        read = units.read(choice)
        target = None if read.target is None else read.target.share_memory_()
        return "block", read.x.share_memory_(), torch.from_numpy(read.positions).share_memory_(), target
    except UserError as error:
        return "refused", error.given, error.expected, error.todo
    except Exception:  # a worker's door: whatever it is, the parent must hear of it
        return "failed", traceback.format_exc()
