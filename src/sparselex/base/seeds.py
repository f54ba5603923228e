"""Random numbers: every generator is made here from a seed and the words that say what it is for."""

import hashlib

import numpy as np

from sparselex.base.errors import UserError


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, independent of the seeds for all other purposes."""
    text = "\x1f".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def checked(seed: int) -> int:
    """The seed itself. Raises `UserError` for one that generators of some library do not take."""
    if not 0 <= seed < 2**63:
        raise UserError(f"{seed} was given as a seed.", "a whole number from 0 to 2^63 - 1", "give 0, say.")
    return seed


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A NumPy generator for one purpose."""
    return np.random.default_rng(derive(seed, *purpose))
