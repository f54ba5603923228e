"""The token corpus: documents packed into rows, on disk, memory-mapped. Every example anywhere is a position in it.

A row is the tokenizer's BOS (where it has one) and then `n_ctx - 1` tokens of a stream; in the stream documents
stand one after another with the end-of-text token between them. Each split has a stream of its own, so no row
mixes splits: what a model sees before a held-out token is held-out too. Only the last row of a split is padded.
A *position* is `row * n_ctx + column`.
"""

import itertools
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparselex.base.artifacts import (
    Manifest,
    Staging,
    fingerprint,
    finished,
    open_artifact,
    read_json,
    stage,
    write_json,
)
from sparselex.base.errors import UserError
from sparselex.base.progress import progress
from sparselex.base.vocabulary import Vocabulary
from sparselex.text.config import CorpusConfig
from sparselex.text.sources import Document
from sparselex.text.splits import SPLITS, Split, split_of
from sparselex.text.tokenizer import Tokenizer

_BATCH = 64


class TokenCorpus:
    """A finished corpus, read through memory maps. Raises `UserError` if `path` is none or is damaged."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.manifest: Manifest = open_artifact(self.path, "corpus")
        self.id = self.manifest.id
        self.config = CorpusConfig.parse(self.manifest.config, str(self.path))
        self.tokens = np.load(self.path / "tokens.npy", mmap_mode="r")
        self.documents = np.load(self.path / "documents.npy", mmap_mode="r")
        self.n_rows, self.n_ctx = self.tokens.shape
        self.vocabulary = Vocabulary.load(self.path)
        self.special_ids = self.vocabulary.special_ids
        notes = self.manifest.notes
        self.bos_id: int | None = notes["bos_id"]
        self.pad_id: int = notes["pad_id"]
        ends = np.cumsum([notes["n_rows"][split] for split in SPLITS]).tolist()
        self.row_ranges: dict[Split, range] = {
            split: range(start, end) for split, start, end in zip(SPLITS, [0, *ends], ends, strict=False)
        }
        self.split_of_documents: NDArray[np.int8] = np.load(self.path / "document-splits.npy")
        self.n_documents = len(self.split_of_documents)

    @cached_property
    def names(self) -> list[str]:
        """Name of every document, by number."""
        return read_json(self.path / "documents.json") or []

    def text_mask(self, rows: slice | range | NDArray[np.int64]) -> NDArray[np.bool_]:
        """`[n_rows, n_ctx]`, True where a token of a document stands (not BOS, separator or padding)."""
        index = slice(rows.start, rows.stop) if isinstance(rows, range) else rows
        return np.asarray(self.documents[index]) >= 0

    def document_tokens(self, document: int) -> NDArray[np.int64]:
        """Token ids of one document, in order."""
        n, ctx = self._spans[document], self.n_ctx
        rows = slice(int(n[0]) // ctx, int(n[1]) // ctx + 1)
        own = np.asarray(self.documents[rows]) == document
        return np.asarray(self.tokens[rows])[own].astype(np.int64)

    def document_bytes(self, document: int) -> bytes:
        """The document's bytes, exactly as they were read."""
        return self.vocabulary.bytes_of(self.document_tokens(document).tolist())

    @cached_property
    def _spans(self) -> NDArray[np.int64]:
        return np.load(self.path / "document-spans.npy")


def build_corpus(
    documents: Iterable[Document], tokenizer: Tokenizer, config: CorpusConfig, to: Path | str, *, text_id: str = ""
) -> TokenCorpus:
    """Tokenize and pack `documents` into a corpus at `to`; a corpus made from the same inputs is kept as it is.

    `text_id` identifies the contents of the source (`sources.text_id`); without it `config.source` must do that.
    Raises `UserError` if a split that was asked for stays empty: nothing could be scored on it.
    """
    to = Path(to)
    inputs = {"tokenizer": tokenizer.id, "text": text_id or fingerprint(config.source)}
    if finished(to, "corpus", config, inputs):
        return TokenCorpus(to)
    with stage(to, "corpus", config, inputs) as staging:
        notes = _write(documents, tokenizer, config, staging)
        for split, share in zip(SPLITS, config.shares, strict=True):
            if share and not notes["n_documents"][split]:
                raise UserError(
                    f"None of the {sum(notes['n_documents'].values())} documents fell into the {split} split.",
                    "enough documents for train, validation and test",
                    "give more text, or text divided into more documents (a folder, JSON, or <|endoftext|> marks).",
                )
        staging.finish(notes)
    return TokenCorpus(to)


