"""Rules: the text predicts what the scorer scored; planted rules are found; nothing looks at test documents before
scoring."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from sparselex.explain.score import Sums, confusion, scores, values

from sparselex.base.vocabulary import Vocabulary
from sparselex.explain.config import ExplainConfig
from sparselex.explain.explain import RuleExplainer, explain
from sparselex.explain.rules import Labels, Rule
from sparselex.explain.search import Column, search
from sparselex.explain.store import ExplanationStore
from sparselex.features.counted import KeyTable
from sparselex.features.index import FeatureIndex
from sparselex.text.splits import SPLITS

N_VOCAB, N_CTX, N_ROWS = 40, 16, 120
SPLIT_ROWS = {"train": range(80), "validation": range(80, 100), "test": range(100, 120)}


class PlantedIndex(FeatureIndex):
    """Random text over a small vocabulary, with latents whose rule is known. Shaped like `FeatureIndex`."""

    id = "planted"
    d_sae = 5

    def __init__(self, poison_test: bool = False):
        rng = np.random.default_rng(0)
        self.tokens = rng.integers(2, N_VOCAB, (N_ROWS, N_CTX)).astype(np.uint16)
        for column in range(2, N_CTX):  # bigrams often enough to be learned
            previous, draw = self.tokens[:, column - 1], rng.random(N_ROWS)
            self.tokens[np.isin(previous, [3, 4]) & (draw < 0.5), column] = 7
            self.tokens[(previous == 3) & (draw > 0.6), column] = 8
        self.tokens[:, 0] = 0
        documents = np.repeat(np.arange(N_ROWS) // 2, N_CTX).reshape(N_ROWS, N_CTX).astype(np.int32)
        documents[:, 0] = -1
        names = [b"<s>", b"\xff", *(chr(95 + i).encode() for i in range(2, N_VOCAB))]
        self.corpus = SimpleNamespace(
            tokens=self.tokens,
            documents=documents,
            n_ctx=N_CTX,
            n_rows=N_ROWS,
            row_ranges=SPLIT_ROWS,
            vocabulary=Vocabulary(names, [0]),
        )
        self.counted = (documents >= 0).reshape(-1)
        flat, previous = self.tokens.reshape(-1).astype(int), np.roll(self.tokens.reshape(-1).astype(int), 1)
        active = [
            np.isin(flat, [5, 9]),
            (flat == 7) & np.isin(previous, [3, 4]) | (flat == 8) & (previous == 3),
            previous == 11,
            rng.random(len(flat)) < 0.05,
            np.zeros(len(flat), dtype=bool),
        ]
        sizes = 1 + flat / 50
        self.acts = np.stack([np.where(a & self.counted, sizes, 0) for a in active], axis=1)
        if poison_test:
            self.acts[SPLIT_ROWS["test"].start * N_CTX :] = 0
        self.table = {"n_active": (self.acts != 0).sum(0)}

    def split_column(self, latent, split):
        rows = SPLIT_ROWS[split]
        positions = np.flatnonzero(self.acts[:, latent])
        positions = positions[(positions >= rows.start * N_CTX) & (positions < rows.stop * N_CTX)]
        return positions, self.acts[positions, latent].astype(np.float32)


@pytest.fixture(scope="module")
def index():
    return PlantedIndex()


@pytest.fixture(scope="module")
def explainer(index):
    return RuleExplainer(index, ExplainConfig())


def of(explanation, metric):
    return next(score for score in explanation.scores if score.metric == metric)


@pytest.mark.parametrize(
    ("latent", "kind", "keys"),
    [(0, "token", {5, 9}), (1, "pair", {3 * N_VOCAB + 7, 4 * N_VOCAB + 7, 3 * N_VOCAB + 8}), (2, "previous", {11})],
)
def test_planted_rules_are_found_and_score_one(explainer, latent, kind, keys):
    found = explainer.explain(latent)
    assert found.status == "explained" and found.rule["kind"] == kind and {k for k, _ in found.rule["table"]} == keys
    for metric in ("f1", "precision", "recall", "mass_recall", "auroc"):
        assert of(found, metric).value == 1, metric
    assert of(found, "f1").null < 0.25 and abs(of(found, "auroc").null - 0.5) < 0.1


@pytest.mark.parametrize(("latent", "words"), [(3, "No short rule found"), (4, "Active on 0 training tokens")])
def test_noise_and_silence_are_abstained_from(explainer, latent, words):
    found = explainer.explain(latent)
    assert found.status == "abstained" and found.text.startswith(words) and not found.scores and found.rule is None


def test_a_shifted_latent_scores_at_the_null(index, explainer):
    """What the search finds for the planted latent's activations moved elsewhere is worth nothing on test tokens."""
    columns = {split: explainer._column(0, split) for split in SPLITS}
    shifted = explainer._shifted(columns, 0)
    tables = explainer.tables
    chosen = search(tables["train"], shifted["train"], tables["validation"], shifted["validation"])
    found = values(chosen.rule, tables["test"], shifted["test"])
    assert abs(found["auroc"] - 0.5) < 0.1 and found["f1"] < 0.25
    for split in SPLITS:  # the null keeps the activations themselves
        assert np.array_equal(np.sort(shifted[split].values), np.sort(columns[split].values))


