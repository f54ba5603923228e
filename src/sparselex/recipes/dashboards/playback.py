"""Dashboards read as if a model gave them: their texts are the rows of a corpus, and of what was active on these an
index is built, by the one walk that builds every index."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.bos import Bos
from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.base.vocabulary import Vocabulary
from sparselex.convert.dashboard import Dashboard
from sparselex.dictionaries.codes import Codes
from sparselex.lm.subject import HookPoint, Place, Readable
from sparselex.text.corpus import TokenCorpus
from sparselex.text.documents import Document

_WIDTH = 2
"""What is "read" at a token is where it stands: its text and its column."""


class Texts:
    """The texts of examples, each once, with the activations of every latent on them; a tokenizer for just these."""

    bos_id: int | None = None
    eos_id: int | None = None
    adds_bos = False

    def __init__(self, dashboards: Iterable[Dashboard]):
        self._numbers: dict[str, int] = {}
        self._texts: dict[tuple[int, ...], int] = {}
        self._entries: dict[tuple[int, int, int], float] = {}
        self.d_sae = 0
        for one in dashboards:
            self.d_sae = max(self.d_sae, one.latent + 1)
            for example in one.examples:
                self._add(one.latent, example.tokens, example.values)
        padding = len(self._numbers)
        self.pad_id: int | None = padding
        pieces = [text.encode(errors="backslashreplace") for text in self._numbers]
        self.vocabulary = Vocabulary([*pieces, b"<padding>"], [padding])
        self.n_ctx = max(map(len, self._texts), default=0)
        self.n_texts = len(self._texts)
        digest = hashlib.sha256(repr([list(self._numbers), list(self._texts)]).encode(errors="backslashreplace"))
        self.id = digest.hexdigest()[:16]
        """Of the texts; `entries_id` is of the activations."""
        self.entries_id = hashlib.sha256(repr(self._entries).encode()).hexdigest()[:16]

    def _add(self, latent: int, tokens: Sequence[str], values: Sequence[float]) -> None:
        ids = tuple(self._numbers.setdefault(text, len(self._numbers)) for text in tokens)
        text = self._texts.setdefault(ids, len(self._texts))
        for column, value in enumerate(values):
            if value:
                self._entries.setdefault((text, column, latent), value)

    def documents(self) -> Iterable[Document]:
        """Each text as a document that comes tokenized."""
        for ids, number in self._texts.items():
            yield Document(f"text {number}", "", ids=ids)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """No text can be tokenized as its makers did. Raises `UserError` for one."""
        if texts:
            raise _no_model()
        return []

    def by_row(self, corpus: TokenCorpus) -> dict[bytes, int]:
        """The text of every row of their corpus, by its tokens."""
        numbers = [int(corpus.names[owner].removeprefix("text ")) for owner in corpus.documents[:, 0].tolist()]
        return {row.astype(np.int64).tobytes(): number for row, number in zip(corpus.tokens, numbers, strict=True)}

    def codes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Activations by place, `text * n_ctx + column`: where each place's begin, their latents, and their values."""
        ordered = sorted(self._entries.items())
        places = np.array([text * self.n_ctx + column for (text, column, _), _ in ordered], dtype=np.int64)
        ends = np.searchsorted(places, np.arange(self.n_texts * self.n_ctx + 1))
        latents = np.array([latent for (_, _, latent), _ in ordered], dtype=np.int64)
        values = np.array([value for _, value in ordered], dtype=np.float32)
        return torch.from_numpy(ends), torch.from_numpy(latents), torch.from_numpy(values)


class Rows(Protocol):
    """Rows of tokens with the activations of every latent on them."""

    id: str
    """Of the rows."""

    d_sae: int
    n_ctx: int

    vocabulary: Vocabulary

    def by_row(self, corpus: TokenCorpus) -> dict[bytes, int]:
        """The number of every row of their corpus, by its tokens."""
        ...

    def codes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Activations by place, `number * n_ctx + column`: where each place's begin, their latents, and their
        values."""
        ...


class Playback:
    """What rows are read by, as a model is: at each token it gives where that stands."""

    d_model, n_layers, bytes_per_token = _WIDTH, 1, 64
    device = torch.device("cpu")

    def __init__(self, name: str, texts: Rows, corpus: TokenCorpus):
        self.name, self.tokenizer, self.n_ctx, self.id = name, texts, corpus.n_ctx, texts.id
        self.n_vocab = len(texts.vocabulary)
        self._rows = texts.by_row(corpus)

    def hooks(self) -> list[HookPoint]:
        """None: there is no model."""
        return []

    def width(self, hook: str) -> int:
        """That of a place."""
        return _WIDTH

    def places(self, hooks: Sequence[str]) -> list[Place]:
        """One, whatever it is called."""
        return [Place(self, Hook(hook), slice(0, _WIDTH)) for hook in hooks]  # type: ignore[arg-type]

    def tokens(self, text: str, *, bos: Bos = "auto") -> Int[Tensor, "1 ctx"]:
        """No text of one's own can be put to it. Raises `UserError`."""
        raise _no_model()

    def read(self, tokens: Int[Tensor, "batch ctx"], hooks: Sequence[str]) -> dict[str, Float[Tensor, "batch ctx _"]]:
        """The text and the column of every token."""
        numbers = [self._rows[row.tobytes()] for row in tokens.numpy()]
        where = torch.empty(*tokens.shape, _WIDTH)
        where[..., 0] = torch.tensor(numbers, dtype=torch.float32)[:, None]
        where[..., 1] = torch.arange(tokens.shape[1], dtype=torch.float32)
        return dict.fromkeys(hooks, where)


class Played:
    """Codes what `Playback` gives: the activations that the files have there."""

    d_in = _WIDTH

    def __init__(self, texts: Rows):
        self.d_sae, self._n_ctx = texts.d_sae, texts.n_ctx
        self._ends, self._latents, self._values = texts.codes()

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        """The latents that are active at these places."""
        at = x[:, 0].long() * self._n_ctx + x[:, 1].long()
        starts, counts = self._ends[at], self._ends[at + 1] - self._ends[at]
        indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        entries = torch.arange(int(indptr[-1])) + torch.repeat_interleave(starts - indptr[:-1], counts)
        return Codes(indptr, self._latents[entries].long(), self._values[entries], self.d_sae)


def playback(name: str, texts: Rows, corpus: TokenCorpus) -> Readable:
    """The texts as a model that is read; it has the tokenizer of no model."""
    found: Any = Playback(name, texts, corpus)
    return found


def _no_model() -> UserError:
    return UserError(
        "These dashboards were made elsewhere: there is no model, and no tokenizer.",
        "a run of a model",
        "import the dictionary itself with `sparselex import`, and index it.",
    )
