"""The text of a split as tokens, bytes and characters: where spans of a document's text begin and end among its
tokens."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.text.rows import TokenRows
from sparselex.text.splits import Split

Span = tuple[int, int]
"""Where a span begins and ends in a text, in characters."""


class SplitText:
    """The whole documents of one split that have counted tokens, each token with its place in its document's bytes.

    A document's text is its bytes as UTF-8; a byte that is part of no character stands as one lone surrogate (Python's
    `surrogateescape`), so that characters and bytes have an exact relation whatever a file holds.
    """

    positions: NDArray[np.int64]
    """`[n]`, where in the corpus each token of these documents stands, one document after another."""

    tokens: NDArray[np.int64]
    """`[n]`, their ids."""

    documents: NDArray[np.int64]
    """`[n]`, the document of each, numbered from 0 here."""

    starts: NDArray[np.int64]
    """`[n]`, where the bytes of each begin, counted over all documents here."""

    ends: NDArray[np.int64]
    """`[n]`, where they end."""

    def __init__(self, corpus: TokenRows, counted: NDArray[np.bool_], split: Split):
        self.corpus, self.split, self._counted = corpus, split, counted
        rows, n_ctx = corpus.row_ranges[split], corpus.n_ctx
        owners = np.asarray(corpus.documents[rows.start : rows.stop]).reshape(-1)
        looked = np.unique(owners[counted[rows.start * n_ctx : rows.stop * n_ctx]])
        local = np.flatnonzero((owners >= 0) & np.isin(owners, looked))
        # Documents stand one after another; sorted by document they do so here even where rows were shuffled.
        local = local[np.argsort(owners[local], kind="stable")]
        self._names = np.unique(owners[local])
        self.documents = np.searchsorted(self._names, owners[local])
        self.positions = rows.start * n_ctx + local.astype(np.int64)
        self.tokens = np.asarray(corpus.tokens).reshape(-1)[self.positions].astype(np.int64)
        self.ends = np.cumsum(self._lengths[self.tokens])
        self.starts = self.ends - self._lengths[self.tokens]
        self._firsts = np.searchsorted(self.documents, np.arange(len(self._names) + 1))

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def counted(self) -> NDArray[np.int64]:
        """`[n_counted]`, places here of the counted tokens of the split, in the order of the corpus."""
        order = np.argsort(self.positions, kind="stable")
        return order[self._counted[self.positions[order]]]

    @property
    def n_documents(self) -> int:
        """How many documents."""
        return len(self._names)

    def name(self, document: int) -> str:
        """What the corpus calls a document."""
        return self.corpus.names[int(self._names[document])]

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """What each token of the vocabulary adds to a text; special ones nothing."""
        vocabulary = self.corpus.vocabulary
        return [vocabulary.bytes_of([token]) for token in range(len(vocabulary))]

    @cached_property
    def data(self) -> bytes:
        """The bytes of all documents, one behind the other."""
        return b"".join(map(self.token_bytes.__getitem__, self.tokens.tolist()))

    @cached_property
    def texts(self) -> list[str]:
        """The text of each document."""
        bounds = self._bounds.tolist()
        return [self.data[a:b].decode("utf-8", "surrogateescape") for a, b in itertools.pairwise(bounds)]

    def inside(self, spans_of: Callable[[int, str], Iterable[Span]]) -> NDArray[np.bool_]:
        """`[n]`, True for each token of which a byte lies in a span. `spans_of` is called with every document's number
        and text, and gives spans of its characters; empty ones hold nothing."""
        begins, ends = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        for document, text in enumerate(self.texts):
            spans = np.array(list(spans_of(document, text)), dtype=np.int64).reshape(-1, 2)
            spans = spans[spans[:, 0] < spans[:, 1]]
            if len(spans):
                at = self._byte_places(document)
                spans = spans if at is None else at[spans]
                begins.append(spans[:, 0] + self._bounds[document])
                ends.append(spans[:, 1] + self._bounds[document])
        # Tokens that end behind where a span begins, and begin before where it ends.
        first = np.searchsorted(self.ends, np.concatenate(begins), "right")
        last = np.searchsorted(self.starts, np.concatenate(ends), "left")
        depth = np.zeros(len(self) + 1, dtype=np.int64)
        np.add.at(depth, first, 1)
        np.add.at(depth, np.maximum(last, first), -1)
        return np.cumsum(depth[:-1]) > 0

    @cached_property
    def windows(self) -> NDArray[np.int64]:
        """`[n]`, how many tokens of the same document stand before each in its row, without a gap: what a model that
        reads rows has seen of it."""
        new = np.ones(len(self), dtype=bool)
        same = (np.diff(self.positions) == 1) & (np.diff(self.documents) == 0)
        new[1:] = ~same | (self.positions[1:] % self.corpus.n_ctx == 0)
        begun = np.flatnonzero(new)
        return np.arange(len(self)) - np.repeat(begun, np.diff([*begun, len(self)]))

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        return np.array([len(data) for data in self.token_bytes], dtype=np.int64)

    @cached_property
    def _bounds(self) -> NDArray[np.int64]:
        """`[n_documents + 1]`, where each document's bytes begin."""
        return np.concatenate([[0], self.ends])[self._firsts]

    def _byte_places(self, document: int) -> NDArray[np.int64] | None:
        """`[n_characters + 1]`, where each character of a document begins among its bytes; None where each is one
        byte."""
        if document not in self._places:
            text = self.texts[document]
            self._places[document] = None if text.isascii() else byte_places(text)
        return self._places[document]

    @cached_property
    def _places(self) -> dict[int, NDArray[np.int64] | None]:
        return {}


def byte_places(text: str) -> NDArray[np.int64]:
    """`[n_characters + 1]`, where each character begins among the UTF-8 bytes of a text, and behind the last where it
    ends; lone surrogates stand for one byte each."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    lengths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    lengths[(points >= 0xDC80) & (points <= 0xDCFF)] = 1
    return np.concatenate([[0], np.cumsum(lengths)])


def best_windows(scores: NDArray[np.float64], before: NDArray[np.int64], least: int = 1) -> NDArray[np.float64]:
    """`[n]`, the largest sum of `scores` over the tokens that end at each and begin anywhere before it in its window,
    `least` of them at the fewest; minus infinity where so many are not there.

    Args:
        scores: `[n]`, of each token.
        before: `[n]`, tokens of its window before each (`SplitText.windows`).
        least: tokens, 1 or more.
    """
    best = scores.copy()
    order = np.argsort(before, kind="stable")
    begins = np.searchsorted(before[order], np.arange(1, int(before.max(initial=0)) + 2))
    for start, stop in itertools.pairwise(begins):
        here = order[start:stop]
        best[here] += np.maximum(0.0, best[here - 1])
    for further in range(1, least):
        # The best that ends one token earlier, and this one besides.
        longer = np.full(len(scores), -np.inf)
        here = np.flatnonzero(before >= further)
        longer[here] = scores[here] + best[here - 1]
        best = longer
    return best


def spans_checked(spans: Iterable[object], length: int, where: str) -> Iterator[Span]:
    """Spans that a person's function gave. Raises `UserError` for what is no span of a text of that many characters."""
    for span in spans:
        pair = tuple(span) if isinstance(span, Sequence | np.ndarray) and not isinstance(span, str) else ()
        whole = len(pair) == 2 and all(isinstance(end, int | np.integer) for end in pair)
        if not whole or not 0 <= pair[0] <= pair[1] <= length:
            raise UserError(
                f"{where} gave {span!r} for a text of {length:,} characters.",
                "pairs (start, end) of characters with 0 <= start <= end <= length of the text",
                "correct the function.",
            )
        yield int(pair[0]), int(pair[1])
