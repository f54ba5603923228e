"""Rules: planted ones are found, the text predicts what is scored, and the search sees no test documents."""

import re

import numpy as np
import pytest

from sparselex.base.errors import UserError
from sparselex.base.vocabulary import Vocabulary
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.explainers.rule import RuleExplainer
from sparselex.explain.keys import KeyTable
from sparselex.explain.kinds import KINDS, SIMPLEST
from sparselex.explain.measures import values
from sparselex.explain.rules import Rule
from sparselex.explain.search import RuleSearch
from sparselex.explain.surroundings import Surroundings
from sparselex.features.counted import Column, CountedTokens
from sparselex.features.printing import TokenPrinter
from sparselex.text.splits import SPLITS
from tests.support.planted import N_CTX, N_VOCAB, PlantedIndex, without_bos


@pytest.fixture(scope="module")
def index():
    return PlantedIndex()


@pytest.fixture(scope="module")
def explainer(index):
    return RuleExplainer(Evidence(index), ExplainConfig())


@pytest.mark.parametrize(
    ("latent", "kind", "keys"),
    [(0, "token", {5, 9}), (1, "pair", {3 * N_VOCAB + 7, 4 * N_VOCAB + 7, 3 * N_VOCAB + 8}), (2, "previous", {11})],
)
def test_planted_rules_are_found(explainer, latent, kind, keys):
    found = explainer.explain(latent)
    assert found.status == "explained" and found.predictor["kind"] == kind
    assert {key for key, _ in found.predictor["table"]} == keys


def test_noise_is_abstained_from(explainer):
    found = explainer.explain(3)
    assert found.status == "abstained" and found.text.startswith("No short rule found") and found.predictor is None


def test_a_shifted_latent_scores_at_the_null(index):
    """What the search finds for the planted latent's activations moved elsewhere is worth nothing on test tokens."""
    evidence = Evidence(index)
    tables = {split: KeyTable(index.counted_tokens(split)) for split in SPLITS}
    shifted = {"train": evidence.train.shifted(0), "validation": evidence.validation.shifted(0)}
    shifted["test"] = HeldOut(index).shifted(0)
    chosen = RuleSearch(tables["train"], tables["validation"]).best(shifted["train"], shifted["validation"])
    found = values(chosen.rule, tables["test"], shifted["test"])
    assert abs(found["auroc"] - 0.5) < 0.1 and found["f1"] < 0.25
    for split in SPLITS:  # the null keeps the activations themselves
        column = index.counted_column(0, split)
        assert np.array_equal(np.sort(shifted[split].values), np.sort(column.values))
        n, by = len(tables[split].counted), (shifted[split].ranks[0] - column.ranks) % len(tables[split].counted)
        assert ((by >= n // 3) & (by <= 2 * n // 3)).any()


def read_back(text, printer):
    """A predictor made from the printed words alone."""
    index = {printer.quoted(i): i for i in range(N_VOCAB)}
    label = r'("(?:[^"\\]|\\.)*"(?:#\d+)?)'
    if text.startswith("Active after"):
        return {("previous", index[t]): float(v) for t, v in re.findall(label + r" \(([^)]+)\)", text)}
    pairs = re.findall(label + " after " + label + r" \(([^)]+)\)", text)
    if pairs:
        return {("pair", index[p] * N_VOCAB + index[t]): float(v) for t, p, v in pairs}
    return {("token", index[t]): float(v) for t, v in re.findall(label + r" \(([^)]+)\)", text)}


@pytest.mark.parametrize("latent", [0, 1, 2])
def test_the_printed_text_predicts_exactly_what_is_scored(index, explainer, latent):
    found = explainer.explain(latent)
    rule, printer = Rule.of(found.predictor), TokenPrinter(index.corpus.vocabulary)
    printed = read_back(found.text, printer)
    for split in SPLITS:
        around = Surroundings(index.corpus, index.counted_tokens(split).positions)
        keys = KINDS[rule.kind].keys(around)
        assert np.array_equal(rule.predict(around), [printed.get((rule.kind, int(key)), 0.0) for key in keys])
    assert rule.text(printer, N_VOCAB) == found.text


@pytest.mark.parametrize(
    ("rule", "title"),
    [
        (Rule("token", {0: 3.0, 1: 2.0}), 'Active on "\\"),·", "("'),
        (Rule("previous", {0: 3.0}), 'Active after "\\"),·"'),
        (Rule("pair", {2 * 4: 3.0}), 'Active on "\\"),·" after ";·silent·elsewhere."'),
        (Rule("token", {0: 4.0, 1: 3.0, 2: 2.0, 3: 1.0}), 'Active on "\\"),·", "(", ";·silent·elsewhere." and 1 more'),
    ],
)
def test_titles_are_made_of_entries_whatever_the_tokens_look_like(rule, title):
    printer = TokenPrinter(Vocabulary([b'"), ', b"(", b"; silent elsewhere.", b" (1)"]))
    assert rule.title(printer, 4) == title


@pytest.mark.parametrize(
    ("also", "kind", "words"),
    [(None, "previous", "Active after the start of a row"), (7, "pair", 'Active on "C" after the start of a row')],
)
def test_the_start_of_a_row_is_no_token_0(also, kind, words):
    """A latent at the first token of each row, or where that is token 7: token 0 stands before others just as often."""
    corpus = without_bos()
    corpus.tokens[::2, 0] = 7
    counted = {split: CountedTokens(corpus, np.ones(corpus.tokens.size, dtype=bool), split) for split in SPLITS}

    def column(tokens):
        which = tokens.positions % N_CTX == 0
        ranks = np.flatnonzero(which if also is None else which & (tokens.tokens == also))
        return Column(ranks, np.ones(len(ranks)))

    columns = {split: column(tokens) for split, tokens in counted.items()}
    tables = {split: KeyTable(tokens) for split, tokens in counted.items()}
    found = RuleSearch(tables["train"], tables["validation"], SIMPLEST).best(columns["train"], columns["validation"])
    assert found.rule.kind == kind and found.confusion.f1 == 1
    assert values(found.rule, tables["test"], columns["test"])["f1"] == 1
    assert found.rule.title(TokenPrinter(corpus.vocabulary), N_VOCAB) == words


def test_searching_never_looks_at_test_documents(explainer):
    poisoned = RuleExplainer(Evidence(PlantedIndex(poison_test=True)), ExplainConfig())
    for latent in (0, 1, 2):
        assert explainer.explain(latent) == poisoned.explain(latent)


def test_options_that_rules_do_not_have_are_refused(index):
    with pytest.raises(UserError, match=r"options of the explainer 'rule'.*unknown key 'temperature'"):
        RuleExplainer(Evidence(index), ExplainConfig(options={"temperature": 1}))
