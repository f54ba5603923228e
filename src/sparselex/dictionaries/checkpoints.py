"""Tensors that an unfinished training left for the next start."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sparselex.base.errors import UserError


def read_checkpoint(path: Path, names: set[str], whole: Path | None = None) -> dict[str, Tensor]:
    """All tensors of a checkpoint, which has at least these; `whole` is the folder that it lies in, where there is more
    to it. Raises `UserError` where it cannot be read, or lacks one."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, whole or path, str(error)) from None
    if missing := sorted(names - tensors.keys()):
        raise _damaged(path, whole or path, f"it has no tensor {missing[0]!r}")
    return tensors


def _damaged(path: Path, whole: Path, why: str) -> UserError:
    return UserError(
        f"The checkpoint {path} cannot be taken up: {why}.",
        "what an earlier start of this command left there",
        f"delete {whole} to begin anew, then run the same command again.",
    )
