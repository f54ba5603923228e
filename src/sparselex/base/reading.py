"""Reading what may be anything: only regular files are opened, and what is no JSON is told by one kind of error."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

_DEEPEST = 100
_TOO_DEEP = "its lists and objects are nested too deeply"


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
    """The JSON value that `text` is. Raises `ValueError` where it is none, or none that can be worked with."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError:
        raise ValueError("it holds a whole number of too many digits") from None
    _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    """Raise `ValueError` for what is nested so deeply that printing or writing it would end in an error later."""
    level = [value]
    for _ in range(_DEEPEST):
        inside = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [child for children in inside for child in children]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def json_file(path: Path) -> Any:
    """The JSON value in a file. Raises `OSError` or `ValueError`, which an encoding other than UTF-8 is as well."""
    return parse_json(regular(path).read_text(encoding="utf-8"))
