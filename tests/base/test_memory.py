"""What memory is free, as systems tell it."""

from pathlib import Path

import pytest

from sparselex.base.memory import free_memory

MACHINE = {"proc/meminfo": "MemTotal: 2000 kB\nMemAvailable:    1000 kB\nSwapFree: 24 kB\n"}
GROUP = "sys/fs/cgroup"
SECOND = {
    "proc/self/cgroup": "0::/a/b\n",
    f"{GROUP}/a/b/memory.max": "max\n",
    f"{GROUP}/a/b/memory.current": "5\n",
    f"{GROUP}/a/memory.max": "700000\n",
    f"{GROUP}/a/memory.current": "300000\n",
    f"{GROUP}/a/memory.stat": "anon 200000\ninactive_file 100000\n",
}
FIRST = {
    "proc/self/cgroup": "4:memory:/a\n1:cpu:/\n",
    f"{GROUP}/memory/a/memory.limit_in_bytes": "600000\n",
    f"{GROUP}/memory/a/memory.usage_in_bytes": "500000\n",
    f"{GROUP}/memory/a/memory.stat": "inactive_file 7\ntotal_inactive_file 50000\n",
}


@pytest.mark.parametrize(
    ("files", "free"),
    [
        (MACHINE, 1024 * 1024),
        (MACHINE | SECOND, 500_000),
        (MACHINE | FIRST, 150_000),
        (MACHINE | FIRST | {f"{GROUP}/memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, 1024 * 1024),
        (MACHINE | {"proc/self/cgroup": "0::/not/seen/from/here\nnonsense\n"}, 1024 * 1024),
        (MACHINE | SECOND | {f"{GROUP}/a/memory.current": "800000\n", f"{GROUP}/a/memory.stat": ""}, 0),
    ],
    ids=["machine", "second kind", "first kind", "no limit", "no group", "over its limit"],
)
def test_the_least_of_what_the_machine_and_its_groups_have(tmp_path: Path, files, free):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_memory(tmp_path) == free


def test_where_nothing_is_told_it_is_what_the_machine_has(tmp_path):
    assert (found := free_memory(tmp_path)) is None or found > 2**28


def test_this_machine_has_some():
    found = free_memory()
    assert found is None or 2**20 < found < 2**50
