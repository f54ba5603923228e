"""Tokens as people read them: nothing hidden, no two tokens written alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparselex.base.vocabulary import Vocabulary
from sparselex.features.printing import TokenPrinter, visible


@given(st.text(max_size=20), st.booleans())
def test_nothing_stays_hidden(text, active):
    shown = visible(text, active=active)
    assert not any(char in shown for char in "\n\r\x00\x1b\x7f\u202e\u2066\u2028")
    assert not (active and text) or not shown.isspace()


def test_signs():
    assert visible("\u200b") == "\\u200b" and visible("a\u200b") == "a\u200b" and visible("\x00") == "␀"


@pytest.mark.parametrize(
    ("data", "label", "quoted"),
    [
        (b" return", "·return", '"·return"'),
        (b"\n    ", "↵····", '"↵····"'),
        (b"\n" + b" " * 12 + b"x", "↵·×12x", '"↵·×12x"'),
        (b"\tx", "→x", '"→x"'),
        (b'"), ', '"),·', '"\\"),·"'),
        (b"\\", "\\", '"\\\\"'),
        (b"\xc3", "\\xc3", '"\\\\xc3"'),
    ],
)
def test_a_token_in_lists_and_in_sentences(data, label, quoted):
    printer = TokenPrinter(Vocabulary([data]))
    assert (printer.label(0), printer.quoted(0)) == (label, quoted)


def test_tokens_of_one_text_bear_their_numbers_and_the_last_has_the_text():
    printer = TokenPrinter(Vocabulary([b"a", b"a", b"\xc3", b"\\xc3", b"a#0"]))
    assert [printer.label(token) for token in range(4)] == ["a#0", "a", "\\xc3#2", "\\xc3"]
    assert printer.quoted(0) == '"a"#0' and printer.quoted(4) == '"a#0"'


@given(st.lists(st.binary(max_size=4) | st.sampled_from([b"a", b'"', b"\\", b" ", b"\xb7".decode("latin-1").encode()])))
def test_no_two_tokens_are_quoted_alike(tokens):
    printer = TokenPrinter(Vocabulary(tokens))
    assert len({printer.quoted(token) for token in range(len(tokens))}) == len(tokens)


@pytest.mark.parametrize("token", [2, 10**6, -1])
def test_an_id_that_no_token_has(token):
    vocabulary = Vocabulary([b"a", b"b"])
    printer = TokenPrinter(vocabulary)
    assert printer.label(token) == f"<no·token·{token}>" and printer.quoted(token) == f'"<no·token·{token}>"'
    assert vocabulary.text(token) == f"<no token {token}>" and token not in vocabulary
    assert vocabulary.decode([0, token, 1]) == "ab"
