"""delphi's cache of activations: `latents/<hookpoint>/<first>_<last>.safetensors`, each with the latents `first` to
`last`, and a `config.json` beside them.

`locations` holds row, column and latent of each activation, the latent counted from `first`; `activations` are float16;
`tokens`, the text, stands in every file again.
"""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sparselex.base.errors import UserError
from sparselex.base.reading import json_file, regular
from sparselex.convert.checked import Row

MOST_LATENTS, MOST_ROWS, MOST_COLUMNS = 1 << 20, 1 << 24, 1 << 16
"""Beyond these a cache is damaged."""

N_FILES = 5
"""Among how many files latents are divided, as many as its project writes."""

CONFIG = "config.json"

_NAME = re.compile(r"(\d{1,9})_(\d{1,9})\.safetensors", re.ASCII)
_TENSORS = ("locations", "activations", "tokens")


class Cache(NamedTuple):
    """A cache as it was read: activations by place (`row * n_ctx + column`) and, at one place, by latent."""

    folder: Path
    hookpoint: str
    model: str
    """Name of the model, as its settings have it; empty where they do not."""

    tokens: NDArray[np.int64]
    """`[n_rows, n_ctx]`."""

    places: NDArray[np.int64]
    """`[n]`, ascending."""

    latents: NDArray[np.int32]
    values: NDArray[np.float32]
    d_sae: int
    n_zero: int
    """Entries whose activation is 0, which are left out."""

    files: list[Path]


class _Part(NamedTuple):
    """A file by its name."""

    path: Path
    first: int
    last: int


def is_cache(source: Path) -> bool:
    """Whether a folder is a cache, or has some below it."""
    return bool(_homes(source))


def read_cache(source: Path, hookpoint: str = "") -> Cache:
    """Read the cache of one hookpoint: in its folder, or in a folder of results. Raises `UserError` where there are
    several and none is named, and for what is damaged."""
    home = _home(source, hookpoint)
    parts = _parts(home)
    read = [_read(part) for part in parts]
    tokens = _tokens(parts, read)
    places, latents, values = (np.concatenate(columns) for columns in zip(*_entries(parts, read, tokens), strict=True))
    d_sae, there = parts[-1].last + 1, values != 0
    places, latents, values = places[there], latents[there], values[there]
    keys = places * d_sae + latents
    order = np.argsort(keys, kind="stable")
    if (again := np.flatnonzero(np.diff(keys[order]) == 0)).size:
        row, column = divmod(int(places[order[again[0]]]), tokens.shape[1])
        raise _damaged(home, f"latent {latents[order[again[0]]]} is there twice at row {row}, column {column}")
    files = [part.path for part in parts]
    entries = places[order], latents[order], values[order]
    return Cache(home, home.name, _model(home), tokens, *entries, d_sae, int((~there).sum()), files)


def _homes(source: Path) -> list[Path]:
    """The folders of caches in a folder of results, in its folder `latents`, or the folder itself."""
    if not source.is_dir():
        return []
    inside = (source, *source.glob("*"), *source.glob("latents/*"))
    return sorted(home for home in inside if home.is_dir() and any(_NAME.fullmatch(p.name) for p in home.iterdir()))


def _home(source: Path, hookpoint: str) -> Path:
    homes = {home.name: home for home in _homes(source)}
    wanted = hookpoint or (next(iter(homes)) if len(homes) == 1 else "")
    if wanted not in homes:
        raise UserError(
            f"{source} holds caches at {', '.join(list(homes)[:5]) or 'no hookpoint'}"
            + (f", and none at {hookpoint}." if hookpoint else "."),
            "one hookpoint, which is what a run reads",
            "name it with --hookpoint.",
        )
    return homes[wanted]


def _parts(home: Path) -> list[_Part]:
    """The files by their latents. Raises `UserError` where two have the same ones."""
    found = [_Part(path, *map(int, match.groups())) for path in home.iterdir() if (match := _NAME.fullmatch(path.name))]
    parts = sorted(found, key=lambda part: part.first)
    before = -1
    for part in parts:
        if not before < part.first <= part.last < MOST_LATENTS:
            raise _damaged(part.path, f"its name says latents {part.first} to {part.last}, behind {before}")
        before = part.last
    return parts


def _read(part: _Part) -> dict[str, NDArray[Any]]:
    """The tensors of a file that are of use, each of the shape and the kind that it should have."""
    try:
        with safe_open(regular(part.path), framework="numpy") as file:
            found = {name: file.get_tensor(name) for name in _TENSORS if name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError, OverflowError) as error:
        raise _damaged(part.path, str(error).splitlines()[0]) from None
    if missing := [name for name in _TENSORS[:2] if name not in found]:
        raise _damaged(part.path, f"it holds no {missing[0]}")
    locations, activations = found["locations"], found["activations"]
    if locations.dtype.kind not in "ui" or locations.ndim != 2 or locations.shape[1] != 3:
        raise _damaged(part.path, f"locations are {locations.dtype} {list(locations.shape)}, not whole numbers [n, 3]")
    if activations.dtype.kind != "f" or activations.shape != locations.shape[:1]:
        raise _damaged(part.path, f"activations are {activations.dtype} {list(activations.shape)}, not one a location")
    return found


