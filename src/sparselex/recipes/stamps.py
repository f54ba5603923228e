"""Whether a model's files are still the same, told from their names, sizes and times: contents are not read."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

from sparselex.base.files import fingerprint
from sparselex.base.stamps import files_stamp
from sparselex.lm.named import local


def model_stamp(name: str) -> str:
    """Of the model called `name`: of its files, or of what the hub's cache on this machine has under that name."""
    found = local(name)
    return fingerprint([name, _revision(name)]) if found is None else files_stamp(_files(found))


def _files(found: Path) -> Iterator[tuple[str, Path]]:
    """What can be read of a folder, where a link may lead nowhere, or the file itself."""
    if found.is_file():
        return iter([(found.name, found)])
    return _in_folder(found)


def _in_folder(folder: Path) -> Iterator[tuple[str, Path]]:
    return ((str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file())


def _revision(name: str) -> str | None:
    """The commit that the hub's cache holds of a repository."""
    reference = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "refs" / "main"
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None
