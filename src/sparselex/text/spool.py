"""The tokens of all documents on disk, in the order of reading, until it is known which split each belongs to."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Spool:
    """A raw file of token ids that is written once, and then read document by document as often as is wanted."""

    def __init__(self, path: Path, dtype: type[np.unsignedinteger[Any]]):
        self.path, self.dtype = path, np.dtype(dtype)
        self.lengths = list[int]()
        """Tokens of each document."""
        self._file = open(path, "wb")

    def add(self, ids: Sequence[int]) -> None:
        """Write the tokens of the next document."""
        self._file.write(np.array(ids, dtype=self.dtype).tobytes())
        self.lengths.append(len(ids))

    def close(self) -> None:
        """Nothing more is written."""
        self._file.close()

    def documents(self) -> Iterator[NDArray[np.unsignedinteger[Any]]]:
        """Token ids of each document, in order."""
        with open(self.path, "rb") as file:
            for length in self.lengths:
                yield np.frombuffer(file.read(length * self.dtype.itemsize), dtype=self.dtype)
