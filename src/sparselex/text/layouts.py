"""How documents become rows: packed one after another, or one prompt a row. One split's rows in raw files of their own,
put together at the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.text.documents import Document
from sparselex.text.roles import Spans, token_spans
from sparselex.text.splits import Split
from sparselex.text.tokenizer import Tokenizer


class RowFiles:
    """Rows of one split, written as raw bytes while they come; each begins with the tokenizer's BOS, if it has one."""

    def __init__(self, folder: Path, split: Split, tokenizer: Tokenizer, n_ctx: int):
        self.dtype = np.uint16 if len(tokenizer.vocabulary) <= 2**16 else np.uint32
        fallbacks = (tokenizer.pad_id, tokenizer.eos_id, tokenizer.bos_id, 0)
        self.pad_id = next(i for i in fallbacks if i is not None)
        self.lead = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        self.width = n_ctx - len(self.lead)
        """Tokens in a row beside the BOS."""
        self.tokens_path, self.documents_path = folder / f"{split}.tokens", folder / f"{split}.documents"
        self._tokens, self._documents = open(self.tokens_path, "wb"), open(self.documents_path, "wb")
        self.n_rows = self.n_padding = 0

    def write(self, ids: Sequence[int], owners: Sequence[int]) -> None:
        """Write whole rows: `width` token ids each, and the document that each is of."""
        for values, lead, dtype, file in (
            (ids, self.lead, self.dtype, self._tokens),
            (owners, [-1] * len(self.lead), np.int32, self._documents),
        ):
            rows = np.array(values, dtype=dtype).reshape(-1, self.width)
            head = np.tile(np.array(lead, dtype=dtype), (len(rows), 1))
            file.write(np.ascontiguousarray(np.concatenate([head, rows], axis=1)).tobytes())
        self.n_rows += len(ids) // self.width

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

    def add(self, number: int, document: Document, ids: list[int]) -> None:
        """Take the next document, its number in the corpus and its tokens."""
        ...

    def finish(self) -> None:
        """Write what is left."""
        ...


class Packed:
    """Documents one after another with the end-of-text token between them; only the last row is padded."""

    def __init__(self, rows: RowFiles, tokenizer: Tokenizer):
        self.rows, self.spans = rows, list[Spans]()
        self._eos_id = tokenizer.eos_id
        self._ids: list[int] = []
        self._owners: list[int] = []

    def add(self, number: int, document: Document, ids: list[int]) -> None:
        """Append one document to the stream, and write the rows that are full."""
        self._ids += ids
        self._owners += [number] * len(ids)
        if self._eos_id is not None:
            self._ids.append(self._eos_id)
            self._owners.append(-1)
        if full := len(self._ids) // self.rows.width * self.rows.width:
            self.rows.write(self._ids[:full], self._owners[:full])
            del self._ids[:full], self._owners[:full]

    def finish(self) -> None:
        """Pad and write the last row."""
        if self._ids:
            self.rows.write_padded(self._ids, self._owners)


class Prompts:
    """One document a row, padded at the end and never cut; with the roles that its record names."""

    def __init__(self, rows: RowFiles, tokenizer: Tokenizer):
        self.rows, self.spans = rows, list[Spans]()
        self._vocabulary = tokenizer.vocabulary

    def add(self, number: int, document: Document, ids: list[int]) -> None:
        """Write the prompt's row. Raises `UserError` for a prompt that is longer than a row, and for roles that are no
        parts of it."""
        if len(ids) > self.rows.width:
            raise UserError(
                f"The prompt {document.name!r} has {len(ids)} tokens, and a row holds {self.rows.width}.",
                f"prompts of at most {self.rows.width} tokens",
                "make rows longer (n_ctx), shorten the prompt, or use the layout `packed`, which cuts documents.",
            )
        before = len(self.rows.lead)
        found = token_spans(document, ids, self._vocabulary)
        self.spans.append({name: (start + before, end + before) for name, (start, end) in found.items()})
        self.rows.write_padded(ids, [number] * len(ids))

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
