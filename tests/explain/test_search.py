"""Planted concepts of every kind are recovered, and what is shifted away from its tokens stays at chance."""

from itertools import pairwise

import numpy as np
import pytest

from sparselex.base.vocabulary import Vocabulary
from sparselex.explain.keys import KeyTable
from sparselex.explain.kinds import SIMPLEST
from sparselex.explain.measures import values
from sparselex.explain.search import RuleSearch, beats
from sparselex.features.counted import Column, CountedTokens, drawn_shift
from sparselex.text.splits import SPLITS
from tests.support.planted import PlantedCorpus

N_CTX, N_ROWS = 64, 600
ROWS = {"train": range(400), "validation": range(400, 500), "test": range(500, 600)}
WORDS = ["".join(chr(97 + (place * 7 + letter * 5) % 26) for letter in range(4)) for place in range(60)]
ING = [f"{word}ing" for word in WORDS[:6]]
TEXTS = ["the", " the", "The", " THE", "and", " and", "And", *ING, *(str(n) for n in range(100, 112)), "topic", *WORDS]
TEXTS += [f" {word}" for word in WORDS[10:30]]
N = len(TEXTS)


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, N, (N_ROWS, N_CTX)).astype(np.uint16)
    topic = TEXTS.index("topic")
    tokens[tokens == topic] = 4
    tokens[np.arange(0, N_ROWS, 2), rng.integers(0, N_CTX - 17, N_ROWS // 2)] = topic
    tokens[:, 41] = np.where(rng.random(N_ROWS) < 0.5, TEXTS.index(WORDS[4]), TEXTS.index(WORDS[5]))
    tokens[:, 43] = np.where(rng.random(N_ROWS) < 0.5, TEXTS.index(WORDS[0]), TEXTS.index(WORDS[1]))
    documents = np.repeat(np.arange(N_ROWS) // 2, N_CTX).reshape(N_ROWS, N_CTX).astype(np.int32)
    corpus = PlantedCorpus(tokens, documents, Vocabulary([text.encode() for text in TEXTS], []))
    corpus.n_ctx, corpus.n_rows, corpus.row_ranges, corpus.bos_id = N_CTX, N_ROWS, ROWS, None
    everything = np.ones(tokens.size, dtype=bool)
    return {split: KeyTable(CountedTokens(corpus, everything, split)) for split in SPLITS}


@pytest.fixture(scope="module")
def search(tables):
    return RuleSearch(tables["train"], tables["validation"])


def at(table, offset):
    return table.around.at(offset)


def among(tokens, texts):
    return np.isin(tokens, [TEXTS.index(text) for text in texts])


def after_topic(table):
    return (table.around.recent == TEXTS.index("topic")).any(1)


CONCEPTS = {
    "spelling": lambda table: among(at(table, 0), TEXTS[:4]),
    "suffix": lambda table: among(at(table, 0), ING),
    "shape": lambda table: among(at(table, 0), [str(n) for n in range(100, 112)]),
    "gap of 3": lambda table: among(at(table, -3), ["and"]),
    "token after gap": lambda table: among(at(table, 0), WORDS[:2]) & among(at(table, -2), WORDS[4:6]),
    "recent": after_topic,
    "place in row": lambda table: table.around.column < 3,
    "next": lambda table: among(at(table, 1), WORDS[40:42]),
}


def columns(tables, concept, shift=False):
    found, rng = {}, np.random.default_rng(1)
    for split, table in tables.items():
        ranks = np.flatnonzero(concept(table))
        column = Column(ranks, 1 + (ranks % 3) / 4)
        found[split] = column.shifted(drawn_shift(rng, table.n), table.n) if shift else column
    return found


def depth_3(table):
    """The digits, but not behind a capital The; and whatever stands behind topic."""
    digits = among(at(table, 0), [str(n) for n in range(100, 112)]) & ~among(at(table, -1), ["The", "And", "and"])
    return digits | among(at(table, -2), ["topic"])


@pytest.mark.parametrize("name", CONCEPTS)
def test_planted_concepts_are_recovered(name, tables, search):
    where = columns(tables, CONCEPTS[name])
    found = search.best(where["train"], where["validation"])
    assert found.rule.kind.startswith(name) and not found.rule.first
    assert found.confusion.f1 == values(found.rule, tables["test"], where["test"])["f1"] == 1


def test_a_list_of_three_is_recovered(tables, search):
    where = columns(tables, depth_3)
    found = search.best(where["train"], where["validation"])
    assert len(found.rule.clauses) == 3 and {0.0} in [set(clause.table.values()) for clause in found.rule.first]
    assert values(found.rule, tables["test"], where["test"])["f1"] == 1


@pytest.mark.parametrize("concept", [*CONCEPTS.values(), depth_3], ids=[*CONCEPTS, "depth 3"])
def test_shifted_concepts_are_at_chance(concept, tables, search):
    """As likely by chance: a token that is called is active as often as any, so that F1 is at most twice the share of
    active tokens, and what a few tokens more or less do."""
    where = columns(tables, concept, shift=True)
    found = search.best(where["train"], where["validation"])
    share = len(where["test"].ranks) / tables["test"].n
    if found is not None and concept is not CONCEPTS["place in row"]:  # which a shift leaves in a place of the row
        assert values(found.rule, tables["test"], where["test"])["f1"] < 2 * share + 0.1


def test_a_deeper_search_is_never_worse_on_validation_tokens(tables):
    where = columns(tables, depth_3)
    worth = [
        RuleSearch(tables["train"], tables["validation"], depth=depth).best(where["train"], where["validation"])
        for depth in (1, 2, 3)
    ]
    assert all(less.confusion.f1 <= more.confusion.f1 and less.bits < more.bits for less, more in pairwise(worth))


def test_simple_kinds_alone_are_what_they_say(tables):
    where = columns(tables, CONCEPTS["next"])
    search = RuleSearch(tables["train"], tables["validation"], SIMPLEST)
    found = search.best(where["train"], where["validation"])
    assert found is None or {clause.kind for clause in found.rule.clauses} <= set(SIMPLEST)
    assert not beats(found, found)


def test_many_tokens_are_judged_by_some(tables, search, monkeypatch):
    """Where only a part is counted, the same concept is found."""
    monkeypatch.setattr("sparselex.explain.counting.MOST_LOOKED_AT", 300)
    where = columns(tables, depth_3)
    found = search.best(where["train"], where["validation"])
    assert values(found.rule, tables["test"], where["test"])["f1"] > 0.9


def test_a_latent_that_is_nowhere_active_has_no_rule(search):
    nowhere = Column(np.empty(0, dtype=np.int64), np.empty(0))
    assert search.best(nowhere, nowhere) is None
