"""Activations on disk, read side."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sparselex.activations.int8 import restore
from sparselex.activations.source import Batch, check_finite
from sparselex.base.artifacts import open_artifact, verify_file
from sparselex.base.errors import UserError

_CHUNK = 256


class _Shard(NamedTuple):
    """A shard as it lies on disk: tokens become float32 when they are asked for, since the cache holds several shards."""

    acts: Tensor
    scale: Tensor | None
    positions: NDArray[np.int64]

    def floats(self, start: int, stop: int) -> Tensor:
        """Tokens `start` to `stop` as float32."""
        if self.scale is None:
            return self.acts[start:stop].float()
        return restore(self.acts[start:stop], self.scale[start:stop])


class ActivationStore:
    """A finished harvest. Each shard's checksum is verified when it is first read; whatever its precision, tokens come as float32."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.manifest = open_artifact(self.path, "activations")
        self.id = self.manifest.id
        notes = self.manifest.notes
        self.hook: str = self.manifest.config["hook"]
        self.dtype: str = self.manifest.config["dtype"]
        self.d_in: int = notes["d_in"]
        self.n_tokens: int = notes["n_tokens"]
        self.shard_sizes: list[int] = notes["shards"]
        self.n_shards = len(self.shard_sizes)
        self._open = lru_cache(maxsize=8)(self._read)

    def __reduce__(self) -> tuple[type["ActivationStore"], tuple[Path]]:
        return ActivationStore, (self.path,)  # for another process: opened there anew

    def shard(self, number: int) -> Batch:
        """One shard, in corpus order. Raises `UserError` naming the shard that is damaged."""
        shard = self._open(number)
        return Batch(shard.floats(0, len(shard.positions)), shard.positions)

    def chunks(self) -> "StoreChunks":
        """The store as units for shuffling."""
        return StoreChunks(self)

    def _read(self, number: int) -> _Shard:
        name = shard_name(number)
        verify_file(self.path, name, self.manifest)
        try:
            with safe_open(self.path / name, framework="pt") as file:
                acts, positions = file.get_tensor("acts"), file.get_tensor("positions").numpy()
                scale = file.get_tensor("scale") if acts.dtype == torch.int8 else None
        except (SafetensorError, OSError) as error:
            raise UserError(f"Shard {self.path / name} cannot be read: {error}.", "a safetensors file with acts and positions",
                            "harvest again.") from None  # fmt: skip
        check_finite(Batch(acts if scale is None else scale[:, None], positions), f"Shard {self.path / name}")
        return _Shard(acts, scale, positions)


class StoreChunks:
    """Chunks of 256 consecutive tokens of a store, in any order."""

    tokens_per_unit = _CHUNK

    def __init__(self, store: ActivationStore):
        self._store = store
        self.d_in = store.d_in
        spans = [
            (shard, start, min(start + _CHUNK, size))
            for shard, size in enumerate(store.shard_sizes)
            for start in range(0, size, _CHUNK)
        ]
        self._spans = np.array(spans, dtype=np.int64).reshape(-1, 3)
        self.n_units = len(self._spans)

    def read(self, units: NDArray[np.int64]) -> Batch:
        """The chosen chunks; each shard is opened once."""
        xs, positions = [], []
        for shard, spans in self._by_shard(units):
            read = self._store._open(shard)
            xs += [read.floats(start, end) for start, end in spans]
            positions += [read.positions[start:end] for start, end in spans]
        return Batch(torch.cat(xs), np.concatenate(positions))

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
