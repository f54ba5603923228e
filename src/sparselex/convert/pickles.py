"""Packed files looked through before they are opened: what they would unpack to, and what their pickles would call."""

import pickletools
import re
import zipfile
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import torch

_CALLED = re.compile(
    r"collections OrderedDict|torch\.nn\.parameter Parameter|torch\._utils _rebuild_(tensor|tensor_v2|parameter)"
    r"|torch (?!\w*Tensor$)\w+|torch\.cuda \w+Storage"
)
"""What a table of tensors is made of. Of what `weights_only` allows besides, some takes any amount of memory for a
number that it is given."""

_MOST_STEPS = 100_000
"""Steps of a pickle; a tensor takes about 45."""

_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_ZIP = b"PK\x03\x04"
_OLD_PICKLES = 5
"""Of a file from before they were zipped: two marks, what wrote it, the table, and the names of what lies behind."""


class RefusedError(ValueError):
    """What is found in a file that is whole, and never opened."""


def check_unpacked(path: Path, most: int) -> None:
    """Raise `RefusedError` where a zipped file unpacks to more than `most` bytes."""
    with zipfile.ZipFile(path) as archive:
        n_bytes = sum(entry.file_size for entry in archive.infolist())
    if n_bytes > most:
        raise RefusedError(f"it unpacks to {n_bytes} bytes, and in a file of its size {most} at most are read")


def check_pickles(path: Path, most: int) -> None:
    """Raise `RefusedError` where the pickles in a file of `torch.save` call for more than tensors, or where it unpacks
    to more than `most` bytes; whatever else is raised says that it is damaged."""
    with open(path, "rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            file.seek(0)
            for _ in range(_OLD_PICKLES):
                _check_pickle(file)
            return
    check_unpacked(path, most)
    # By the reader that opens it afterwards: of two readers each could find a pickle of its own.
    _check_pickle(BytesIO(torch._C.PyTorchFileReader(str(path)).get_record("data.pkl")))


def _check_pickle(file: BufferedReader | BytesIO) -> None:
    before, tuples = "", set[Any]()
    for number, (step, argument, _) in enumerate(pickletools.genops(file)):
        if number > _MOST_STEPS:
            raise RefusedError("its pickle is longer than that of a table of tensors")
        if step.name == "GLOBAL" and not _CALLED.fullmatch(str(argument)):
            raise RefusedError(f"it holds more than plain tensors ({argument}), which is never executed")
        if "PUT" in step.name and before in _TUPLES:
            tuples.add(argument)
        # A tuple of itself twice, of that twice and so on: its hash takes as long as all of them written out.
        if "GET" in step.name and argument in tuples:
            raise RefusedError("it refers to parts of itself")
        before = before if step.name == "PROTO" else step.name  # which does nothing
