"""Windows as a language model reads them, and its answers: nothing that a text says can change what is asked."""

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselex.base.vocabulary import Vocabulary
from sparselex.explain.asking.answers import form_of_votes, numbers_in, object_in, texts_in, votes
from sparselex.explain.asking.words import fenced, marked, marks, nonce, plain, prompt
from sparselex.llm.records import Answer, Token
from tests.support.judge import _FENCED

WORDS = Vocabulary([b"a", b"b", b" c", b"\xc3", b"\xa9", b"\n", b"<<", b"]]"], [])


def test_runs_of_marked_tokens_share_their_marks_and_whole_characters_are_marked():
    assert marked(WORDS, [0, 1, 2, 0], {1, 2}, ("<<", ">>")) == "a<<b c>>a"
    assert marked(WORDS, [0, 3, 4, 1], {4 - 2}, ("<<", ">>")) == "a<<é>>b", "one byte of a character marks all of it"
    assert marked(WORDS, [0, 1], set(), ("<<", ">>")) == "ab" and marked(WORDS, [0], {0}, ("[", "]")) == "[a]"
    assert plain(WORDS, [3, 0]) == "\N{REPLACEMENT CHARACTER}a"


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=12))
def test_without_its_marks_a_marked_text_is_the_text(tokens):
    numbers, which = [token for token, _ in tokens], {place for place, (_, is_marked) in enumerate(tokens) if is_marked}
    pair = marks([plain(WORDS, numbers)])
    text = marked(WORDS, numbers, which, pair)
    assert text.replace(pair[0], "").replace(pair[1], "") == plain(WORDS, numbers)
    assert text.count(pair[0]) == text.count(pair[1])


@settings(deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=5), st.text())
def test_no_text_can_forge_a_fence(texts, also):
    code = nonce([*texts, also])
    assert not any(code in text for text in [*texts, also])
    whole = fenced(texts, also)
    assert fenced(texts, also) == whole and [text for _, _, text in _FENCED.findall(whole)] == texts
    again = fenced([whole], also)  # a passage that holds the very fences of another question
    assert [text for _, _, text in _FENCED.findall(again)] == [whole]


@settings(deadline=None)
@given(st.lists(st.text(alphabet="<>[]{}⟦⟧⟪⟫❰❱/ab"), max_size=4))
def test_marks_stand_in_no_text(texts):
    pair = marks(texts)
    assert pair[0] != pair[1] and not any(mark in text for mark in pair for text in texts)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"1": 1}', {"1": 1}),
        ('Sure! Here it is:\n```json\n{"1": 0, "2": 1}\n``` Anything else?', {"1": 0, "2": 1}),
        ('I think {so}. First {"1": 0}, no: {"1": 1}', {"1": 1}),
        ('{"1": 1, "2": 0} and besides {"note": 3}', {"1": 1, "2": 0}),
        ('{"note": 3} {"other": 4}', {"other": 4}),
        ("[1, 0]", None),
        ("", None),
        ('{"1": 1', None),
        ("{" * 5000, None),
        ('{"a":' * 5000, None),
    ],
)
def test_the_last_object_is_found_in_whatever_is_around_it(text, found):
    assert object_in(text, "1") == found


def test_votes_are_read_and_what_is_none_is_left_out():
    text = json.dumps({"1": 1, "2": "no", "3": True, "4": "0", "5": "maybe", "6": 2, "8": 1, "7": None})
    assert votes(Answer(text=text), 7) == {1: 1.0, 2: 0.0, 3: 1.0, 4: 0.0}
    assert votes(Answer(text="none"), 7) == {}
    assert form_of_votes(2)["required"] == ["1", "2"]


def test_an_answer_that_counts_from_zero_says_nothing():
    """Every vote in it is about another passage than the one whose number it bears."""
    assert votes(Answer(text='{"0": 1, "1": 0, "2": 1}'), 3) == {}
    assert np.isnan(numbers_in(Answer(text='{"0": 5, "1": 6}'), 2, range(11))).all()
    assert texts_in(Answer(text='{"0": "a", "1": "b"}'), 2) == []


@pytest.mark.parametrize(
    "value", ["1e999", "NaN", "-Infinity", "0.5", "2", '"\\ud800"', "9" * 4000, "[[1]]", '{"1": 1}', '"\u0661"']
)
def test_values_that_are_no_votes_are_left_out(value):
    assert votes(Answer(text=f'{{"1": {value}, "2": 1.0, "3": 0.0, "1": {value}}}'), 3) == {2: 1.0, 3: 0.0}


def test_probabilities_of_votes_are_those_of_their_tokens():
    text = '{"1": 1, "10": 0, "2": 1}'
    tokens = [Token(char, 0.0, ()) for char in text]
    tokens[6] = Token("1", -0.5108, (("1", -0.5108), ("0", -1.2040)))
    tokens[15] = Token("0", -0.1054, (("0", -0.1054), ("1", -2.3026)))
    found = votes(Answer(text=text, tokens=tuple(tokens)), 10)
    assert found == {1: pytest.approx(0.6667, abs=1e-3), 10: pytest.approx(0.1, abs=1e-3), 2: 1.0}
    whole = [Token('{"1": ', 0.0, ()), Token("1,", -0.1, (("1,", -0.1), ("0,", -3.0))), Token(text[8:], 0.0, ())]
    assert votes(Answer(text=text, tokens=tuple(whole)), 1) == {1: pytest.approx(0.948, abs=1e-3)}


@pytest.mark.parametrize("name", ["explain.v1", "detection.v1", "fuzzing.v1"])
def test_prompts_have_no_name_that_is_not_filled_in(name):
    values = dict.fromkeys(("opening", "closing", "strengths", "thoughts", "example"), "X")
    assert "$" not in prompt(name).substitute(values)


def test_objects_that_never_end_take_no_time():
    began = time.perf_counter()
    assert object_in('{"1":' * 4000, "1") is None and object_in("{" * 20_000, "1") is None
    assert time.perf_counter() - began < 0.5, "an answer costs no more than an answer should"
    assert object_in("{x} {y}" * 1000 + '{"1": 1}', "1") == {"1": 1}
