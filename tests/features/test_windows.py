"""Examples as text: the right tokens, the right values, whole signs, nothing hidden."""

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparselex.base.errors import UserError
from sparselex.base.formats import fixed, number, percent
from sparselex.base.vocabulary import Vocabulary
from sparselex.features.pieces import AFTER, BEFORE
from sparselex.features.printing import visible
from sparselex.features.records import Example
from sparselex.features.tokens import TokenTexts
from sparselex.features.windows import LEVELS, Windows


@pytest.fixture(scope="module")
def texts(small_index) -> TokenTexts:
    return TokenTexts(small_index.corpus.vocabulary)


@pytest.mark.parametrize("position", [-1, 2**40])
def test_an_example_that_is_not_in_the_corpus(small_index, texts, position):
    with pytest.raises(UserError, match=f"position {position} of the corpus"):
        Windows(small_index, 0, texts).view(Example(position=position, value=1.0))


def bytewise() -> TokenTexts:
    """One token for each byte."""
    return TokenTexts(Vocabulary([bytes([i]) for i in range(256)]))


@given(st.text(max_size=30))
def test_groups_are_whole_characters_and_lose_nothing(text):
    data = list(text.encode())
    signs = bytewise().signs(data)
    assert "".join(signs.texts) == text
    assert len(signs.starts) == len(signs.texts) + 1
    for sign, start, end in zip(signs.texts, signs.starts[:-1], signs.starts[1:], strict=True):
        assert start < end and bytes(data[start:end]).decode() == sign
    assert (signs.starts[0], signs.starts[-1]) == (0, len(data))


@given(st.binary(max_size=30))
def test_broken_bytes_are_shown_and_lose_nothing(data):
    signs = bytewise().signs(list(data))
    assert "".join(signs.texts) == data.decode("utf-8", errors="backslashreplace")
    assert signs.starts == sorted(set(signs.starts)) and signs.starts[-1] == len(data)


def test_what_is_drawn_as_one_sign_is_one_group():
    woman = "\U0001f937\U0001f3fd\u200d\u2640\ufe0f"
    signs = bytewise().signs(list(f"a{woman}e\u0301!".encode()))
    assert signs.texts == ["a", woman, "e\u0301", "!"]


@pytest.mark.parametrize("latent", range(0, 256, 16))
def test_windows_against_a_slow_version(small_index, texts, latent):
    corpus, windows = small_index.corpus, Windows(small_index, latent, texts)
    activations = dict(zip(*map(np.ndarray.tolist, small_index.column(latent)), strict=True))
    for example in small_index.record(latent).top[:5]:
        view = windows.view(example)
        row, column = divmod(example.position, corpus.n_ctx)
        owner = corpus.documents[row, column]
        assert view.document == corpus.names[owner]
        own = [c for c in range(corpus.n_ctx) if corpus.documents[row, c] == owner]
        first, last = max(own[0], column - BEFORE), min(own[-1], column + AFTER)
        while first > own[0] and inside_a_character(corpus, row, first):
            first -= 1
        while last < own[-1] and inside_a_character(corpus, row, last + 1):
            last += 1
        tokens = corpus.tokens[row, first : last + 1].tolist()
        active = {c - first: activations.get(row * corpus.n_ctx + c, 0) for c in range(first, last + 1)}
        lines = [line for span in view.spans for line in span.detail.splitlines()]
        shown = [int(re.search(r"  token (\d+)", line)[1]) for line in lines if not line.startswith(("0 ", "one sign"))]
        assert shown == [token for place, token in enumerate(tokens) if active[place]]
        text = "".join(span.text for span in view.spans).replace("·", " ").replace("\\u200d", "\u200d")
        assert text == visible(corpus.vocabulary.decode(tokens), active=False)
        peak = [span for span in view.spans if span.peak]
        assert len(peak) == 1 and peak[0].value >= example.value and number(example.value) in peak[0].detail
        assert (view.cut_before, view.cut_after) == (first > own[0], last < own[-1])


def inside_a_character(corpus, row: int, column: int) -> bool:
    """Or before what is drawn into the character before it."""
    data = corpus.vocabulary.token_bytes(corpus.tokens[row, column])
    first = data.decode(errors="ignore")[:1]
    return 0x80 <= data[0] < 0xC0 or first == "\u200d" or unicodedata.category(first or "a")[0] == "M"


def test_a_window_never_begins_or_ends_inside_a_character(small_index, texts):
    corpus, windows = small_index.corpus, Windows(small_index, 0, texts)
    n_seen = {-BEFORE: 0, AFTER + 1: 0}
    for row, column in zip(*np.nonzero(np.asarray(corpus.documents) >= 0), strict=True):
        for edge in n_seen:
            place = column - edge  # its window would be cut just before `column`
            if not 0 <= place < corpus.n_ctx or not inside_a_character(corpus, row, column):
                continue
            if corpus.documents[row, place] == corpus.documents[row, column] == corpus.documents[row, column - 1]:
                view = windows.view(Example(position=row * corpus.n_ctx + place, value=0))
                # Where the row itself ends inside a character, the model saw it so, and so does the page.
                if view.cut_before if edge < 0 else view.cut_after:
                    text = "".join(span.text for span in view.spans)
                    assert "\\x" not in (text[:4] if edge < 0 else text[-4:])
                    n_seen[edge] += 1
    assert min(n_seen.values()) > 3


def test_heat_follows_the_largest_activation_anywhere(small_index, texts):
    latent = int(np.argmax(small_index.table["n_active"]))
    positions, values = small_index.column(latent)
    windows = Windows(small_index, latent, texts)
    for place in (int(np.argmax(values)), int(np.argmin(values))):
        view = windows.view(Example(position=int(positions[place]), value=float(values[place])))
        for span in view.spans:
            assert (span.level == 0) == (span.value == 0)
            if span.level:
                assert span.level == int(np.ceil(LEVELS * span.value / values.max() - 1e-9))
    assert max(span.level for span in windows.view(small_index.record(latent).top[0]).spans) == LEVELS


def test_numbers():
    assert [number(v) for v in (0.0, 1.0, 12345.678, -0.0421, None, float("nan"))] == [
        "0",
        "1.000",
        "12,346",
        "−0.04210",
        "–",
        "–",
    ]
    assert number(0.0000123, 3) == "1.2 × 10⁻⁵" and number(-3.2e9) == "−3.20 × 10⁹"
    assert percent(0.01234) == "1.23 %" and fixed(-0.0042) == "−0.004" and fixed(-0.0001) == "0.000"
