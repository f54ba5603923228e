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

_MARK = b"\xef\xbb\xbf"
"""Mark of the byte order of UTF-8; files that were written one behind another have several."""

_KINDS = {
    b"\xff\xfe\0\0": "it is UTF-32, and not UTF-8",  # before UTF-16, whose mark it begins with
    b"\0\0\xfe\xff": "it is UTF-32, and not UTF-8",
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
    """The same behind the marks of its byte order, if it begins with any. Raises `ValueError` for what is no text."""
    file = opened(path)
    try:
        head = file.read(_HEAD)
        for mark, said in _KINDS.items():
            if head.startswith(mark):
                raise ValueError(said)
        start = len(head) - len(_behind_marks(head))
        _check_null(head)
        file.seek(start)
    except BaseException:
        file.close()
        raise
    return file


def whole_text(file: Binary) -> str:
    """All text that is left. Raises `ValueError` for what is no UTF-8, for null bytes in it, and like `whole`."""
    data = whole(file)
    _check_null(data)
    return data.decode()


def line_text(line: bytes) -> str:
    """A line without its end. Raises `ValueError` for what is no UTF-8, and for null bytes in it."""
    _check_null(line)
    return line.decode().rstrip("\r\n")


def _check_null(data: bytes) -> None:
    if b"\0" in data:
        raise ValueError("it is no text: it holds null bytes")


def _behind_marks(data: bytes) -> bytes:
    while data.startswith(_MARK):
        data = data.removeprefix(_MARK)
    return data


def whole(file: Binary) -> bytes:
    """All bytes that are left. Raises `ValueError` where these are more than `MOST`."""
    data = file.read(MOST + 1)
    if len(data) > MOST:
        raise ValueError(f"it holds more than {MOST:,} bytes, too many to be read at once")
    return data
