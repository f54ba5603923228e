"""How activations are kept and read ahead: configurations that can be read without loading PyTorch."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from sparselex.base.bounds import BatchRows, Count
from sparselex.base.config import Config
from sparselex.text.splits import Split

Precision = Literal["float32", "bfloat16", "int8"]
"""What a shard keeps of each number: all of it, 8 significant bits, or one byte on a scale that each token has for
itself."""


Prefetch = Annotated[int, Field(ge=0, le=64)]
"""Blocks of activations read ahead by a process of their own; 0 reads each when it is needed."""


class HarvestConfig(Config):
    """Which text is read, and how its activations lie on disk."""

    splits: tuple[Split, ...] = Field(default=("train",), min_length=1)
    """Splits of the corpus."""

    batch_rows: BatchRows | None = None
    """Rows in a forward pass; left out, as many as there is memory for, 32 at most."""

    shard_rows: Count = 1024
    """Rows of the corpus in a shard, a multiple of `batch_rows` for full speed."""

    dtype: Precision = "float32"
    """Precision on disk. In int8 a token takes d_in + 12 bytes, and each number is off by at most 1/254 of its token's
    largest."""

    @field_validator("splits")
    @classmethod
    def _each_once(cls, splits: tuple[Split, ...]) -> tuple[Split, ...]:
        if len(set(splits)) < len(splits):
            raise ValueError("each split is read once: name it once")
        return splits
