"""Models in llama.cpp's GGUF files: dequantised once, and kept as an ordinary folder in the user's cache."""

import contextlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from platformdirs import user_cache_path

from sparselex.base.artifacts import MANIFEST, open_artifact, verified
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import checksum
from sparselex.base.formats import plain
from sparselex.base.staging import stage
from sparselex.lm.complete import check_complete
from sparselex.lm.gguf_header import CutShort, Unknown, read_header

KIND = "weights"
"""What the kept folder is, as an artifact."""

_NEEDED = ("gguf", "accelerate")
"""Packages without which transformers reads no such file."""


class Dequantised(Config):
    """How a file was dequantised."""

    dtype: Literal["float32"] = "float32"
    """Precision that the numbers are kept in: the blocks' scales are of half precision, their products are not."""


def dequantised(path: Path) -> Path:
    """The folder that holds the model of a GGUF file as transformers reads it: config, weights, tokenizer.

    It lies under the file's checksum, and is written the first time, which takes seconds to minutes; while another
    process is at it, this one waits. What was kept is held against its checksums, but for files that have the size,
    time and place on disk with which they were written. Raises `UserError` for a file that is cut off, whose tensors
    are not those of its architecture, where what was kept has been changed, where a package is missing, and where the
    disk is full or refuses; and what transformers and the system raise of a file that they cannot read.
    """
    sha256 = checksum(path)
    to = user_cache_path("sparselex") / "gguf" / sha256[:32]
    if (to / MANIFEST).is_file():
        _check_unchanged(to)
    tell = lambda: _say(f"waiting for another process, which dequantises {path.name}")
    try:
        with stage(to, KIND, Dequantised(), {"file": sha256}, on_wait=tell) as staging:
            if not staging.made:
                _check_packages()
                passed_over = _check_whole(path)
                _write(path, staging.folder, to)
                if passed_over:
                    _say(f"warning: {', '.join(passed_over)} of {path.name} is not read: {_OTHER_POSITIONS}")
                staging.finish()
    except UserError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise UserError(error.given, "a cache folder with room, in which you may write", _ELSEWHERE) from None
    return to


_OTHER_POSITIONS = "rotary positions are not scaled by it, and numbers are a little other than llama.cpp's"

_ELSEWHERE = (
    "free some space, or let the environment variable XDG_CACHE_HOME name another folder (without it the cache is "
    "~/.cache on Linux and ~/Library/Caches on macOS), then run the same command again."
)


def _check_unchanged(to: Path) -> None:
    """Raise `UserError` unless all that lies in the folder is as it was written: a model is made of whatever does."""
    remade = f"delete {to}, then run the same command again: it is made anew from the GGUF file."
    try:
        manifest = open_artifact(to, KIND)
        for name in manifest.files:
            verified(to, name, manifest)
    except UserError as error:
        raise UserError(error.given, error.expected, remade) from None
    there = {path.name for path in to.iterdir() if not path.name.startswith(".")}
    if strange := there - {*manifest.files, MANIFEST}:
        raise UserError(f"{to / min(strange)} was not written by sparselex.", "what was made of the GGUF file", remade)


def _say(words: str) -> None:
    print(plain(words), file=sys.stderr, flush=True)


def _check_whole(path: Path) -> list[str]:
    """Raise `UserError` for a file that has not the bytes that its header promises; gives the names of the tensors in
    it that transformers passes over."""
    from gguf import GGML_QUANT_SIZES

    there = path.stat().st_size
    try:
        header = read_header(path)
    except CutShort:
        found = f"it ends inside its header, after {there:,} bytes"
    except Unknown:  # what is wrong with it, if anything is, the reader says
        return []
    else:
        promised = header.promised(GGML_QUANT_SIZES)
        if promised is None or promised <= there:
            return [tensor.name for tensor in header.tensors if tensor.name in _PASSED_OVER]
        found = f"its header promises {promised:,} bytes, and {there:,} are there"
    raise UserError(
        f"The model file {str(path)!r} cannot be loaded: {found}.",
        "a whole GGUF file",
        "copy or download it again.",
    )


_PASSED_OVER = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors by which llama.cpp scales rotary positions (Llama 3.1, Phi 3): transformers takes them from config.json, and
from a GGUF file not at all."""


def _check_packages() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(
            f"Reading a GGUF file takes {' and '.join(missing)}.",
            "these packages beside sparselex",
            f"run `pip install {' '.join(missing)}` (they are sparselex's extra `gguf`).",
        )


def _write(path: Path, folder: Path, to: Path) -> None:
    options = {"gguf_file": path.name, "local_files_only": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **options)
    _say(f"dequantising {path.name}: once, the result is kept in {to}")
    with _without_bars():
        read, info = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    check_complete(str(path), read, info)
    config = _plain_config(read.config)
    with torch.device("meta"):
        model = type(read)(config)
    model.load_state_dict(read.state_dict(), assign=True)
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """While this is open, the reader's progress bars follow the library's own switch, past which it imports them."""
    from transformers import modeling_gguf_pytorch_utils  # with a quarter of a second of models

    bars = modeling_gguf_pytorch_utils.tqdm
    modeling_gguf_pytorch_utils.tqdm = transformers.logging.tqdm
    try:
        yield
    finally:
        modeling_gguf_pytorch_utils.tqdm = bars


def _plain_config(config: Any) -> Any:
    """The configuration of the same model as if it had never been quantised: that mark forbids saving."""
    values = {name: value for name, value in config.to_dict().items() if name not in _MARKS}
    return type(config).from_dict(values)


_MARKS = ("quantization_config", "_name_or_path", "_model_name_or_path", "_attn_implementation")