def read_back(text, labels):
    """A predictor made from the printed words alone."""
    index = {labels[i]: i for i in range(len(labels))}
    label = r'("(?:[^"\\]|\\.)*"|#\d+)'
    if text.startswith("Active after"):
        return {("previous", index[t]): float(v) for t, v in re.findall(label + r" \(([^)]+)\)", text)}
    pairs = re.findall(label + " after " + label + r" \(([^)]+)\)", text)
    if pairs:
        return {("pair", index[p] * N_VOCAB + index[t]): float(v) for t, p, v in pairs}
    return {("token", index[t]): float(v) for t, v in re.findall(label + r" \(([^)]+)\)", text)}


@pytest.mark.parametrize("latent", [0, 1, 2])
def test_the_printed_text_predicts_exactly_what_was_scored(index, explainer, latent):
    found = explainer.explain(latent)
    rule = Rule(found.rule["kind"], dict(found.rule["table"]))
    printed = read_back(found.text, explainer.labels)
    for split in SPLITS:
        table = explainer.tables[split]
        slow = [printed.get((rule.kind, int(key)), 0.0) for key in table.keys[rule.kind]]
        assert np.array_equal(rule.predict(table.keys[rule.kind]), slow)
    assert rule.text(explainer.labels) == found.text


def brute_force(rule, table, column):
    predicted = rule.predict(table.keys[rule.kind])
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
def test_scores_from_counts_equal_a_scan_of_every_token(index, explainer, rule, latent):
    table, column = explainer.tables["test"], explainer._column(latent, "test")
    found, slow = values(rule, table, column), brute_force(rule, table, column)
    for metric, value in found.items():
        assert np.isclose(value, slow[metric], atol=1e-9), metric
    assert np.isclose(confusion(rule, table, column).f1, slow["f1"])
    assert {score.metric for score in scores(rule, table, column, {})} == set(found)


def test_swapped_labels_turn_the_auroc_around(explainer):
    table, column = explainer.tables["test"], explainer._column(0, "test")
    rule = Rule("token", {5: 2.0, 8: 1.0})
    others = Column(np.setdiff1d(np.arange(table.n), column.ranks), np.ones(table.n - len(column.ranks)))
    assert np.isclose(values(rule, table, column)["auroc"], 1 - values(rule, table, others)["auroc"])


def test_measures_by_document_sum_to_the_whole(explainer):
    sums = Sums(Rule("token", {5: 2.0}), explainer.tables["test"], explainer._column(0, "test"))
    assert sums.tokens.sum() == explainer.tables["test"].n and (sums.active <= sums.tokens).all()


def test_searching_never_looks_at_test_documents(explainer):
    poisoned = RuleExplainer(PlantedIndex(poison_test=True), ExplainConfig())
    for latent in (0, 1, 2):
        plain, other = explainer.explain(latent), poisoned.explain(latent)
        assert (plain.text, plain.rule) == (other.text, other.rule) and plain.scores != other.scores


def test_the_splits_share_no_document(explainer, index):
    documents = index.corpus.documents.reshape(-1)
    owners = [set(documents[explainer.tables[split].positions].tolist()) for split in SPLITS]
    assert all(not a & b for i, a in enumerate(owners) for b in owners[:i])


def test_labels_tell_every_token_apart():
    labels = Labels(Vocabulary([b"a", b"a", b"\xc3", b'"', b"\n", b"#3"]))
    assert len(set(labels)) == 6 and [labels[0], labels[1], labels[2]] == ["#0", '"a"', "#2"]
    assert json.loads(labels[4]) == "\n" and labels[5] == '"#3"'
    spaces = Labels(Vocabulary([b" ", b" " * 8, b"\n" + b" " * 12 + b"x", "␣×8".encode()]))
    assert list(spaces) == ['" "', "#1", '"\\n␣×12x"', '"␣×8"'], "a token that looks like a count keeps its text"
    assert Labels(Vocabulary([b" " * 8]))[0] == '"␣×8"'


def test_rows_survive_a_kill_and_are_not_made_twice(index, tmp_path, monkeypatch):
    from sparselex.explain import explain as module

    monkeypatch.setattr(module, "_BATCH", 1)
    monkeypatch.setattr("sparselex.explain.explain.KeyTable", KeyTable)
    whole = explain(index, ExplainConfig(), tmp_path / "whole.sqlite")
    plain, made = RuleExplainer.explain, []

    def dying(self, latent):
        made.append(latent)
        if len(made) == 3:
            raise KeyboardInterrupt
        return plain(self, latent)

    monkeypatch.setattr(RuleExplainer, "explain", dying)
    with pytest.raises(KeyboardInterrupt):
        explain(index, ExplainConfig(), tmp_path / "killed.sqlite")
    assert explain(index, ExplainConfig(), tmp_path / "killed.sqlite") == whole
    assert made == [0, 1, 2, 2, 3]
    stores = [ExplanationStore(tmp_path / f"{name}.sqlite") for name in ("whole", "killed")]
    assert stores[0].all("planted") == stores[1].all("planted")
    assert (whole.n_explained, whole.n_abstained) == (3, 1)
    assert stores[0].search("planted", 'Active "d"') and not stores[0].search("planted", 'x" OR "Active')