def _write(documents: Iterable[Document], tokenizer: Tokenizer, config: CorpusConfig, staging: Staging) -> dict:
    packers = {split: _Packer(staging.folder, split, tokenizer, config.n_ctx) for split in SPLITS}
    names: list[str] = []
    splits: list[int] = []
    n_tokens = 0
    with progress("tokenize", config.n_tokens, "tokens") as bar:
        for document, ids in _tokenized(documents, tokenizer):
            split = split_of(document.name, config.shares, config.seed)
            packers[split].add(len(names), ids)
            names.append(document.name)
            splits.append(SPLITS.index(split))
            n_tokens += len(ids)
            bar.advance(len(ids))
            if config.n_tokens is not None and n_tokens >= config.n_tokens:
                break
    _join(staging.folder, [packers[split] for split in SPLITS], config.n_ctx)
    np.save(staging.folder / "document-splits.npy", np.array(splits, dtype=np.int8))
    write_json(staging.folder / "documents.json", names)
    tokenizer.vocabulary.save(staging.folder)
    return {
        "n_tokens": n_tokens,
        "n_documents": {split: splits.count(number) for number, split in enumerate(SPLITS)},
        "n_rows": {split: packers[split].n_rows for split in SPLITS},
        "n_padding": {split: packers[split].n_padding for split in SPLITS},
        "bos_id": tokenizer.bos_id,
        "pad_id": packers["train"].pad_id,
    }


def _tokenized(documents: Iterable[Document], tokenizer: Tokenizer) -> Iterator[tuple[Document, list[int]]]:
    for batch in _batched(documents):
        ids = tokenizer.encode_batch([document.text for document in batch])
        yield from zip(batch, ids, strict=True)


def _batched(documents: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(documents)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch


class _Packer:
    """Packs one split's stream into rows, written as raw bytes while they fill."""

    def __init__(self, folder: Path, split: Split, tokenizer: Tokenizer, n_ctx: int):
        self.dtype = np.uint16 if len(tokenizer.vocabulary) <= 2**16 else np.uint32
        self.bos_id, self.eos_id = tokenizer.bos_id, tokenizer.eos_id
        fallbacks = (tokenizer.pad_id, tokenizer.eos_id, tokenizer.bos_id, 0)
        self.pad_id = next(i for i in fallbacks if i is not None)
        self.lead = [] if self.bos_id is None else [self.bos_id]
        self.width = n_ctx - len(self.lead)
        self.tokens_path, self.documents_path = folder / f"{split}.tokens", folder / f"{split}.documents"
        self._tokens, self._documents = open(self.tokens_path, "wb"), open(self.documents_path, "wb")
        self._ids: list[int] = []
        self._owners: list[int] = []
        self.n_rows = self.n_padding = 0

    def add(self, document: int, ids: list[int]) -> None:
        """Append one document to the stream."""
        self._ids += ids
        self._owners += [document] * len(ids)
        if self.eos_id is not None:
            self._ids.append(self.eos_id)
            self._owners.append(-1)
        self._flush(len(self._ids) // self.width)

    def close(self) -> None:
        """Pad and write the last row."""
        self.n_padding = -len(self._ids) % self.width
        self._ids += [self.pad_id] * self.n_padding
        self._owners += [-1] * self.n_padding
        self._flush(len(self._ids) // self.width)
        self._tokens.close()
        self._documents.close()

    def _flush(self, n_rows: int) -> None:
        taken = n_rows * self.width
        for values, lead, dtype, file in (
            (self._ids, self.lead, self.dtype, self._tokens),
            (self._owners, [-1] * len(self.lead), np.int32, self._documents),
        ):
            rows = np.array(values[:taken], dtype=dtype).reshape(n_rows, self.width)
            head = np.tile(np.array(lead, dtype=dtype), (n_rows, 1))
            file.write(np.ascontiguousarray(np.concatenate([head, rows], axis=1)).tobytes())
            del values[:taken]
        self.n_rows += n_rows


def _join(folder: Path, packers: list[_Packer], n_ctx: int) -> None:
    for packer in packers:
        packer.close()
    n_rows = sum(packer.n_rows for packer in packers)
    for name, dtype, parts in (
        ("tokens", packers[0].dtype, [packer.tokens_path for packer in packers]),
        ("documents", np.int32, [packer.documents_path for packer in packers]),
    ):
        out = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(n_rows, n_ctx))
        start = 0
        for path in parts:
            rows = np.fromfile(path, dtype=dtype).reshape(-1, n_ctx)
            out[start : start + len(rows)] = rows
            start += len(rows)
            path.unlink()
        out.flush()
    owners = np.load(folder / "documents.npy", mmap_mode="r").reshape(-1)
    np.save(folder / "document-spans.npy", _spans(owners))


def _spans(owners: NDArray[np.int32]) -> NDArray[np.int64]:
    """First and last position of each document, `[n_documents, 2]`; documents are contiguous but for row heads."""
    positions = np.flatnonzero(np.asarray(owners) >= 0)
    numbers = np.asarray(owners)[positions]
    n_documents = int(numbers.max()) + 1 if len(numbers) else 0
    spans = np.zeros((n_documents, 2), dtype=np.int64)
    spans[numbers[::-1], 0] = positions[::-1]
    spans[numbers, 1] = positions
    return spans
