"""The header of a GGUF file: how many bytes it promises. Read without the weights, which may not be there."""

import mmap
import struct
from pathlib import Path
from typing import Any, NamedTuple

MAGIC = b"GGUF"

_VERSIONS = (2, 3)
"""Versions whose header is read here; what is said of others is the reader's own."""

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value by its type."""

_UINT32, _STRING, _ARRAY = 4, 8, 9
_DEEPEST = 8
_ALIGNMENT = "general.alignment"
_ALIGNED_TO = 32
"""What tensors are aligned to where nothing is said of it."""


class Tensor(NamedTuple):
    """What the header says of a tensor."""

    name: str
    """Its name in llama.cpp."""

    n_values: int
    """How many numbers it has."""

    kind: int
    """How they are packed."""

    offset: int
    """Where it begins behind the header, in bytes."""


class Header(NamedTuple):
    """What a header says of the bytes behind it."""

    n_bytes: int
    """Bytes of the header, with what fills it up."""

    tensors: list[Tensor]
    """The tensors behind it."""

    def promised(self, block_sizes: dict[Any, tuple[int, int]]) -> int | None:
        """Bytes that the whole file has, where a block of `(values, bytes)` is known for each kind of tensor; else
        None."""
        if not all(tensor.kind in block_sizes for tensor in self.tensors):
            return None
        ends = (
            tensor.offset + -(-tensor.n_values // block_sizes[tensor.kind][0]) * block_sizes[tensor.kind][1]
            for tensor in self.tensors
        )
        return self.n_bytes + max(ends, default=0)


class Unknown(ValueError):
    """A header of another version or form than is read here."""


class CutShort(ValueError):
    """A file that ends inside its header."""


def read_header(path: Path) -> Header:
    """The header of a file. Raises `CutShort` for one that ends inside it, `Unknown` for one that is not read here, and
    `OSError` where the file cannot be opened."""
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise Unknown
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _header(_Cursor(data))


def _header(at: "_Cursor") -> Header:
    if at.number("<I") not in _VERSIONS:
        raise Unknown
    n_tensors, n_fields = at.number("<Q"), at.number("<Q")
    alignment = _ALIGNED_TO
    for _ in range(n_fields):
        name, kind = at.text(), at.number("<I")
        if name == _ALIGNMENT.encode() and kind == _UINT32:
            alignment = at.number("<I")
        else:
            at.skip_value(kind)
    tensors = [_tensor(at) for _ in range(n_tensors)]
    if not alignment:
        raise Unknown
    return Header(-(-at.place // alignment) * alignment, tensors)


def _tensor(at: "_Cursor") -> Tensor:
    name, n_values = at.text().decode(errors="backslashreplace"), 1
    for _ in range(at.number("<I")):
        n_values *= at.number("<Q")
    return Tensor(name, n_values, at.number("<I"), at.number("<Q"))


class _Cursor:
    """A place in the bytes of a header, that goes on as they are read."""

    def __init__(self, data: mmap.mmap):
        self._data, self._n, self.place = data, len(data), len(MAGIC)

    def number(self, form: str) -> int:
        start = self.place
        self._move(struct.calcsize(form))
        return int(struct.unpack_from(form, self._data, start)[0])

    def text(self) -> bytes:
        n = self.number("<Q")
        start = self.place
        self._move(n)
        return self._data[start : self.place]

    def skip_value(self, kind: int, depth: int = 0) -> None:
        if kind == _STRING:
            self._move(self.number("<Q"))
        elif kind == _ARRAY and depth < _DEEPEST:
            kind, n = self.number("<I"), self.number("<Q")
            if kind in _SIZES:
                self._move(n * _SIZES[kind])
            else:
                for _ in range(n):
                    self.skip_value(kind, depth + 1)
        elif kind in _SIZES:
            self._move(_SIZES[kind])
        else:
            raise Unknown

    def _move(self, n: int) -> None:
        if self.place + n > self._n:
            raise CutShort
        self.place += n
