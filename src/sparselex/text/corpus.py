"""The token corpus: documents as rows of tokens, on disk, memory-mapped. Every example anywhere is a position in it.

A row is the tokenizer's BOS (where `CorpusConfig.bos` wants it), and then tokens. Packed, they are of a stream in which
documents stand one after another with the end-of-text token between them, and only the last row of a split is padded;
as prompts, each row holds one document and is padded behind it. Each split has rows of its own, so no row mixes splits:
what a model sees before a held-out token is held-out too. A *position* is `row * n_ctx + column`.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparselex.base.artifacts import Manifest, open_artifact, verified
from sparselex.base.files import read_json
from sparselex.base.vocabulary import Vocabulary
from sparselex.text.config import CorpusConfig, as_kept
from sparselex.text.splits import SPLITS, Split


class TokenCorpus:
    """A finished corpus as `TokenRows`, read through memory maps. Raises `UserError` if `path` is none or is
    damaged."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.manifest: Manifest = open_artifact(self.path, "corpus")
        self.id = self.manifest.id
        self.config = CorpusConfig.parse(as_kept(self.manifest.config), str(self.path))
        for name in self.manifest.files:  # those that are read later as well: a corpus is damaged or it is not
            self._file(name)
        # As plain arrays over the same mappings: every slice of a `memmap` costs ten of an array's.
        self.tokens = np.asarray(np.load(self._file("tokens.npy"), mmap_mode="r"))
        self.documents = np.asarray(np.load(self._file("documents.npy"), mmap_mode="r"))
        self.n_rows, self.n_ctx = self.tokens.shape
        self.vocabulary = Vocabulary.load(self._file)
        self.special_ids = self.vocabulary.special_ids
        notes = self.manifest.notes
        self.bos_id: int | None = notes["bos_id"]
        self.pad_id: int = notes["pad_id"]
        self.n_padding: dict[Split, int] = notes["n_padding"]
        ends = np.cumsum([notes["n_rows"][split] for split in SPLITS]).tolist()
        self.row_ranges: dict[Split, range] = {
            split: range(start, end) for split, start, end in zip(SPLITS, [0, *ends], ends, strict=False)
        }
        self.split_of_documents: NDArray[np.int8] = np.load(self._file("document-splits.npy"))
        self.n_documents = len(self.split_of_documents)

    def __reduce__(self) -> tuple[type["TokenCorpus"], tuple[Path]]:
        return TokenCorpus, (self.path,)  # for another process: opened there anew, not copied with all its tokens

    @cached_property
    def names(self) -> list[str]:
        """Name of every document, by number."""
        return read_json(self._file("documents.json")) or []

    def text_mask(self, rows: slice | range | NDArray[np.int64]) -> NDArray[np.bool_]:
        """`[n_rows, n_ctx]`, True where a token of a document stands (not BOS, separator or padding)."""
        index = slice(rows.start, rows.stop) if isinstance(rows, range) else rows
        return np.asarray(self.documents[index]) >= 0

    def roles(self, row: int) -> dict[str, range]:
        """Named parts of the prompt in `row`, as ranges of its columns; empty where its record names none."""
        names = self.manifest.notes["roles"]
        spans = self._roles[row].tolist() if names else []
        return {name: range(start, end) for name, (start, end) in zip(names, spans, strict=True) if start >= 0}

    def document_tokens(self, document: int) -> NDArray[np.int64]:
        """Token ids of one document, in order."""
        return np.asarray(self.tokens).reshape(-1)[self.document_positions(document)].astype(np.int64)

    def document_positions(self, document: int) -> NDArray[np.int64]:
        """Where the tokens of one document stand, in order."""
        n, ctx = self._spans[document], self.n_ctx
        rows = slice(int(n[0]) // ctx, int(n[1]) // ctx + 1)
        own = np.asarray(self.documents[rows]) == document
        return rows.start * ctx + np.flatnonzero(own.reshape(-1))

    def document_bytes(self, document: int) -> bytes:
        """The document's bytes, exactly as they were read."""
        return self.vocabulary.bytes_of(self.document_tokens(document).tolist())

    @cached_property
    def _spans(self) -> NDArray[np.int64]:
        return np.load(self._file("document-spans.npy"))

    @cached_property
    def _roles(self) -> NDArray[np.int32]:
        """`[n_rows, n_roles, 2]` columns, -1 where there is none."""
        return np.load(self._file("roles.npy"), mmap_mode="r")

    def _file(self, name: str) -> Path:
        return verified(self.path, name, self.manifest)
