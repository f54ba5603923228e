"""Activations on disk, read side."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sparselex.activations.int8 import restore
from sparselex.activations.source import Batch, check_finite
from sparselex.base.artifacts import open_artifact, verified
from sparselex.base.errors import UserError

_CHUNK = 256

_OPEN_SHARDS = 128
"""Shards kept open; an open one holds a file descriptor and no memory of its own."""


class _Shard:
    """A shard opened as a memory map: of a file, only what is asked for is read."""

    def __init__(self, path: Path):
        file = safe_open(path, framework="pt")
        names = set(file.keys())
        part = lambda name: file.get_slice(name) if name in names else None
        self._positions = file.get_slice("positions")
        self._x = file.get_slice("acts"), part("scale")
        self._target = part("target_acts"), part("target_scale")

    def __len__(self) -> int:
        return self._positions.get_shape()[0]

    def read(self, start: int, stop: int) -> Batch:
        """Tokens `start` to `stop`."""
        target = None if self._target[0] is None else _floats(*self._target, start, stop)
        return Batch(_floats(*self._x, start, stop), self._positions[start:stop].numpy(), target)


def _floats(acts: Any, scale: Any, start: int, stop: int) -> Tensor:
    return acts[start:stop].float() if scale is None else restore(acts[start:stop], scale[start:stop])


class ActivationStore:
    """A finished harvest. Each shard's checksum is verified when it is first read; whatever its precision, tokens come
    as float32."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.manifest = open_artifact(self.path, "activations")
        self.id = self.manifest.id
        notes = self.manifest.notes
        self.dtype: str = self.manifest.config["options"]["dtype"]
        self.d_in: int = notes["d_in"]
        self.d_out: int | None = notes["d_out"]
        self.n_tokens: int = notes["n_tokens"]
        self.shard_sizes: list[int] = notes["shards"]
        self._verified: set[int] = set()
        self._open = lru_cache(maxsize=_OPEN_SHARDS)(self._checked)

    def __reduce__(self) -> tuple[type["ActivationStore"], tuple[Path]]:
        return ActivationStore, (self.path,)  # for another process: opened there anew

    def units(self) -> "StoredUnits":
        """The store as units for shuffling."""
        return StoredUnits(self)

    def piece(self, number: int, start: int, stop: int) -> Batch:
        """Tokens `start` to `stop` of one shard; of its file only these are read. Raises `UserError` naming a
        shard that is damaged."""
        return self._open(number).read(start, stop)

    def _checked(self, number: int) -> _Shard:
        name = shard_name(number)
        first = number not in self._verified  # once: a block for training has chunks of every shard
        if first:
            verified(self.path, name, self.manifest)
        try:
            shard = _Shard(self.path / name)
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"Shard {self.path / name} cannot be read: {error}.",
                "a safetensors file with acts and positions",
                "harvest again.",
            ) from None
        if first:
            check_finite(shard.read(0, len(shard)), f"Shard {self.path / name}")
            self._verified.add(number)
        return shard


class StoredUnits:
    """A store as `Units`: chunks of 256 consecutive tokens, in any order."""

    tokens_per_unit = _CHUNK

    def __init__(self, store: ActivationStore):
        self._store = store
        self.d_in, self.d_out = store.d_in, store.d_out
        spans = [
            (shard, start, min(start + _CHUNK, size))
            for shard, size in enumerate(store.shard_sizes)
            for start in range(0, size, _CHUNK)
        ]
        self._spans = np.array(spans, dtype=np.int64).reshape(-1, 3)
        self.n_units = len(self._spans)

    def read(self, units: NDArray[np.int64]) -> Batch:
        """The chosen chunks; each shard is opened once."""
        found = [self._store.piece(shard, *span) for shard, spans in self._by_shard(units) for span in spans]
        return Batch.join(found)

    def positions(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of the chosen chunks; of each shard only these bytes are read."""
        found = []
        for shard, spans in self._by_shard(units):
            with safe_open(self._store.path / shard_name(shard), framework="numpy") as file:
                positions = file.get_slice("positions")
                found += [positions[start:end] for start, end in spans]
        return np.concatenate(found)

    def _by_shard(self, units: NDArray[np.int64]) -> Iterator[tuple[int, list[list[int]]]]:
        """Shards that hold the chosen chunks, in order, with where in the shard each begins and ends."""
        spans = self._spans[np.sort(units)]
        for shard in np.unique(spans[:, 0]).tolist():
            yield shard, spans[spans[:, 0] == shard, 1:].tolist()


def shard_name(number: int) -> str:
    """File name of shard `number`."""
    return f"shard-{number:05d}.safetensors"
