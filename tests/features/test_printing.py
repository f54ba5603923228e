"""Tokens as people read them: nothing hidden, no two tokens written alike."""

import itertools
import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from sparselex.base.vocabulary import Vocabulary
from sparselex.features.printing import TokenPrinter, visible
from sparselex.features.tokens import TokenTexts
from sparselex.lm.load import load_model
from tests.support.scripts import SCRIPTS


@given(st.text(max_size=20), st.booleans())
def test_nothing_stays_hidden(text, active):
    shown = visible(text, active=active)
    assert not any(char in shown for char in "\n\r\x00\x1b\x7f\u202e\u2066\u2028")
    assert not (active and text) or not shown.isspace()


@pytest.mark.parametrize(
    ("text", "active", "silent"),
    [
        (" try", "·try", " try"),
        ("\tx\r\n", "→x␍↵", "\tx␍↵"),
        ("\x00\x7f\x85", "␀␡\\x85", "␀␡\\x85"),
        ("a\u200bb", "a\\u200bb", "a\\u200bb"),  # what turns or parts words unseen has its number everywhere
        ("\u200f", "\\u200f", "\\u200f"),
        ("\u200d", "\\u200d", "\\u200d"),
        ("می\u200cخواهم", "می\u200cخواهم", "می\u200cخواهم"),  # a joiner inside a word is how the word is written
        ("👩\u200d👧", "👩\u200d👧", "👩\u200d👧"),
        ("\xa0\u3000", "\\xa0\\u3000", "\xa0\u3000"),
    ],
)
def test_signs(text, active, silent):
    assert (visible(text), visible(text, active=False)) == (active, silent)
    assert visible("a\nb\n", lines=True) == "a↵\nb↵\n"


ONE_SIGN = {
    "a family": ("👩\u200d👩\u200d👧\u200d👦!", ["👩\u200d👩\u200d👧\u200d👦", "!"]),
    "a skin tone": ("🤷🏽\u200d♀️é", ["🤷🏽\u200d♀️", "é"]),
    "flags": ("🇩🇪🇫🇷🇯", ["🇩🇪", "🇫🇷", "🇯"]),
    "Scotland": ("🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007fx", None),
    "a key": ("1\ufe0f\u20e32", ["1\ufe0f\u20e3", "2"]),
    "Devanagari": ("क्षत्रिय", ["क्ष", "त्रि", "य"]),
    "Tamil": ("க்ஷேமம் ஸ்ரீ", ["க்ஷே", "ம", "ம்", " ", "ஸ்ரீ"]),
    "Bengali": ("ক্ষমা", ["ক্ষ", "মা"]),
    "jamo": ("\u1112\u1161\u11ab\u1100\u1173", ["\u1112\u1161\u11ab", "\u1100\u1173"]),
    "marks": ("Z\u0351\u036bo", ["Z\u0351\u036b", "o"]),
    "Arabic": ("عَرَبِيّ", ["عَ", "رَ", "بِ", "يّ"]),
    "Hebrew": ("שָׁלוֹם", ["שָׁ", "ל", "וֹ", "ם"]),
    "an end of line": ("a\r\nb", ["a", "\r\n", "b"]),
}


@pytest.mark.parametrize("pieces", ["bytes", "characters"])
@pytest.mark.parametrize("name", ONE_SIGN)
def test_tokens_of_one_sign_are_drawn_as_one(name, pieces):
    """Whatever tokens the bytes came in: of one byte each, or of one character."""
    text, signs = ONE_SIGN[name]
    parts = [bytes([byte]) for byte in text.encode()] if pieces == "bytes" else [char.encode() for char in text]
    found = TokenTexts(Vocabulary(parts)).signs(range(len(parts)))
    assert found.texts == (signs or [text[:-1], text[-1]]) and found.starts[-1] == len(parts)
    ends = [len(b"".join(parts[:start]).decode()) for start in found.starts]  # each begins at a whole character
    assert ends == [0, *itertools.accumulate(map(len, found.texts))]


@given(st.text(max_size=30), st.randoms(use_true_random=False))
def test_signs_are_the_text(text, rng):
    """However its bytes are cut, no byte is lost, and tokens that stand alone are told apart as their whole run is."""
    data = text.encode()
    cuts = sorted({0, len(data), *(rng.randint(0, len(data)) for _ in range(8))})
    parts = [data[a:b] for a, b in itertools.pairwise(cuts)]
    found = TokenTexts(Vocabulary(parts)).signs(range(len(parts)))
    assert "".join(found.texts) == text and found.starts == sorted(set(found.starts))


@pytest.mark.parametrize(
    ("data", "label", "quoted"),
    [
        (b" return", "·return", '"·return"'),
        (b"\n    ", "↵····", '"↵····"'),
        (b"\n" + b" " * 12 + b"x", "↵·×12x", '"↵·×12x"'),
        (b"\tx", "→x", '"→x"'),
        (b'"), ', '"),·', '"\\"),·"'),
        (b"\\", "\\", '"\\\\"'),
        (b"\xc3", "\\xc3", '"\\xc3"'),
        ("\u094d".encode(), "◌\u094d", '"◌\u094d"'),
        (b"\\xc3", "\\xc3", '"\\\\xc3"'),
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


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_reads_as_it_was_written(name):
    """Through a real tokenizer, which cuts most of them inside characters: no sign is parted, nothing is lost, and what
    is drawn holds no control character."""
    tokenizer, text = load_model("embedded").tokenizer, SCRIPTS[name]
    (tokens,) = tokenizer.encode_batch([text])
    found = TokenTexts(tokenizer.vocabulary).signs(tokens)
    assert "".join(found.texts) == text and found.starts[-1] == len(tokens)
    ends = set(itertools.accumulate(map(len, regex.findall(r"\X", text))))
    assert set(itertools.accumulate(map(len, found.texts))) <= ends | {0}
    assert not any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for sign in found.texts for char in visible(sign))
