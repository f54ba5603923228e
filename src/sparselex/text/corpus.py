"""The token corpus: documents as rows of tokens, on disk, memory-mapped. Every example anywhere is a position in it.

A row is the tokenizer's BOS (where it has one) and then `n_ctx - 1` tokens. Packed, they are of a stream in which
documents stand one after another with the end-of-text token between them, and only the last row of a split is padded;
as prompts, each row holds one document and is padded behind it. Each split has rows of its own, so no row mixes splits:
what a model sees before a held-out token is held-out too. A *position* is `row * n_ctx + column`.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.artifacts import Manifest, fingerprint, finished, open_artifact, read_json, stage, write_json
from sparselex.base.errors import UserError
from sparselex.base.progress import progress
from sparselex.base.vocabulary import Vocabulary
from sparselex.text.config import CorpusConfig
from sparselex.text.documents import Document
from sparselex.text.layouts import LAYOUTS, Layout, RowFiles, join
from sparselex.text.roles import Spans, role_table
from sparselex.text.splits import SPLITS, Split, split_of
from sparselex.text.tokenizer import Tokenizer

_BATCH = 64


class TokenCorpus:
    """A finished corpus as `TokenRows`, read through memory maps. Raises `UserError` if `path` is none or is
    damaged."""

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
        self.n_padding: dict[Split, int] = notes["n_padding"]
        ends = np.cumsum([notes["n_rows"][split] for split in SPLITS]).tolist()
        self.row_ranges: dict[Split, range] = {
            split: range(start, end) for split, start, end in zip(SPLITS, [0, *ends], ends, strict=False)
        }
        self.split_of_documents: NDArray[np.int8] = np.load(self.path / "document-splits.npy")
        self.n_documents = len(self.split_of_documents)

    def __reduce__(self) -> tuple[type["TokenCorpus"], tuple[Path]]:
        return TokenCorpus, (self.path,)  # for another process: opened there anew, not copied with all its tokens

    @cached_property
    def names(self) -> list[str]:
        """Name of every document, by number."""
        return read_json(self.path / "documents.json") or []

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

    @cached_property
    def _roles(self) -> NDArray[np.int32]:
        """`[n_rows, n_roles, 2]` columns, -1 where there is none."""
        return np.load(self.path / "roles.npy", mmap_mode="r")


def build_corpus(
    documents: Iterable[Document], tokenizer: Tokenizer, config: CorpusConfig, to: Path | str, *, text_id: str = ""
) -> TokenCorpus:
    """Tokenize `documents` into a corpus at `to`; a corpus made from the same inputs is kept as it is.

    `text_id` identifies the contents of the source (`sources.text_id`); without it `config.source` must do that.
    Raises `UserError` if a split that was asked for stays empty (nothing could be scored on it), and for a prompt that
    is longer than a row.
    """
    to = Path(to)
    inputs = {"tokenizer": tokenizer.id, "text": text_id or fingerprint(config.source)}
    if finished(to, "corpus", config, inputs):
        return TokenCorpus(to)
    with stage(to, "corpus", config, inputs) as staging:
        notes = _write(documents, tokenizer, config, staging.folder)
        for split, share in zip(SPLITS, config.shares, strict=True):
            if share and not notes["n_documents"][split]:
                raise UserError(
                    f"None of the {sum(notes['n_documents'].values())} documents fell into the {split} split.",
                    "enough documents for train, validation and test",
                    "give more text, or text divided into more documents (a folder, JSON, or <|endoftext|> marks).",
                )
        staging.finish(notes)
    return TokenCorpus(to)


def _write(documents: Iterable[Document], tokenizer: Tokenizer, config: CorpusConfig, folder: Path) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        opened = {split: RowFiles(folder, split, tokenizer, config.n_ctx) for split in SPLITS}
        for rows in opened.values():
            stack.enter_context(contextlib.closing(rows))
        parts = {split: LAYOUTS[config.layout](rows, tokenizer) for split, rows in opened.items()}
        laid_out = _lay_out(documents, tokenizer, config, parts)
    join(folder, list(opened.values()), config.n_ctx)
    np.save(folder / "document-splits.npy", np.array(laid_out.splits, dtype=np.int8))
    write_json(folder / "documents.json", laid_out.names)
    tokenizer.vocabulary.save(folder)
    return {
        "n_tokens": laid_out.n_tokens,
        "n_documents": {split: laid_out.splits.count(number) for number, split in enumerate(SPLITS)},
        "n_rows": {split: rows.n_rows for split, rows in opened.items()},
        "n_padding": {split: rows.n_padding for split, rows in opened.items()},
        "bos_id": tokenizer.bos_id,
        "pad_id": opened["train"].pad_id,
        "roles": _write_roles(folder, [part.spans for part in parts.values()]),
    }


class _LaidOut(NamedTuple):
    """What went into the rows."""

    names: list[str]
    splits: list[int]
    n_tokens: int


def _lay_out(
    documents: Iterable[Document], tokenizer: Tokenizer, config: CorpusConfig, parts: Mapping[Split, Layout]
) -> _LaidOut:
    """Give every document to the rows of its split, until there are tokens enough."""
    names, splits, n_tokens = list[str](), list[int](), 0
    with progress("tokenize", config.n_tokens, "tokens") as bar:
        for document, ids in _tokenized(documents, tokenizer):
            split = split_of(document.name, config.shares, config.seed)
            parts[split].add(len(names), document, ids)
            names.append(document.name)
            splits.append(SPLITS.index(split))
            n_tokens += len(ids)
            bar.advance(len(ids))
            if config.n_tokens is not None and n_tokens >= config.n_tokens:
                break
    for part in parts.values():
        part.finish()
    return _LaidOut(names, splits, n_tokens)


def _write_roles(folder: Path, parts: list[list[Spans]]) -> list[str]:
    """Write the roles of all rows, if there are any; returns their names."""
    spans = [row for part in parts for row in part]
    names = list(dict.fromkeys(name for row in spans for name in row))
    if names:
        np.save(folder / "roles.npy", role_table(spans, names))
    return names


def _tokenized(documents: Iterable[Document], tokenizer: Tokenizer) -> Iterator[tuple[Document, list[int]]]:
    for batch in _batched(documents):
        ids = tokenizer.encode_batch([document.text for document in batch])
        yield from zip(batch, ids, strict=True)


def _batched(documents: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(documents)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch
