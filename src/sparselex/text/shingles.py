"""Shingles: the hash of every piece of 64 bytes of a text, and which of them are kept to compare texts by.

One in `SCALE` is kept, chosen by its hash and so the same in every text: what two texts share of what is kept tells
what they share of all (Broder 1997; Irber et al. 2022, "FracMinHash"). Bytes and no tokens: how a text is divided does
not depend on who reads it.
"""

import numpy as np
from numpy.typing import NDArray

WIDTH = 64
"""Bytes in a shingle: about 16 tokens. Below that code is full of chance repetitions."""

SCALE = 16
"""One shingle in so many is kept, more thinly where there is very much text."""

_FACTORS = np.array([0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93], dtype=np.uint64)


def shingles(data: bytes) -> NDArray[np.uint64]:
    """`[len(data) - 63]` the hash of the 64 bytes from every place on: of words of eight, then of two neighbours each.
    There must be 64."""
    words = np.empty(len(data) - 7, dtype=np.uint64)
    for offset in range(8):
        count = (len(data) - offset) // 8
        words[offset::8] = np.frombuffer(data, "<u8", count=count, offset=offset)
    for step in (8, 16, 32):
        words = mixed(words)
        words = words[:-step] * _FACTORS[1] + words[step:]
    return mixed(words)


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The same numbers with every bit depending on many (as in Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(32))) * _FACTORS[0]
    values ^= values >> np.uint64(29)
    return values


def bound(scale: int) -> np.uint64:
    """Hashes below this are one in `scale` (2 or more)."""
    return np.uint64(2**64 // scale)
