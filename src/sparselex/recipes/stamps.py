"""Whether a model's or a text's files are still the same, told from their names, sizes and times: contents are not
read."""

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

from sparselex.base.files import fingerprint
from sparselex.lm.embedded import EMBEDDED


def model_stamp(name: str) -> str:
    """Of the model called `name`: of its files, or of what the hub's cache on this machine has under that name."""
    return _stamp(Path(EMBEDDED.get(name, name))) or fingerprint([name, _revision(name)])


def text_stamp(source: str) -> str:
    """Of the text `source`: of its files; of any other source its name, for what a hub streams is not looked at
    twice."""
    root = Path(sysconfig.get_path("stdlib")) if source == "stdlib" else Path(source).expanduser()
    return _stamp(root) or fingerprint(source)


def _stamp(root: Path) -> str | None:
    """Hash of names, sizes and times of all files under `root`; None where there is nothing."""
    if root.is_file():
        found = root.stat()
        return fingerprint([str(root), found.st_size, found.st_mtime_ns])
    return fingerprint(sorted(_files(root))) if root.is_dir() else None


def _files(root: Path) -> Iterator[tuple[str, int, int]]:
    for folder, inside, names in os.walk(root):
        inside[:] = [name for name in inside if name not in ("__pycache__", "site-packages", "dist-packages")]
        for path in (Path(folder) / name for name in names):
            found = path.stat()
            yield str(path), found.st_size, found.st_mtime_ns


def _revision(name: str) -> str | None:
    """The commit that the hub's cache holds of a repository."""
    reference = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "refs" / "main"
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None
