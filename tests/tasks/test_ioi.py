"""Indirect object identification: prompts, roles, counterfactuals, and words that are refused."""

from collections import Counter

import numpy as np
import pytest

from sparselex.base.errors import UserError
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.pairs import drawn
from sparselex.lm.load import load_model
from sparselex.tasks.ioi import TEMPLATES, make_ioi
from sparselex.tasks.ioi_words import NAMES, OBJECTS, PLACES
from sparselex.tasks.records import Task
from sparselex.tasks.rows import rows_of
from tests.support.copier import NAMES as FEW
from tests.support.copier import copier, task


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return copier(tmp_path_factory.mktemp("copier"))


@pytest.fixture(scope="module")
def prompts(model):
    return drawn(task(), model.tokenizer, TaskConfig(n_fit=600, n_test=100))


def test_words_are_words_of_their_own():
    assert isinstance(task(), Task)
    for words in (NAMES, OBJECTS, PLACES):
        assert len(set(words)) == len(words) and all(word.isalpha() for word in words)


@pytest.mark.parametrize("part", ["fit", "evaluate"])
def test_roles_are_where_the_words_stand(part):
    own, chance = task(), np.random.default_rng(0)
    for filling in own.fillings(200, part, chance):
        prompt = own.prompt(filling)
        at = {name: prompt.text[slice(*span)] for name, span in prompt.roles.items()}
        io, s = filling["IO"], filling["S"]
        assert (at["IO"], at["S1"], at["S2"]) == (f" {io}", f" {s}", f" {s}") == (prompt.answer, f" {s}", prompt.other)
        first = prompt.roles["IO"] < prompt.roles["S1"]
        assert first == (filling["Pos"] == "ABB") and max(prompt.roles["IO"], prompt.roles["S1"]) < prompt.roles["S2"]
        behind = prompt.roles["S1"][1]
        assert prompt.roles["S1+1"][0] == behind and at["S1+1"].strip() and " " not in at["S1+1"].strip()
        assert prompt.text.count(io) == 1 and prompt.text.count(s) == 2 and prompt.text.endswith(" to")


def test_tokens_are_those_of_the_roles(model, prompts):
    text = model.tokenizer.vocabulary.text
    for row, filling in enumerate(prompts.test.fillings):
        at = {name: text(prompts.test.tokens[row, places[row]]) for name, places in prompts.test.roles.items()}
        assert at["IO"] == text(prompts.test.answers[row]) == f" {filling['IO']}"
        assert at["S1"] == at["S2"] == text(prompts.test.others[row]) == f" {filling['S']}"
        assert at["end"] == " to"
        for name, labels in prompts.test.attributes.items():
            assert prompts.test.values[name][labels[row]] == filling[name]


def test_nothing_that_is_tested_was_fitted(prompts):
    key = lambda one: tuple(sorted(one.items()))
    assert not {key(one) for one in prompts.fit.fillings} & {key(one) for one in prompts.test.fillings}
    for slot in ("place", "object"):
        assert not {one[slot] for one in prompts.fit.fillings} & {one[slot] for one in prompts.test.fillings}


def test_a_changed_attribute_is_all_that_changes_and_its_name_is_of_the_reserve(prompts):
    own = task()
    assert set(own.pool) | set(own.reserve) == set(FEW) and not set(own.pool) & set(own.reserve)
    for attribute, changed in prompts.changed.items():
        for before, after in zip(prompts.test.fillings, changed.fillings, strict=True):
            assert {name for name in before if before[name] != after[name]} == {attribute}
            if attribute != "Pos":
                assert before[attribute] in own.pool and after[attribute] in own.reserve
        assert (changed.ends == prompts.test.ends).all()
    for before, after in zip(prompts.test.fillings, prompts.corrupted["names"].fillings, strict=True):
        assert {after["IO"], after["S"]} <= set(own.reserve) and before["template"] == after["template"]
    for before, after in zip(prompts.test.fillings, prompts.corrupted["repeat"].fillings, strict=True):
        texts = own.prompt(before).text, own.prompt(after).text
        start = own.prompt(before).roles["S2"][0]
        assert texts[0][:start] == texts[1][:start] and (before["IO"], before["S"]) == (after["S"], after["IO"])


def test_attributes_are_independent_but_that_names_differ(model):
    own = task()
    drawn_ones = own.fillings(8000, "fit", np.random.default_rng(0))
    both = Counter((one["IO"], one["S"]) for one in drawn_ones)
    n_pairs = len(FEW) * (len(FEW) - 1)
    assert len(both) == n_pairs and all(io != s for io, s in both)
    expected = 8000 / n_pairs
    chi = sum((n - expected) ** 2 / expected for n in both.values())
    assert chi < n_pairs + 4 * np.sqrt(2 * n_pairs)
    assert abs(np.mean([one["Pos"] == "ABB" for one in drawn_ones]) - 0.5) < 0.02
    assert {one["template"] for one in drawn_ones} == set(TEMPLATES)


def test_names_that_a_tokenizer_cuts_are_left_out_and_too_few_are_refused(model):
    made = make_ioi(model.tokenizer)
    assert set(made.names) == set(FEW) and "Zachary" in made.split
    with pytest.raises(UserError, match=r"Of \d+ names this tokenizer has \d as one token; it cuts others, such as"):
        make_ioi(load_model("embedded").tokenizer)


def test_an_answer_of_two_tokens_is_refused(model):
    own = task()
    filling = {**own.fillings(1, "fit", np.random.default_rng(0))[0], "IO": "Emma", "S": "Anna Carl"}
    with pytest.raises(UserError, match=r"The answer ' Anna Carl' of the task 'ioi' is 2 tokens"):
        rows_of(own, [filling], model.tokenizer)


def test_no_prompts_and_unknown_values_are_refused(model):
    with pytest.raises(UserError, match="No prompts"):
        rows_of(task(), [], model.tokenizer)
    filling = task().fillings(1, "fit", np.random.default_rng(0))[0]
    one = rows_of(task(), [{**filling, "Pos": "ABB"}], model.tokenizer)
    with pytest.raises(UserError, match="The attribute 'Pos' of the task 'ioi' has the value 'BAB' in prompts to"):
        rows_of(task(), [{**filling, "Pos": "BAB"}], model.tokenizer, one)


def test_values_of_variables_that_dictionaries_are_not_made_of_are_none_of_theirs(model):
    filling = {**task().fillings(1, "fit", np.random.default_rng(0))[0], "IO": "Emma", "S": "Anna", "Pos": "ABB"}
    fit = rows_of(task(), [filling, {**filling, "IO": "Anna", "S": "Emma", "Pos": "BAB"}], model.tokenizer)
    assert fit.variable_values["IO and Pos"] == ("Anna BAB", "Emma ABB", "")
    assert fit.variable_values["third name"] == ("Anna", "Emma", "") and fit.variables["third name"].tolist() == [0, 1]
    found = rows_of(task(), [filling, {**filling, "Pos": "BAB"}], model.tokenizer, fit)
    assert found.variables["IO and Pos"].tolist() == [1, 2] and found.variables["first name"].tolist() == [0, 1]
