"""The chunks of an index that does not keep every activation: files that are merged as they come, in a fixed tree.

Node `n` of level `l` is of the chunks `n << l` up to those of the next node. It is merged from its two halves when both
are there, and takes their place: of any number of chunks there are as many files as that number has digits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sparselex.base.files import write_file
from sparselex.features.chunks import Chunk, Read
from sparselex.features.config import IndexConfig
from sparselex.features.kept import Kept
from sparselex.text.rows import TokenRows


class _Node(NamedTuple):
    level: int
    number: int

    @property
    def chunks(self) -> range:
        return range(self.number << self.level, (self.number + 1) << self.level)

    @property
    def parent(self) -> "_Node":
        return _Node(self.level + 1, self.number >> 1)

    @property
    def halves(self) -> "tuple[_Node, _Node]":
        return _Node(self.level - 1, 2 * self.number), _Node(self.level - 1, 2 * self.number + 1)


class FoldedFiles:
    """What stays of the chunks of one index, as files in `folder`. A process merges those that lie in `mine`, its
    share."""

    def __init__(
        self, folder: Path, chunks: Sequence[Chunk], d_sae: int, corpus: TokenRows, config: IndexConfig, mine: range
    ):
        self.folder, self.chunks, self.d_sae, self.mine = folder, chunks, d_sae, mine
        self._corpus, self._config = corpus, config

    def has(self, chunk: Chunk) -> bool:
        """Whether a chunk is finished, by itself or merged into others."""
        node = _Node(0, chunk.number)
        for _ in range(len(self.chunks).bit_length() + 1):
            if self._path(node).exists():
                return True
            node = node.parent
        return False

    def write(self, chunk: Chunk, read: Read) -> None:
        """Keep what stays of a chunk. Raises `UserError` for codes that are not finite."""
        node = _Node(0, chunk.number)
        kept = Kept.of(chunk, read, self.d_sae, self._corpus, self._config)
        write_file(self._path(node), kept.to_bytes())
        self._merge(node.parent)

    def whole(self) -> Kept:
        """Of all chunks, when all of them are there: the same whoever merged what before."""
        return self._of(_Node(max(0, len(self.chunks) - 1).bit_length(), 0))

    def _of(self, node: _Node) -> Kept:
        if self._path(node).exists():
            return Kept.from_bytes(self._path(node).read_bytes())
        first, second = node.halves
        found = self._of(first)
        if second.chunks.start >= len(self.chunks):
            return found
        return found.merge(self._of(second), self._corpus, self._config)

    def _merge(self, node: _Node) -> None:
        """Put a node in the place of its halves, and go on to its own, as far as they are this process's."""
        if node.chunks.start < self.mine.start or node.chunks.stop > self.mine.stop:
            return
        if not self._path(node).exists():
            if not all(self._path(half).exists() for half in node.halves):
                return
            write_file(self._path(node), self._of(node).to_bytes())
        for half in node.halves:
            self._path(half).unlink(missing_ok=True)
        self._merge(node.parent)

    def _path(self, node: _Node) -> Path:
        return self.folder / f"{node.level}-{node.number}"
