"""What rules predict of latents that they were not made for, and figures over all latents together."""

import numpy as np
import pytest

from sparselex.base.vocabulary import Vocabulary
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.keys import KeyTable
from sparselex.explain.measures import confusion
from sparselex.explain.others import best_of_others
from sparselex.explain.overall import Tally, counts
from sparselex.explain.predictions import Predictions
from sparselex.explain.records import Explanation
from sparselex.explain.rules import Rule
from sparselex.explain.scorers.exact import ExactScorer
from sparselex.explain.search import RuleSearch, beats
from sparselex.explain.surroundings import Surroundings
from sparselex.features.counted import Column, CountedTokens
from tests.support.planted import N_VOCAB, PlantedIndex, without_bos


@pytest.fixture(scope="module")
def index():
    return PlantedIndex()


def rule(*tokens, kind="token"):
    return Rule(kind, dict.fromkeys(tokens, 1.0))


def told(latent, found):
    words = {"explainer": "rule", "text": "x", "title": "x"}
    if found is None:
        return Explanation(latent=latent, status="abstained", **words)
    return Explanation(latent=latent, status="explained", predictor=found.to_json(), **words)


def by_name(figures):
    return {figure.name.removeprefix("x/"): figure for figure in figures}


def test_the_best_rule_of_another_is_that_of_a_scan(index):
    tokens, rng = index.counted_tokens("validation"), np.random.default_rng(0)
    table = KeyTable(tokens)
    rules = {latent: rule(*rng.permutation(N_VOCAB)[:5].tolist()) for latent in range(30)}
    rules[7] = rule(*(rng.permutation(N_VOCAB)[:5] * (N_VOCAB + 1)).tolist(), kind="pair")
    columns = {}
    for latent in range(30):
        ranks = np.sort(rng.permutation(table.n)[:40])
        columns[latent] = Column(ranks, np.ones(40))
    found = best_of_others(range(30), rules, table, columns.__getitem__)
    for latent, other in found.items():
        f1 = {j: confusion(r, table, columns[latent]).f1 for j, r in rules.items() if j != latent}
        assert other != latent and np.isclose(f1[other], max(f1.values()))
    assert best_of_others(range(30), {}, table, columns.__getitem__) == {}


def test_the_null_of_a_planted_ring_is_at_its_analytic_value():
    """Latent i is active on tokens i and i + 1, all tokens equally often: the rule of a neighbour has one of its two
    right, and two that are called, so that F1 is 2 · 1 / (2 + 2)."""
    corpus, n = without_bos(), N_VOCAB
    rules = {i: rule(i, (i + 1) % n) for i in range(n)}
    counted = {
        split: CountedTokens(corpus, np.ones(corpus.tokens.size, dtype=bool), split) for split in ("validation", "test")
    }

    def column(split, latent):
        ranks = np.flatnonzero(np.isin(counted[split].tokens, list(rules[latent].table)))
        return Column(ranks, np.ones(len(ranks)))

    validation, test = KeyTable(counted["validation"]), KeyTable(counted["test"])
    others = best_of_others(range(n), rules, validation, lambda latent: column("validation", latent))
    assert all((other - latent) % n in (1, n - 1) for latent, other in others.items()) and len(others) == n
    tally = Tally(counted["test"].per_document)
    for latent in range(n):
        own = column("test", latent)
        tally.add(counts(rules[latent], test, own), counts(rules[others[latent]], test, own))
    found = by_name(tally.figures("x"))
    assert found["f1_of_all"].value == found["half_share"].value == found["own_share"].value == 1
    assert found["pooled_f1"].value == 1
    assert abs(found["f1_of_all"].null - 0.5) < 0.05 and abs(found["pooled_f1"].null - 0.5) < 0.05


