"""The bytes of a text file, compressed or not, and whether they can be text at all."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

from sparselex.base.reading import regular

Binary = io.BufferedReader | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
"""An open file, unpacked while it is read."""

COMPRESSED: dict[str, Callable[..., Binary]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""How a file is opened whose name ends so."""

CUT = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
"""What reading a compressed file ends with that is cut off or damaged."""

MOST = 2**31
"""Bytes of a file that is read as a whole: a small one may unpack without end."""

_HEAD = 8192
"""Bytes in which a null byte tells that a file is no text, as git has it."""

_KINDS = {
    b"\xff\xfe": "it is UTF-16, and not UTF-8",
    b"\xfe\xff": "it is UTF-16, and not UTF-8",
    b"PAR1": "it is Parquet under another name",
    b"%PDF-": "it is a PDF",
    b"PK\x03\x04": "it is a zip archive",
    b"\x1f\x8b": "it is compressed with gzip under another name",
    b"\x28\xb5\x2f\xfd": "it is compressed with zstandard",
}
"""What the first bytes of a file tell."""


def ending_of(path: Path) -> str:
    """The ending of a file's name in small letters, that of a compression left out."""
    name = Path(path.name.lower())
    return Path(name.stem).suffix if name.suffix in COMPRESSED else name.suffix


def opened(path: Path) -> Binary:
    """The unpacked bytes of a file. Raises `OSError` where it is no regular file."""
    return COMPRESSED.get(path.suffix.lower(), open)(regular(path), "rb")


def opened_text(path: Path) -> Binary:
    """The same behind the mark of its byte order, if it begins with one. Raises `ValueError` for what is no text."""
    file = opened(path)
    try:
        head = file.read(_HEAD)
        for mark, said in _KINDS.items():
            if head.startswith(mark):
                raise ValueError(said)
        if b"\0" in head:
            raise ValueError("it is no text: it holds null bytes")
        file.seek(3 if head.startswith(b"\xef\xbb\xbf") else 0)
    except BaseException:
        file.close()
        raise
    return file


def whole(file: Binary) -> bytes:
    """All bytes that are left. Raises `ValueError` where these are more than `MOST`."""
    data = file.read(MOST + 1)
    if len(data) > MOST:
        raise ValueError(f"it holds more than {MOST:,} bytes, too many to be read at once")
    return data
