"""Arrays that strangers wrote with NumPy: what they claim is compared with what is there before memory is taken."""

import math
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np

_HEAD = 1 << 16
"""Bytes in which the header of an array ends that is no stranger's joke."""


def check_claim(path: Path) -> None:
    """Raise `ValueError` for an array that claims more than lies in its file: memory of any size would be taken for it,
    or numbers read beside it, where the product of its axes is more than a machine's word can hold."""
    with open(path, "rb") as file:
        _check(file.read(_HEAD), path.stat().st_size)


def check_claims(path: Path) -> None:
    """The same of each array in an npz file."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".npy"):
                with archive.open(entry) as file:
                    _check(file.read(_HEAD), entry.file_size)


def _check(head: bytes, n_bytes: int) -> None:
    file = BytesIO(head)
    is_first = np.lib.format.read_magic(file) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    n_there = n_bytes - file.tell()
    if any(axis < 0 for axis in shape) or math.prod(shape) * dtype.itemsize > n_there:
        raise ValueError(f"it claims an array of {list(shape)}, and {n_there} bytes of it are there")
