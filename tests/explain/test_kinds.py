"""What rules tell tokens apart by: the quick predictor against a slow one that reads rows token by token."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselex.base.vocabulary import Vocabulary
from sparselex.explain.keys import KeyTable
from sparselex.explain.kinds import KINDS, RECENT, Naming
from sparselex.explain.measures import Sums, confusion
from sparselex.explain.predictions import Predictions
from sparselex.explain.records import Explanation
from sparselex.explain.rules import Clause, Rule
from sparselex.explain.shapes import SHAPES, affix_key, affix_text, shape_key, shape_words
from sparselex.explain.surroundings import LAST_PLACE, WIDEST, Surroundings
from sparselex.features.counted import Column, CountedTokens
from sparselex.features.printing import TokenPrinter
from tests.support.planted import N_CTX, without_bos

TEXTS = [
    *(b"the", b" the", b"The", b" THE", b"running", b" running", b"eating", b"camelCase", b"snake_case", b"__", b"42"),
    *(b" 42", b"7f", b"0x1F", b"(", b"))", b"'", b" +", b",", b"\n", b"\n    ", b"    ", b"\n  ", b" x", b"x", b"A"),
    *("é".encode(), b"\xff", b"ABC", b"tion", b"\tif", b" "),
]
N = len(TEXTS)


@pytest.fixture(scope="module")
def corpus():
    found = without_bos()
    found.vocabulary = Vocabulary(TEXTS, [])
    found.tokens = np.random.default_rng(5).integers(0, N, found.tokens.shape).astype(np.uint16)
    return found


@pytest.fixture(scope="module")
def table(corpus):
    counted = np.random.default_rng(6).random(corpus.tokens.size) < 0.9  # some tokens are looked at, and not counted
    return KeyTable(CountedTokens(corpus, counted, "test"))


def line_of(row, column):
    """Tokens before a token in its line, and the blanks at its beginning; None where the line began before the row."""
    breaks = [place for place in range(column) if b"\n" in TEXTS[row[place]]]
    if not breaks:
        return None
    tail = TEXTS[row[breaks[-1]]].rsplit(b"\n", 1)[1]
    first = TEXTS[row[breaks[-1] + 1]]
    blanks = len(re.match(rb"[ \t]*", tail)[0]) + (0 if b"\n" in first else len(re.match(rb"[ \t]*", first)[0]))
    return min(LAST_PLACE, column - breaks[-1] - 1), min(WIDEST, blanks)


def spelling(token):
    fold = [text.lstrip(b" ").lower() if text.isascii() else text for text in TEXTS]
    return fold.index(fold[token])


def slow_keys(kind, row, column):
    """The keys that a token has, by reading its row."""

    def at(offset, default=N):
        return int(row[column + offset]) if 0 <= column + offset < N_CTX else default

    token, before = at(0), at(-1)
    text, shapes = TEXTS[token], [shape_key(text) for text in TEXTS]
    line = line_of(row, column)
    stripped = text.lstrip(b" ").decode("utf-8", errors="replace")
    broken = b"\xff" in text
    affix = {
        f"{name} of {n}": [affix_key(text, n if name == "prefix" else -n)] if len(stripped) >= n and not broken else []
        for name in ("prefix", "suffix")
        for n in (2, 3)
    }
    gaps = {f"gap of {n}": [at(-n)] if column >= n else [] for n in (2, 3, 4)}
    return {
        "token": [token],
        "previous": [before],
        "pair": [before * N + token],
        "spelling": [spelling(token)],
        "spelling before": [spelling(before)] if column else [],
        "shape": [shapes[token]],
        "shape before": [shapes[before]] if column else [],
        "token after shape": [shapes[before] * N + token] if column else [],
        "shape after token": [before * (1000 + WIDEST + 1) + shapes[token]],
        "token after gap": [at(-2) * N + token] if column >= 2 else [],
        "next": [at(1)],
        "place in line": [line[0]] if line else [],
        "indentation": [line[1]] if line else [],
        "place in row": [column if column < 8 else 8],
        RECENT: [int(one) for one in row[max(0, column - 16) : column]],
        **gaps,
        **affix,
    }[kind]


def slow_predict(rule, corpus, positions):
    """The first table that has an entry, and the first entry of it, read token by token."""
    found = np.zeros(len(positions))
    for place, position in enumerate(positions):
        row, column = corpus.tokens[position // N_CTX], int(position % N_CTX)
        for clause in rule.clauses:
            keys = slow_keys(clause.kind, row, column)
            said = [value for key, value in clause.table.items() if key in keys]
            if said:
                found[place] = said[0]
                break
    return found


def drawn_clause(kind, table, rng, value):
    keys = np.unique(KINDS[kind].keys(table.around))
    keys = rng.permutation(keys[keys >= 0])[:4].tolist()
    return Clause(kind, {key: float(f"{value * (5 - place):.4g}") for place, key in enumerate(keys)})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_that_of_a_slow_reading(kind, corpus, table):
    keys = KINDS[kind].keys(table.around).reshape(table.n, -1)
    for place in range(0, table.n, 3):
        position = int(table.counted.positions[place])
        expected = slow_keys(kind, corpus.tokens[position // N_CTX], position % N_CTX)
        assert set(keys[place][keys[place] >= 0].tolist()) == set(expected), (kind, position)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 50))
def test_lists_predict_what_a_slow_reading_does(kind, corpus, table, seed):
    """A rule with tables in front, by its own predictor, by ranks, and among all rules."""
    rng = np.random.default_rng(seed)
    others = rng.choice(list(KINDS), 2)
    first = (drawn_clause(others[0], table, rng, 0.0), drawn_clause(others[1], table, rng, 2.0))
    rule = Rule(*drawn_clause(kind, table, rng, 1.0), first[: seed % 3])
    positions = table.counted.positions
    slow = slow_predict(rule, corpus, positions)
    assert np.array_equal(rule.predict(table.around), slow)
    called, by_rank = table.called(rule), np.zeros(table.n)
    by_rank[called.ranks] = called.values
    assert np.array_equal(by_rank, slow) and len(np.unique(called.ranks)) == len(called.ranks)
    told = Explanation(latent=3, explainer="rule", status="explained", text="x", title="x", predictor=rule.to_json())
    said = Predictions([told]).on(Surroundings(corpus, positions))
    among = np.zeros(table.n)
    among[said.rows] = said.values
    assert np.array_equal(among, slow) and set(said.latents.tolist()) <= {3}
    assert Rule.of(rule.to_json()) == rule


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 200))
def test_sums_of_a_list_are_those_of_a_scan(table, seed):
    rng = np.random.default_rng(seed)
    kinds = rng.choice(list(KINDS), 2)
    rule = Rule(*drawn_clause(kinds[0], table, rng, 1.0), (drawn_clause(kinds[1], table, rng, seed % 2),))
    ranks = np.flatnonzero(rng.random(table.n) < 0.2)
    column = Column(ranks, rng.random(len(ranks)) + 0.1)
    predicted, active = rule.predict(table.around), np.zeros(table.n, dtype=bool)
    active[ranks] = True
    hits, called, _ = confusion(rule, table, column)
    assert hits.sum() == (active & (predicted > 0)).sum() and called.sum() == (predicted > 0).sum()
    sums = Sums(rule, table, column)
    for place, level in enumerate(sums.levels):
        assert sums.tokens[:, place].sum() == (predicted == level).sum()
        assert np.isclose(sums.mass[:, place].sum(), column.values[predicted[ranks] == level].sum())


def test_no_two_keys_are_written_alike(corpus, table):
    """Over all kinds: what goes before the words tells the kinds apart where the words do not."""
    names, seen = Naming(TokenPrinter(corpus.vocabulary), N), {}
    for kind, what in KINDS.items():
        keys = np.unique(what.keys(table.around))
        for key in keys[keys >= 0].tolist():
            words = Clause(kind, {key: 1.0}).text(names)
            assert seen.setdefault(words, (kind, key)) == (kind, key), words


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 300))
def test_different_rules_never_print_the_same(corpus, table, seed):
    rng, printer = np.random.default_rng(seed), TokenPrinter(corpus.vocabulary)
    kind = rng.choice(list(KINDS))
    main, other = drawn_clause(kind, table, rng, 1.0), drawn_clause(rng.choice(list(KINDS)), table, rng, 1.0)
    silent = other._replace(table=dict.fromkeys(other.table, 0.0))
    rules = [Rule(*main), Rule(*other), Rule(*main, (silent,)), Rule(*main, (other,)), Rule(*main, (other, silent))]
    rules += [Rule(*main, (silent, other)), Rule(main.kind, {key: v + 1 for key, v in main.table.items()})]
    distinct = {repr(rule.to_json()) for rule in rules}
    assert len({rule.text(printer, N) for rule in rules}) == len(distinct)


def test_a_list_in_words(corpus):
    printer = TokenPrinter(corpus.vocabulary)
    rule = Rule(
        "spelling",
        {0: 2.0, 4: 1.0},
        (Clause("gap of 2", {25: 0.0}), Clause("suffix of 3", {affix_key(b"ing", -3): 0.5})),
    )
    assert rule.text(printer, N) == (
        'Silent two tokens after "A"; else active on words that end in "ing" (0.5); else active on any case or spacing '
        'of "the" (2), "running" (1); silent elsewhere.'
    )
    assert rule.title(printer, N) == 'Active on any case or spacing of "the", "running", with corrections'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"42", "digits"),
        (b" 42", "digits behind a space"),
        (b"7f", "a hexadecimal number with letters"),
        (b"0x1F", "a hexadecimal number with letters"),
        (b"0xzz", "letters, digits and underscores"),
        (b"camelCase", "camel case"),
        (b"Title", "a capital before small letters"),
        (b"ABC", "capital letters"),
        (b" +", "other punctuation behind a space"),
        (b"   ", "spaces alone behind a space"),
        (b"\n    ", "an end of line, then 4 columns"),
        (b"\n" + 80 * b" ", "an end of line, then 63 or more columns"),
        ("é".encode(), "letters beyond ASCII"),
        (b"\xff", "other text"),
    ],
)
def test_shapes(text, words):
    assert shape_words(shape_key(text)) == words


def test_every_shape_has_words_of_its_own():
    keys = [*range(2 * len(SHAPES)), *range(1000, 1001 + WIDEST)]
    assert len({shape_words(key) for key in keys}) == len(keys)


@given(st.text(min_size=1, max_size=6), st.sampled_from([2, 3, -2, -3]))
def test_affixes_are_read_back(text, n):
    key = affix_key(text.encode("utf-8", errors="ignore"), n)
    stripped = text.encode("utf-8", errors="ignore").decode().lstrip(" ")
    part = stripped[:n] if n > 0 else stripped[n:]
    if len(stripped) >= abs(n) and len(part.encode()) < 8:
        assert affix_text(key).decode() == part
    else:
        assert key < 0
