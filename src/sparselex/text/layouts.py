"""How documents become rows: packed one after another, or one prompt a row. One split's rows in raw files of their own,
put together at the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparselex.base.errors import UserError
from sparselex.text.documents import Document
from sparselex.text.roles import Spans, token_spans
from sparselex.text.splits import Split
from sparselex.text.tokenizer import Tokenizer

Ids = NDArray[np.unsignedinteger[Any]]
"""Token ids of one document."""


class RowFiles:
    """Rows of one split, written as raw bytes while they come; each begins with the token `bos_id`, unless that is
    None."""

    def __init__(self, folder: Path, split: Split, tokenizer: Tokenizer, n_ctx: int, bos_id: int | None):
        self.dtype = np.uint16 if len(tokenizer.vocabulary) <= 2**16 else np.uint32
        fallbacks = (tokenizer.pad_id, tokenizer.eos_id, tokenizer.bos_id, 0)
        self.pad_id = next(i for i in fallbacks if i is not None)
        self.lead = [] if bos_id is None else [bos_id]
        self.width = n_ctx - len(self.lead)
        """Tokens in a row beside the BOS."""
        self.tokens_path, self.documents_path = folder / f"{split}.tokens", folder / f"{split}.documents"
        self._tokens, self._documents = open(self.tokens_path, "wb"), open(self.documents_path, "wb")
        self.n_rows = self.n_padding = 0

    def write(self, ids: ArrayLike, owners: ArrayLike) -> None:
        """Write whole rows: `width` token ids each, and the document that each is of."""
        for values, lead, dtype, file in (
            (ids, self.lead, self.dtype, self._tokens),
            (owners, [-1] * len(self.lead), np.int32, self._documents),
        ):
            rows = np.asarray(values, dtype=dtype).reshape(-1, self.width)
            head = np.tile(np.array(lead, dtype=dtype), (len(rows), 1))
            file.write(np.concatenate([head, rows], axis=1).tobytes())
        self.n_rows += len(rows)

    def write_padded(self, ids: Sequence[int], owners: Sequence[int]) -> None:
        """Write one row that may be short."""
        n_padding = self.width - len(ids)
        self.n_padding += n_padding
        self.write([*ids, *[self.pad_id] * n_padding], [*owners, *[-1] * n_padding])

    def close(self) -> None:
        """Nothing more is written."""
        self._tokens.close()
        self._documents.close()


@runtime_checkable
class Layout(Protocol):
    """Takes the documents of one split and writes their rows."""

    rows: RowFiles
    spans: list[Spans]
    """Named parts by row, as columns; empty where rows have none."""

    def spans_of(self, document: Document, ids: Sequence[int]) -> Spans:
        """What the rows will have to say of a document with these tokens. Raises `UserError` where it fits in none."""
        ...

    def add(self, number: int, ids: Ids, spans: Spans) -> None:
        """Take the next document of the split: its number in the corpus, its tokens, and what is said of it."""
        ...

    def finish(self) -> None:
        """Write what is left."""
        ...


class Packed:
    """Documents one after another with the end-of-text token between them; only the last row is padded."""

    def __init__(self, rows: RowFiles, tokenizer: Tokenizer):
        self.rows, self.spans = rows, list[Spans]()
        self._end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
        self._ids, self._owners = np.empty(0, dtype=rows.dtype), np.empty(0, dtype=np.int32)

    def spans_of(self, document: Document, ids: Sequence[int]) -> Spans:
        """Nothing: a row holds parts of several documents."""
        return {}

    def add(self, number: int, ids: Ids, spans: Spans) -> None:
        """Append one document to the stream, and write the rows that are full."""
        self._ids = np.concatenate([self._ids, ids, np.array(self._end, dtype=self._ids.dtype)])
        owners = np.full(len(ids), number, dtype=np.int32)
        self._owners = np.concatenate([self._owners, owners, np.full(len(self._end), -1, dtype=np.int32)])
        full = len(self._ids) // self.rows.width * self.rows.width
        self.rows.write(self._ids[:full], self._owners[:full])
        self._ids, self._owners = self._ids[full:], self._owners[full:]

    def finish(self) -> None:
        """Pad and write the last row."""
        if len(self._ids):
            self.rows.write_padded(self._ids.tolist(), self._owners.tolist())


class Prompts:
    """One document a row, padded at the end and never cut; with the roles that its record names."""

    def __init__(self, rows: RowFiles, tokenizer: Tokenizer):
        self.rows, self.spans = rows, list[Spans]()
        self._vocabulary = tokenizer.vocabulary

    def spans_of(self, document: Document, ids: Sequence[int]) -> Spans:
        """Its roles as columns of its row. Raises `UserError` for a prompt that is longer than a row, and for roles
        that are no parts of it."""
        if len(ids) > self.rows.width:
            raise UserError(
                f"The prompt {document.name!r} has {len(ids)} tokens, and a row holds {self.rows.width}.",
                f"prompts of at most {self.rows.width} tokens",
                "make rows longer (n_ctx), shorten the prompt, or use the layout `packed`, which cuts documents.",
            )
        before = len(self.rows.lead)
        found = token_spans(document, ids, self._vocabulary)
        return {name: (start + before, end + before) for name, (start, end) in found.items()}

    def add(self, number: int, ids: Ids, spans: Spans) -> None:
        """Write the prompt's row."""
        self.spans.append(spans)
        self.rows.write_padded(ids.tolist(), [number] * len(ids))

    def finish(self) -> None:
        """Nothing is left."""


LAYOUTS: dict[str, type[Packed] | type[Prompts]] = {"packed": Packed, "prompts": Prompts}
"""Ways to lay documents out in rows."""


def join(folder: Path, splits: Sequence[RowFiles], n_ctx: int) -> None:
    """Put the rows of all splits together: `tokens.npy`, `documents.npy`, and where each document lies."""
    n_rows = sum(rows.n_rows for rows in splits)
    for name, dtype, parts in (
        ("tokens", splits[0].dtype, [rows.tokens_path for rows in splits]),
        ("documents", np.int32, [rows.documents_path for rows in splits]),
    ):
        out = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(n_rows, n_ctx))
        start = 0
        for path in parts:
            found = np.fromfile(path, dtype=dtype).reshape(-1, n_ctx)
            out[start : start + len(found)] = found
            start += len(found)
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
