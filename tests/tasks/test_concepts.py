"""Texts whose concepts are known, and what Python's tokenizer says of source."""

from collections import Counter

import numpy as np
import pytest

from sparselex.tasks.code_concepts import code_labels
from sparselex.tasks.concepts import SETS
from sparselex.tasks.concepts_words import FIELDS, JUDGEMENTS, NAMES, NOUNS, THINGS


@pytest.mark.parametrize("one", SETS, ids=lambda one: one.name)
def test_texts_hold_their_words_and_values_are_balanced(one):
    chance = np.random.default_rng(0)
    texts = [one.draw(chance) for _ in range(1000)]
    for concept, values in one.concepts.items():
        counts = Counter(text.values[concept] for text in texts)
        assert set(counts) == set(values)
        assert all(abs(n / 1000 - 1 / len(values)) < 0.06 for n in counts.values())
        if one.name in ("people", "reviews"):
            assert all(text.words[concept] in text.text for text in texts)
    assert all("{" not in text.text and text.text[0].isupper() for text in texts)


def test_no_word_is_of_two_values():
    for words in (NAMES, FIELDS, JUDGEMENTS, THINGS, NOUNS):
        joined = [word for some in words.values() for word in some]
        assert len(joined) == len(set(joined))


SOURCE = """# héllo
def f(a, b=[1, 2]):  # why
    s = "it's # no" + f'{a} ({b})'
    return g(s,
        'x')

y = 1
"""


def marked(name):
    holds = code_labels(SOURCE)[name]
    return "".join(
        letter if set(holds[start : start + len(letter.encode())]) == {True} else "."
        for letter, start in zip(SOURCE, np.cumsum([0, *(len(one.encode()) for one in SOURCE)])[:-1], strict=True)
    )


def test_what_stands_where_in_source():
    lines = {name: marked(name).replace("\n", ".") for name in ("comment", "string", "bracket", "indented")}
    assert lines["comment"].strip(".").split(".", 1)[0] == "# héllo"
    assert "# why" in lines["comment"] and "# no" not in lines["comment"]
    assert '"it\'s # no"' in lines["string"] and "f'{a} ({b})'" in lines["string"] and "'x'" in lines["string"]
    assert lines["bracket"].strip(".").startswith("a,") and "1,.2" in lines["bracket"] and "'x'" not in lines["bracket"]
    assert "return" in lines["indented"] and "def" not in lines["indented"] and "y" not in lines["indented"]


def test_a_comment_of_its_own_is_as_indented_as_it_stands():
    source = "def f():\n    # first\n    return 1\n    # last\n# behind\nx = [\n    # within\n    1,  # beside\n]\n"
    holds = code_labels(source)["indented"]
    expected = {"# first": True, "# last": True, "# behind": False, "# within": False, "# beside": False}
    for comment, indented in expected.items():
        start = source.index(comment)
        assert (holds[start : start + len(comment)] == indented).all(), comment


@pytest.mark.parametrize("source", ["def f(:\n  '", "x = 1\r\n", "  a\n b\n"])
def test_what_is_no_python_is_refused(source):
    assert code_labels(source) is None
