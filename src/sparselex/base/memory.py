"""Memory that large arrays come from."""

import ctypes
import os
import platform
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


ROOT = Path("/")
"""Where the system tells what there is."""


def free_memory(root: Path = ROOT) -> int | None:
    """Bytes that this process can still have, as far as the system tells: what is available on the machine (elsewhere
    than on Linux, all that it has), or less where its group of processes (a container) has a limit. None where nothing
    is told."""
    found = [*_of_machine(root), *_of_groups(root)]
    return min(found, default=None)


def _of_machine(root: Path) -> Iterator[int]:
    told = _numbers(root / "proc/meminfo")
    if "MemAvailable" in told:
        yield 1024 * (told["MemAvailable"] + told.get("SwapFree", 0))
    elif hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_groups(root: Path) -> Iterator[int]:
    """What each group that this process is in leaves: its limit less what is used, pages of files not counted, which
    are given back when they are needed."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers == "":
            top, limit, used, files = root / "sys/fs/cgroup", "memory.max", "memory.current", ("inactive_file",)
        elif controllers == "memory":
            top, limit, used = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            files = ("total_inactive_file",)
        else:
            continue
        parts = Path(path.lstrip("/"))
        for folder in {top / parts, *[top / parent for parent in parts.parents]}:
            most, now = _text(folder / limit).strip(), _text(folder / used).strip()
            if most.isdecimal() and now.isdecimal():
                told = _numbers(folder / "memory.stat")
                yield max(0, int(most) - int(now) + sum(told.get(name, 0) for name in files))


def _numbers(path: Path) -> dict[str, int]:
    """Names and whole numbers of a file that the system makes, a pair in a line."""
    pairs = (line.replace(":", " ").split()[:2] for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


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
