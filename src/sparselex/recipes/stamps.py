"""Whether a model's files are still the same, told from their names, sizes and times: contents are not read."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

from sparselex.base.files import fingerprint
from sparselex.base.stamps import files_stamp
from sparselex.lm.embedded import EMBEDDED


def model_stamp(name: str) -> str:
    """Of the model called `name`: of its files, or of what the hub's cache on this machine has under that name."""
    folder = Path(EMBEDDED.get(name, name))
    return files_stamp(_files(folder)) if folder.is_dir() else fingerprint([name, _revision(name)])


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """What can be read; a link may lead nowhere."""
    return ((str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file())


def _revision(name: str) -> str | None:
    """The commit that the hub's cache holds of a repository."""
    reference = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "refs" / "main"
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None
