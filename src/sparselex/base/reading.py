"""Reading what may be anything: only regular files are opened, and what is no JSON is told by one kind of error."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any


def regular(path: Path) -> Path:
    """`path`, where a regular file lies: a pipe would be waited for without end, and some devices never end.

    Raises `OSError` where none does.
    """
    try:
        mode = path.stat().st_mode
    except ValueError:  # what is no path at all, for a null byte in it
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.ENODEV, "It is no regular file", str(path))
    return path


def parse_json(text: str) -> Any:
    """The JSON value that `text` is. Raises `ValueError` where it is none, or none that Python can hold."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise ValueError("its lists and objects are nested too deeply") from None
    except ValueError:
        raise ValueError("it holds a whole number of too many digits") from None


def json_file(path: Path) -> Any:
    """The JSON value in a file. Raises `OSError` or `ValueError`, which an encoding other than UTF-8 is as well."""
    return parse_json(regular(path).read_text(encoding="utf-8"))
