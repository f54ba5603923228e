"""Memory that large arrays come from."""

import ctypes
import platform
from functools import lru_cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Let this process keep freed blocks for the next array of that size, instead of giving them back to the system.

    By default glibc maps every array of more than some megabytes anew and unmaps it when it is freed, so each step of a
    training run pays for tens of thousands of page faults: a third of the time of a sparse step (docs/lab-log.md). Peak
    memory stays what it was; it is given back when the process ends. Elsewhere than on glibc nothing is changed.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
