"""Models in llama.cpp's GGUF files: dequantised once, and kept as an ordinary folder in the user's cache."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from platformdirs import user_cache_path

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import checksum, remove
from sparselex.base.formats import plain
from sparselex.base.staging import stage

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

    It lies under the file's checksum, and is written the first time, which takes seconds to minutes. Raises `UserError`
    where a package is missing, the disk is full, or another process is at it; and what transformers and the system
    raise of a file that they cannot read.
    """
    sha256 = checksum(path)
    to = user_cache_path("sparselex") / "gguf" / sha256[:32]
    with stage(to, KIND, Dequantised(), {"file": sha256}) as staging:
        if not staging.made:
            _check_packages()
            print(f"dequantising {plain(path.name)}: once, the result is kept in {plain(str(to))}", file=sys.stderr)
            try:
                _write(path, staging.folder)
            except BaseException:  # of a file that cannot be read nothing is left
                remove(staging.folder)
                raise
            staging.finish()
    return to


def _check_packages() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(
            f"Reading a GGUF file takes {' and '.join(missing)}.",
            "these packages beside sparselex",
            f"run `pip install {' '.join(missing)}` (they are sparselex's extra `gguf`).",
        )


def _write(path: Path, folder: Path) -> None:
    options = {"gguf_file": path.name, "local_files_only": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **options)
    read = transformers.AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **options)
    config = _plain_config(read.config)
    with torch.device("meta"):
        model = type(read)(config)
    model.load_state_dict(read.state_dict(), assign=True)
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _plain_config(config: Any) -> Any:
    """The configuration of the same model as if it had never been quantised: that mark forbids saving."""
    values = {name: value for name, value in config.to_dict().items() if name not in _MARKS}
    return type(config).from_dict(values)


_MARKS = ("quantization_config", "_name_or_path", "_model_name_or_path", "_attn_implementation")