def _tokens(parts: list[_Part], read: list[dict[str, NDArray[Any]]]) -> NDArray[np.int64]:
    """The text, which is the same in all files that have it."""
    having = [(part.path, found["tokens"]) for part, found in zip(parts, read, strict=True) if "tokens" in found]
    if not having:
        raise _damaged(parts[0].path, "it holds no tokens")
    path, tokens = having[0]
    if tokens.dtype.kind not in "ui" or tokens.ndim != 2 or not tokens.size or tokens.shape[1] < 2:
        raise _damaged(path, f"tokens are {tokens.dtype} {list(tokens.shape)}, not whole numbers [rows, columns]")
    if tokens.shape[0] > MOST_ROWS or tokens.shape[1] > MOST_COLUMNS or tokens.min() < 0:
        raise _damaged(path, f"tokens are {list(tokens.shape)}, or below 0")
    for other, again in having[1:]:
        if not np.array_equal(tokens, again):
            raise _damaged(other, f"its tokens are others than those of {path.name}")
    return tokens.astype(np.int64)


def _entries(
    parts: list[_Part], read: list[dict[str, NDArray[Any]]], tokens: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]]:
    """Places, latents and activations of each file."""
    n_rows, n_ctx = tokens.shape
    for part, found in zip(parts, read, strict=True):
        locations, values = found["locations"], found["activations"].astype(np.float32)
        for column, most in enumerate((n_rows, n_ctx, part.last - part.first + 1)):
            if len(locations) and not 0 <= locations[:, column].min() <= locations[:, column].max() < most:
                what = ("rows", "columns", "latents")[column]
                raise _damaged(part.path, f"its locations name {what} beyond {most:,}")
        if not np.isfinite(values).all():
            raise _damaged(part.path, "an activation in it is not finite")
        where = locations.astype(np.int64)
        yield where[:, 0] * n_ctx + where[:, 1], (where[:, 2] + part.first).astype(np.int32), values


def _model(home: Path) -> str:
    path = home / CONFIG
    if not path.exists():
        return ""
    try:
        return Row(json_file(path), str(path)).text("model_name", "")
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} cannot be read: {why}.",
        "delphi's cache: locations [n, 3], activations [n] and tokens [rows, columns] of the latents in its name",
        "make or fetch it again.",
    )


def ranges(d_sae: int, n_files: int = N_FILES) -> list[range]:
    """The latents of each file: equal parts, none without a latent."""
    ends = np.linspace(0, d_sae, min(n_files, d_sae) + 1).astype(int).tolist()
    return [range(first, last) for first, last in pairwise(ends)]


def write_part(
    home: Path,
    latents: range,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    numbers: NDArray[np.int64],
    values: NDArray[np.float32],
    tokens: NDArray[Any],
) -> None:
    """Write the file of these latents: `[n]` rows, columns, latents and activations, as its project writes them. Raises
    `UserError` for an activation that float16 cannot hold."""
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        latent = int(numbers[np.flatnonzero(~np.isfinite(halves))[0]])
        raise UserError(
            f"Latent {latent} has an activation beyond 65,504.",
            "activations that float16 can hold, in which this format has them",
            "choose another layout, such as parquet.",
        )
    kept = halves != 0
    locations = np.stack([rows, columns, numbers - latents.start], axis=1)[kept]
    narrow = np.uint16 if locations.max(initial=0) < 1 << 16 else np.uint32
    tensors = {
        "locations": np.ascontiguousarray(locations, narrow),
        "activations": halves[kept],
        "tokens": np.ascontiguousarray(tokens, np.int64),
    }
    # Not save_file: it hides why the disk refused.
    (home / f"{latents.start}_{latents.stop - 1}.safetensors").write_bytes(save(tensors))


def write_config(home: Path, model: str, dataset: str, shape: tuple[int, int], extra: Mapping[str, Any]) -> None:
    """Write the settings that its loader asks for."""
    n_rows, n_ctx = shape
    settings = {
        "dataset_repo": dataset,
        "dataset_split": "",
        "dataset_name": "",
        "dataset_column": "",
        "batch_size": 1,
        "cache_ctx_len": n_ctx,
        "ctx_len": n_ctx,
        "n_tokens": n_rows * n_ctx,
        "n_splits": N_FILES,
        "model_name": model,
    }
    (home / CONFIG).write_text(json.dumps(settings | dict(extra), indent=1) + "\n", encoding="utf-8")
