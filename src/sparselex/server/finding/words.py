"""Search in texts: of labels, explanations, examples and promoted tokens, by words or by a pattern."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.features.searched import compiled, matches
from sparselex.server.explained import Entries, Texts
from sparselex.server.finding.hits import Hits, MatchView, Piece, Where
from sparselex.server.opened import OpenIndex
from sparselex.server.page import Impossible

MOST_WORDS, MOST_PATTERN = 8, 200
_MOST_SHOWN = 3
"""Words of a search of which a row shows where they were found."""

_LABEL, _EXPLANATION, _PROMOTED = 2.0, 0.5, 0.1
"""What a match is worth beside one in examples, which is worth 1 at most."""

_HALF = 100
"""Characters into an explanation at which a match counts half: rules name the strongest first."""

_SIDE = 40
"""Characters of an explanation that are shown to either side of what was found."""

Span = Callable[[str], tuple[int, int] | None]


class Searched(NamedTuple):
    """What is looked at."""

    found: OpenIndex
    entries: Entries
    texts: Texts
    labels: Mapping[int, str]


class Needle(NamedTuple):
    """One thing that is looked for, and where it is."""

    hit: NDArray[np.int64]
    """Slots in the text of examples, ascending."""

    explained: NDArray[np.float64]
    """`[d_sae]`, in explanations: 1 at their beginning, half that `_HALF` characters into them, 0 where not at all."""

    promoted: NDArray[np.bool_]
    """`[d_sae]`, in promoted tokens."""

    span: Span
    """Where in a text, or None."""


def by_words(searched: Searched, words: str) -> Hits:
    """Latents whose texts hold each of the words, wherever they hold it. Raises `Impossible` for too many words."""
    each = list(dict.fromkeys(words.split()))
    if len(each) > MOST_WORDS:
        raise Impossible(
            f"The search has {len(each)} words.",
            f"at most {MOST_WORDS}",
            "search for fewer, or for the whole of them in the mode `passage`.",
        )
    return _hits(searched, [_of_word(searched, word) for word in each])


def by_pattern(searched: Searched, pattern: str) -> Hits:
    """Latents with a text that a regular expression matches. Raises `Impossible` for one that is none, or takes too
    long."""
    if len(pattern) > MOST_PATTERN:
        raise Impossible(f"The pattern has {len(pattern)} signs.", f"at most {MOST_PATTERN}", "shorten it.")
    try:
        return _hits(searched, [_of_pattern(searched, pattern)])
    except UserError as error:
        raise Impossible(error.given, error.expected, error.todo) from None


def _of_word(searched: Searched, word: str) -> Needle:
    plain = re.compile(re.escape(word), re.IGNORECASE)

    def span(text: str) -> tuple[int, int] | None:
        found = plain.search(text)
        return found.span() if found else None

    hit, explained = searched.found.examples.text.words(word), _explained(searched, *searched.texts.with_words(word))
    return Needle(hit, explained, _promoting(searched, searched.found.tokens_with(word)), span)


def _of_pattern(searched: Searched, pattern: str) -> Needle:
    read, vocabulary = compiled(pattern), searched.found.index.corpus.vocabulary
    hit, texts = searched.found.examples.text.pattern(pattern), searched.texts
    firsts = np.array([first for first, _ in matches(texts.text, read, texts.ends)], dtype=np.int64)
    tokens = [vocabulary.token_bytes(token) for token in range(len(vocabulary))]
    ends = np.cumsum([len(token) + 1 for token in tokens])
    there = [first for first, _ in matches(b"\n".join([*tokens, b""]), read, ends)]
    explained = _explained(searched, *texts.lines(firsts, texts.ends))
    promoted = _promoting(searched, np.searchsorted(ends, there, "right").tolist())

    def span(text: str) -> tuple[int, int] | None:
        found = read.search(text.encode(errors="replace"))
        if not found:
            return None
        whole = text.encode(errors="replace")
        start = len(whole[: found.start()].decode(errors="ignore"))
        return start, start + len(whole[found.start() : found.end()].decode(errors="ignore"))

    return Needle(hit, explained, promoted, span)


def _explained(searched: Searched, latents: NDArray[np.int64], into: NDArray[np.int64]) -> NDArray[np.float64]:
    worth = np.zeros(searched.found.index.d_sae)
    np.maximum.at(worth, latents, _HALF / (_HALF + into))
    return worth


def _promoting(searched: Searched, tokens: list[int]) -> NDArray[np.bool_]:
    there = np.zeros(searched.found.index.d_sae, dtype=bool)
    starts, latents = searched.found.promoting
    for token in set(tokens):
        there[latents[starts[token] : starts[token + 1]]] = True
    return there


def _hits(searched: Searched, needles: list[Needle]) -> Hits:
    d_sae = searched.found.index.d_sae
    every, total = np.ones(d_sae, dtype=bool), np.zeros(d_sae)
    for needle in needles:
        worth = searched.found.examples.scores(needle.hit)
        worth += _EXPLANATION * needle.explained + _PROMOTED * needle.promoted
        labelled = [latent for latent, text in searched.labels.items() if latent < d_sae and needle.span(text)]
        worth[labelled] += _LABEL
        every &= worth > 0
        total += worth
    latents = np.flatnonzero(every)
    return Hits(latents, total[latents], lambda shown: _shown(searched, needles, shown))


def _shown(searched: Searched, needles: list[Needle], latents: list[int]) -> dict[int, list[MatchView]]:
    if not latents:
        return {}
    texts, examples, shown = searched.entries.texts(latents), searched.found.examples, needles[:_MOST_SHOWN]
    snippets = zip(*(examples.snippets(needle.hit, latents, searched.found.texts) for needle in shown), strict=True)
    return {
        latent: _views(searched, needles, latent, texts.get(latent, {}), found)
        for latent, found in zip(latents, snippets, strict=True)
    }


def _views(
    searched: Searched, needles: list[Needle], latent: int, texts: dict[str, str], examples: tuple[list[Piece], ...]
) -> list[MatchView]:
    views: list[MatchView] = []
    for needle, example in zip(needles[:_MOST_SHOWN], examples, strict=True):
        label = searched.labels.get(latent, "")
        who, explained = _best(texts, needle.span)
        promoted = [] if example or explained else _promoted(searched, needle, latent)
        places: dict[Where, list[Piece]] = {
            "label": _cut(label, needle.span),
            "explanation": explained,
            "example": example,
            "promoted": promoted,
        }
        by = {"explanation": who}
        there = [
            MatchView(where=where, explainer=by.get(where, ""), pieces=pieces)
            for where, pieces in places.items()
            if pieces
        ]
        views += there if len(needles) == 1 else there[:1]
    return [view for number, view in enumerate(views) if view not in views[:number]]


def _best(texts: dict[str, str], span: Span) -> tuple[str, list[Piece]]:
    """Whose explanation has it nearest to its beginning, by which the latent was ranked, and the text around it."""
    found = {who: at[0] for who, text in texts.items() if (at := span(text))}
    if not found:
        return "", []
    who = min(found, key=found.__getitem__)
    return who, _cut(texts[who], span)


def _promoted(searched: Searched, needle: Needle, latent: int) -> list[Piece]:
    promoted, vocabulary = searched.found.index.all_promoted, searched.found.index.corpus.vocabulary
    tokens = [] if promoted is None else promoted[latent].tolist()
    found = next((token for token in tokens if needle.span(vocabulary.text(token))), None)
    return [] if found is None else [Piece(searched.found.texts.label(found), found=True)]


def _cut(text: str, span: Span) -> list[Piece]:
    """What was found in a text with some characters around it; empty where it is not there."""
    found = span(text)
    if found is None:
        return []
    start, end = found
    before, behind = text[max(0, start - _SIDE) : start], text[end : end + _SIDE]
    ahead, more = "…" if start > _SIDE else "", "…" if end + _SIDE < len(text) else ""
    pieces = [Piece(ahead + before), Piece(text[start : min(end, start + 200)], found=True), Piece(behind + more)]
    return [piece for piece in pieces if piece.text]
