"""Build the token corpus: documents read, split, tokenized and laid out in rows, once."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparselex.base.artifacts import MANIFEST, open_artifact
from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint, write_json
from sparselex.base.progress import progress
from sparselex.base.staging import finished, stage
from sparselex.text.config import CorpusConfig
from sparselex.text.corpus import TokenCorpus
from sparselex.text.documents import Document
from sparselex.text.layouts import LAYOUTS, Layout, RowFiles, join
from sparselex.text.roles import Spans, role_table
from sparselex.text.splits import SPLITS, Split, split_of
from sparselex.text.tokenizer import Tokenizer

_BATCH = 64
"""Documents tokenized at a time."""


def build_corpus(
    documents: Iterable[Document], tokenizer: Tokenizer, config: CorpusConfig, to: Path | str, *, text_id: str = ""
) -> TokenCorpus:
    """Tokenize `documents` into a corpus at `to`; a corpus made from the same inputs is kept as it is.

    `text_id` identifies the contents of the source (`sources.text_id`); without it `config.source` must do that.
    Of a corpus that is kept no document is asked for. Raises `UserError` if a split that was asked for stays empty
    (nothing could be scored on it), and for a prompt that is longer than a row.
    """
    to = Path(to)
    inputs = _inputs(tokenizer, text_id or fingerprint(config.source))
    if not finished(to, "corpus", config, inputs):
        documents = _opened(documents)
    with stage(to, "corpus", config, inputs) as staging:
        if staging.made:
            return TokenCorpus(to)
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


def text_of(corpus: Path, tokenizer: Tokenizer, config: CorpusConfig) -> str | None:
    """The `text_id` of the finished corpus in the folder `corpus`; None where there is none, or one of another
    tokenizer or configuration. Raises `UserError` if it is damaged."""
    if not (corpus / MANIFEST).is_file():
        return None
    text = open_artifact(corpus, "corpus").inputs["text"]
    return text if finished(corpus, "corpus", config, _inputs(tokenizer, text)) else None


def _inputs(tokenizer: Tokenizer, text_id: str) -> dict[str, str]:
    return {"tokenizer": tokenizer.id, "text": text_id}


def _opened(documents: Iterable[Document]) -> Iterator[Document]:
    """The same with the first one taken: a text that cannot be read is refused before anything is written."""
    iterator = iter(documents)
    return itertools.chain(list(itertools.islice(iterator, 1)), iterator)


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