def test_latents_without_a_rule_or_without_test_tokens_count_as_nothing(index):
    table = KeyTable(index.counted_tokens("test"))
    tally, silent = Tally(table.counted.per_document), Column(np.empty(0, dtype=np.int64), np.empty(0))
    active = index.counted_column(0, "test")
    perfect = rule(5, 9)
    tally.add(counts(perfect, table, active))
    tally.add(counts(None, table, active))
    tally.add(counts(perfect, table, silent))
    found = by_name(tally.figures("x", against_others=False))
    assert found["f1_of_all"].value == 0 and np.isclose(found["half_share"].value, 1 / 3)
    n = len(active.ranks)
    assert np.isclose(found["pooled_f1"].value, 2 * n / (2 * n + 2 * n)), "hits n, called 2 n, active 2 n"
    assert "own_share" not in found and found["f1_of_all"].null is None


def test_nothing_alive_is_a_failure(index):
    found = Tally(index.counted_tokens("test").per_document).figures("x")
    assert all(figure.value is None and figure.failure == "no latent is ever active" for figure in found)


def test_the_scorer_counts_every_latent(index):
    """Two latents with the same rule know nothing of their own; one that is abstained from is there as well."""
    scorer = ExactScorer(HeldOut(index), ExplainConfig())
    said = [told(0, rule(5, 9)), told(1, rule(5, 9)), told(2, None)]
    found = by_name(scorer.overall("x", said, Evidence(index).validation))
    assert np.isclose(found["half_share"].value, 1 / 3) and found["own_share"].value == 0
    assert np.isclose(found["half_share"].null, 1 / 3), "the rule of latent 1 does as well for latent 0"
    assert scorer.overall("x", [told(2, None)], Evidence(index).validation) == []


def test_predictions_are_those_of_every_rule(index):
    rng, tokens = np.random.default_rng(1), index.counted_tokens("test")
    rules = {
        3: Rule("token", {5: 2.0, 9: 1.5}),
        1: Rule("previous", {N_VOCAB: 0.5, 11: 3.0}),
        4: Rule("pair", {int(tokens.previous[8]) * N_VOCAB + int(tokens.tokens[8]): 7.0}),
        0: Rule("token", dict.fromkeys(rng.permutation(N_VOCAB)[:20].tolist(), 0.25)),
    }
    said = [told(latent, found) for latent, found in rules.items()] + [told(2, None)]
    around = Surroundings(index.corpus, tokens.positions)
    found = Predictions(said).on(around)
    dense = np.zeros((len(tokens), 5))
    dense[found.rows, found.latents] = found.values
    for latent in range(5):
        expected = rules[latent].predict(around) if latent in rules else 0
        assert np.array_equal(dense[:, latent], np.broadcast_to(expected, len(tokens)))
    assert np.all(np.diff(found.rows) >= 0) and len(found.rows) == np.count_nonzero(dense)
    assert Predictions(said).n_latents == 4


def test_rules_for_activations_that_have_nothing_to_do_with_tokens_seldom_beat_their_null():
    """Latents that are active in bursts, here and there: a rule for one of them is chance, and few may pass."""
    corpus, rng, passed, n = without_bos(), np.random.default_rng(3), 0, 300
    corpus.tokens = np.minimum(rng.zipf(1.2, corpus.tokens.shape), 999).astype(np.uint16)
    corpus.vocabulary = Vocabulary([str(token).encode() for token in range(1000)], [])
    everywhere = np.ones(corpus.tokens.size, dtype=bool)
    tables = {split: KeyTable(CountedTokens(corpus, everywhere, split)) for split in ("train", "validation")}

    def column(table):
        share = rng.beta(0.3, 8, table.n_documents)[table.document]
        ranks = np.flatnonzero(rng.random(table.n) < share)
        return Column(ranks, rng.random(len(ranks)) + 0.5)

    search = RuleSearch(tables["train"], tables["validation"])
    for _ in range(n):
        found, null = (search.best(column(tables["train"]), column(tables["validation"])) for _ in range(2))
        passed += beats(found, null)
    assert passed / n <= 0.06  # 0.025 by the interval's one end, and what 300 are uncertain by
