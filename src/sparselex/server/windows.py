"""The text around an example, token by token, with the latent's activations on it."""

from collections.abc import Iterator

import numpy as np

from sparselex.base.vocabulary import Vocabulary
from sparselex.features.index import FeatureIndex
from sparselex.features.records import Example
from sparselex.server.contexts import ExampleView, Span

BEFORE, AFTER = 30, 12
LEVELS = 10


def window(index: FeatureIndex, latent: int, example: Example, largest: float) -> ExampleView:
    """The example with up to 30 tokens before and 12 after, inside its row and document."""
    corpus = index.corpus
    row, column = divmod(example.position, corpus.n_ctx)
    owners = np.asarray(corpus.documents[row])
    span = slice(max(0, column - BEFORE), min(corpus.n_ctx, column + AFTER + 1))
    columns = np.arange(span.start, span.stop)[owners[span] == owners[column]]
    positions, values = index.column(latent)
    wanted = row * corpus.n_ctx + columns
    place = np.searchsorted(positions, wanted).clip(max=max(0, len(positions) - 1))
    found = np.where(positions[place] == wanted, values[place], 0.0) if len(positions) else np.zeros(len(wanted))
    tokens = np.asarray(corpus.tokens[row])[columns].tolist()
    spans = [_span(part, corpus.vocabulary, largest) for part in _characters(tokens, found.tolist(), corpus.vocabulary)]
    return ExampleView(
        position=example.position, document=corpus.names[int(owners[column])], value=example.value, spans=spans
    )


def _characters(
    tokens: list[int], values: list[float], vocabulary: Vocabulary
) -> Iterator[list[tuple[int, float]]]:
    """Tokens grouped so that each group's bytes are whole characters (or, in broken text, at most four tokens)."""
    group: list[tuple[int, float]] = []
    for token, value in zip(tokens, values, strict=True):
        group.append((token, value))
        data = b"".join(vocabulary.token_bytes(t) for t, _ in group)
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            if len(group) < 4:
                continue
        yield group
        group = []
    if group:
        yield group


def _span(group: list[tuple[int, float]], vocabulary: Vocabulary, largest: float) -> Span:
    data = b"".join(vocabulary.token_bytes(token) for token, _ in group)
    value = max((v for _, v in group), key=abs)
    return Span(
        text=visible(data.decode("utf-8", errors="backslashreplace"), active=value != 0),
        value=value,
        level=min(LEVELS, int(np.ceil(LEVELS * abs(value) / largest))) if largest else 0,
        detail=", ".join(f"{vocabulary.text(token)!r} (token {token}): {v:.4g}" for token, v in group),
    )


def visible(text: str, *, active: bool) -> str:
    """Line ends as ↵; where the token is active, spaces and tabs as · and → too: heat must not lie on nothing."""
    text = text.replace("\r", "␍").replace("\n", "↵")
    return text.replace(" ", "·").replace("\t", "→") if active and not text.strip(" \t") else text
