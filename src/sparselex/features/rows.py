"""The tokens of a whole row as strings, as other projects' files have them."""

import codecs
from functools import lru_cache

from sparselex.text.rows import TokenRows


class RowTexts:
    """The rows of a corpus as one string for each token, which joined are the row's text.

    A character whose bytes come in several tokens stands at the last of them, and the others bring what was whole
    before it, often nothing: as a stream of bytes is decoded. Bytes that never become a character are shown as \\xNN.
    The row's BOS and the padding behind its text are left out.
    """

    def __init__(self, corpus: TokenRows, *, kept: int = 4096):
        self.corpus = corpus
        self.first = 0 if corpus.bos_id is None else 1
        """Column of the row at which its strings begin."""
        self.of = lru_cache(maxsize=kept)(self._of)
        self._whole = [_whole(corpus.vocabulary.token_bytes(token)) for token in range(len(corpus.vocabulary))]

    def _of(self, row: int) -> list[str]:
        """The strings of a row, from column `first` on. Shared by all who ask: nobody may change it."""
        tokens = self.corpus.tokens[row, self.first :].tolist()
        documents = self.corpus.documents[row, self.first :]
        while tokens and documents[len(tokens) - 1] < 0:
            tokens.pop()
        known = len(self._whole)
        found = [self._whole[token] if token < known else None for token in tokens]
        if None not in found:
            return [text for text in found if text is not None]
        return self._decoded(tokens)

    def _decoded(self, tokens: list[int]) -> list[str]:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
        special, found = self.corpus.vocabulary.special_ids, list[str]()
        for place, token in enumerate(tokens):
            data = self.corpus.vocabulary.token_bytes(token)
            if token in special and found:  # a separator is no text: what came before it ends there
                found[-1] += decoder.decode(b"", final=True)
                decoder.reset()
            found.append(decoder.decode(data, final=place == len(tokens) - 1))
        return found


def _whole(data: bytes) -> str | None:
    """The text of bytes that are whole characters, else None."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None
