"""Documents taken from a text until there are tokens enough: tokenized, set aside, and compared with each other."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from sparselex.base.progress import progress
from sparselex.text.config import CorpusConfig
from sparselex.text.copies import Copies
from sparselex.text.documents import Document, Documents, Skipped
from sparselex.text.given import Pair, chat_ids, given_ids
from sparselex.text.mixture import Mixture
from sparselex.text.records import Part
from sparselex.text.roles import Spans
from sparselex.text.splits import is_held_out
from sparselex.text.spool import Spool
from sparselex.text.tokenizer import Tokenizer

_BATCH = 64
"""Documents tokenized at a time."""


class Taken(NamedTuple):
    """The documents of a corpus before they are divided."""

    names: list[str]
    """Their names."""

    spans: list[Spans]
    """What the layout has to say of each."""

    groups: list[int]
    """A number that each shares with its copies."""

    scale: int | None
    """How thinly texts were compared (`Copies.scale`); None where they were not."""

    spool: Spool
    """Their tokens."""

    skipped: dict[str, tuple[int, str]]
    """What was read and is not among them (`Documents.skipped`)."""

    altered: list[str]
    """Names of the documents whose tokens do not give their bytes back."""

    parts: list[Part]
    """What is of each source of a mixture."""


def take(
    documents: Documents | Mixture,
    tokenizer: Tokenizer,
    config: CorpusConfig,
    spans_of: Callable[[Document, list[int]], Spans],
    spool: Spool,
) -> Taken:
    """Take as many of `documents` as `config` wants, their tokens into `spool`. Raises like `spans_of`."""
    names, spans, room, altered = list[str](), list[Spans](), _Room(config), list[str]()
    copies = Copies(near=config.layout == "packed") if config.copies == "together" else None
    with progress("tokenize", config.n_tokens, "tokens") as bar:
        # Asked before as well: to read a document that is not taken is cheap, to tokenize it is not.
        for document, ids in _read(documents, room.takes, tokenizer):
            if room.takes(document):
                spans.append(spans_of(document, ids))
                names.append(document.name)
                spool.add(ids)
                altered += [document.name] * (not _gives_back(document, ids, tokenizer))
                room.took(document, len(ids))
                if copies:
                    copies.add(document.text)
                bar.advance(len(ids))
            if room.is_full:
                break
    spool.close()
    if not names and isinstance(documents, Documents):
        raise documents.no_text()
    parts = documents.parts() if isinstance(documents, Mixture) else []
    groups = copies.groups().tolist() if copies else list(range(len(names)))
    return Taken(names, spans, groups, copies.scale if copies else None, spool, documents.skipped, altered, parts)


class _Room:
    """How much text is still wanted: so many tokens, and then of documents that the model has held out as many as make
    up the share of test."""

    def __init__(self, config: CorpusConfig):
        self._held_out, self._left = config.held_out, math.inf if config.n_tokens is None else config.n_tokens
        self._test_left = config.shares[2] * self._left if config.held_out and config.shares[2] else 0.0

    def takes(self, document: Document) -> bool:
        """Whether this document is wanted."""
        return self._left > 0 or (self._test_left > 0 and self._is_held_out(document))

    def took(self, document: Document, n_tokens: int) -> None:
        """Note that it was taken."""
        self._left -= n_tokens
        if self._is_held_out(document):
            self._test_left -= n_tokens

    @property
    def is_full(self) -> bool:
        """Whether nothing more is wanted."""
        return self._left <= 0 and self._test_left <= 0

    def _is_held_out(self, document: Document) -> bool:
        return self._held_out is not None and is_held_out(document.name, self._held_out)


def _read(documents: Documents | Mixture, takes: Callable[[Document], bool], tokenizer: Tokenizer) -> Iterator[Pair]:
    """Documents with their tokens; of a mixture, each time of the source that is furthest behind its share of them."""
    if isinstance(documents, Documents):
        return _tokenized(documents, takes, tokenizer)
    streams = [_tokenized(one.documents, takes, tokenizer) for one in documents.ingredients]
    return documents.in_turns(streams, lambda pair: len(pair[1]))


def _gives_back(document: Document, ids: Sequence[int], tokenizer: Tokenizer) -> bool:
    """Whether its tokens are its text, byte for byte. Of a chat they are more, and ids have no other text."""
    is_text = document.ids is None and document.messages is None
    return not is_text or tokenizer.vocabulary.bytes_of(ids) == document.text.encode()


def _tokenized(documents: Documents, takes: Callable[[Document], bool], tokenizer: Tokenizer) -> Iterator[Pair]:
    for batch in _batched(filter(takes, documents)):
        plain = [document for document in batch if document.ids is None and document.messages is None]
        ids = iter(tokenizer.encode_batch([document.text for document in plain]))
        for document in batch:
            if document.ids is not None:
                found = given_ids(document, tokenizer)
            elif document.messages is not None:
                found = chat_ids(document, tokenizer)
            else:
                found = document, next(ids)
            if isinstance(found, Skipped):
                documents.skip(found)
            else:
                yield found


def _batched(documents: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(documents)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch
