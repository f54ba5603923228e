"""What is put in place is on disk before it is there: data, then names, then the rename, then the name of that."""

import os
from pathlib import Path

import pytest

from sparselex.base.artifacts import MANIFEST
from tests.support.small import small_run


class Disk:
    """What has been flushed: of a file its size and time then, of a folder the names in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.flushed: dict[tuple[int, int], object] = {}
        self.placed: list[Path] = []
        self.faults: list[str] = []
        self._fsync, self._rename, self._replace = os.fsync, os.rename, os.replace
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "rename", lambda old, new: self.moved(self._rename, Path(old), Path(new)))
        monkeypatch.setattr(os, "replace", lambda old, new: self.moved(self._replace, Path(old), Path(new)))

    def fsync(self, handle: int) -> None:
        """In place of `os.fsync`."""
        self._fsync(handle)
        found = os.fstat(handle)
        self.flushed[found.st_dev, found.st_ino] = _look(Path(f"/proc/self/fd/{handle}").resolve())

    def moved(self, move, old: Path, new: Path) -> None:
        """In place of `os.rename` and `os.replace`: what is moved must be on disk as it is."""
        inside = [old, *old.rglob("*")] if old.is_dir() else [old]
        if not old.name.endswith(".old") and not new.name.endswith(".old"):
            self.faults += [f"{path} was not flushed before it became {new}" for path in inside if not self.has(path)]
        move(old, new)
        self.placed.append(new)

    def has(self, path: Path) -> bool:
        """Whether all of a file, or all names in a folder, are on disk."""
        found = path.stat()
        return self.flushed.get((found.st_dev, found.st_ino)) == _look(path)

    def knows(self, path: Path) -> bool:
        """Whether the name of what is at a path is on disk."""
        found = path.parent.stat()
        names = self.flushed.get((found.st_dev, found.st_ino), ())
        return isinstance(names, list) and path.name in names


def _look(path: Path) -> object:
    found = path.stat()
    return sorted(one.name for one in path.iterdir()) if path.is_dir() else (found.st_size, found.st_mtime_ns)


@pytest.fixture
def run(tmp_path):
    return small_run(
        tmp_path, {"expansion": 0.25, "k": 4, "n_tokens": 20_000, "settings": {"checkpoint_tokens": 8_192}}
    )


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not say what a handle is of")
@pytest.mark.parametrize("verbs", [["harvest", "train"], ["train", "index"]], ids="-".join)
def test_nothing_is_put_in_place_that_is_not_on_disk(run, monkeypatch, verbs):
    disk = Disk(monkeypatch)
    for verb in verbs:
        run.do(verb)
    assert not disk.faults
    artifacts = [path for path in disk.placed if (path / MANIFEST).is_file()]
    assert len(artifacts) == 1 + len(verbs), "the corpus as well"
    # Up to the workspace: a folder that was made for it has a name as well.
    for folder in artifacts:
        assert all(map(disk.has, folder.iterdir()))
        named = [folder, *folder.parents]
        for path in named[: named.index(run.workspace.path)]:
            assert disk.knows(path), f"the name of {path} is on no disk"
