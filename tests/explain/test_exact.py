"""Exact scores of rules against a scan of every token, and judgements that can be looked at."""

import numpy as np
import pytest

from sparselex.base.figures import Failure
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.explainers.rule import RuleExplainer
from sparselex.explain.measures import Sums, confusion, values
from sparselex.explain.records import Explanation
from sparselex.explain.rules import Rule
from sparselex.explain.scorers.exact import N_JUDGED, ExactScorer
from sparselex.features.counted import Column
from tests.support.planted import N_VOCAB, PlantedIndex


@pytest.fixture(scope="module")
def index():
    return PlantedIndex()


@pytest.fixture(scope="module")
def explainer(index):
    return RuleExplainer(Evidence(index), ExplainConfig())


@pytest.fixture(scope="module")
def scorer(index):
    return ExactScorer(HeldOut(index), ExplainConfig())


def told(rule, latent):
    """An explanation that is this rule."""
    words = {"explainer": "rule", "status": "explained", "text": "x", "title": "x"}
    return Explanation(latent=latent, predictor=rule.to_json(), **words)


@pytest.mark.parametrize("latent", [0, 1, 2])
def test_planted_rules_score_one(explainer, scorer, latent):
    found = {score.metric: score for score in scorer.score(explainer.explain(latent)).scores}
    for metric in ("f1", "precision", "recall", "mass_recall", "auroc"):
        assert found[metric].value == 1, metric
    assert found["f1"].null < 0.25 and abs(found["auroc"].null - 0.5) < 0.1


def brute_force(rule, table, column):
    predicted = rule.predict(table.around)
    actual = np.zeros(table.n)
    actual[column.ranks] = column.values
    active, called = actual > 0, predicted > 0
    pairs = predicted[active][:, None] - predicted[~active][None]
    hits = (active & called).sum()
    return {
        "f1": 2 * hits / (active.sum() + called.sum()),
        "precision": hits / called.sum(),
        "recall": hits / active.sum(),
        "mass_recall": actual[called].sum() / actual.sum(),
        "auroc": ((pairs > 0) + 0.5 * (pairs == 0)).mean(),
        "correlation": np.corrcoef(predicted, actual)[0, 1],
    }


@pytest.mark.parametrize(
    "rule",
    [
        Rule("token", {5: 2.0, 8: 1.0, 30: 0.5}),
        Rule("previous", {11: 1.5, 3: 1.5}),
        Rule("pair", {3 * N_VOCAB + 7: 0.2, 4 * N_VOCAB + 7: 4.0}),
    ],
    ids=lambda rule: rule.kind,
)
@pytest.mark.parametrize("latent", [0, 1, 2, 3])
def test_scores_from_counts_equal_a_scan_of_every_token(scorer, rule, latent):
    table, column = scorer.table, scorer.evidence.column(latent)
    found, slow = values(rule, table, column), brute_force(rule, table, column)
    for metric, value in found.items():
        assert np.isclose(value, slow[metric], atol=1e-9), metric
    assert np.isclose(confusion(rule, table, column).f1, slow["f1"])
    scored = {score.metric: score for score in scorer.score(told(rule, latent)).scores}
    assert {metric: score.value for metric, score in scored.items()} == found
    assert all(score.n == table.n and score.null is None for score in scored.values())


def test_swapped_labels_turn_the_auroc_around(scorer):
    table, column = scorer.table, scorer.evidence.column(0)
    rule = Rule("token", {5: 2.0, 8: 1.0})
    others = Column(np.setdiff1d(np.arange(table.n), column.ranks), np.ones(table.n - len(column.ranks)))
    assert np.isclose(values(rule, table, column)["auroc"], 1 - values(rule, table, others)["auroc"])


def test_measures_by_document_sum_to_the_whole(scorer):
    sums = Sums(Rule("token", {5: 2.0}), scorer.table, scorer.evidence.column(0))
    assert sums.tokens.sum() == scorer.table.n and (sums.active <= sums.tokens).all()


def test_judgements_are_what_the_rule_says_of_test_tokens(index, scorer):
    rule = Rule("token", {5: 2.0, 30: 0.5})
    judgements = scorer.score(told(rule, 0)).judgements
    assert len(judgements) == 2 * N_JUDGED and sum(j.expected > 0 for j in judgements) == N_JUDGED
    for judgement in judgements:
        assert judgement.expected == np.float32(index.acts[judgement.position, 0])
        assert judgement.said == rule.table.get(int(index.tokens.reshape(-1)[judgement.position]), 0.0)
        assert judgement.position in scorer.evidence.tokens.positions
    assert judgements == scorer.score(told(rule, 0)).judgements


def test_another_explainers_words_cannot_be_judged_and_are_a_failure(scorer):
    found = scorer.score(Explanation(latent=2, explainer="poet", status="explained", text="dawn", title="dawn"))
    assert isinstance(found, Failure) and found.subject == "latent 2" and "'poet' gives no rule" in found.reason


def test_a_latent_silent_on_test_documents_has_the_scores_that_can_be_formed():
    scorer = ExactScorer(HeldOut(PlantedIndex(poison_test=True)), ExplainConfig())
    scores, judgements = scorer.score(told(Rule("token", {5: 2.0}), 0))
    assert {score.metric for score in scores} == {"f1", "precision"} and all(score.value == 0 for score in scores)
    assert [judgement.expected for judgement in judgements] == [0.0] * N_JUDGED
