"""Every registered task keeps what a task promises, in words of a tokenizer that has them; agreement and brackets."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.lm.config import ModelConfig
from sparselex.lm.load import load_model
from sparselex.tasks import agreement, agreement_words, brackets, brackets_words, ioi, ioi_words
from sparselex.tasks.registry import TASKS, settled_task
from sparselex.tasks.rows import rows_of
from sparselex.tasks.words import filled
from sparselex.testing import check_task
from tests.support.whole_words import whole_words


def texts() -> list[str]:
    """All words of the tasks that are no source, as they stand in prompts."""
    names = [f" {word}" for word in (*ioi_words.NAMES, *ioi_words.OBJECTS, *ioi_words.PLACES)]
    nouns = [f" {word}{end}" for word in (*agreement_words.SUBJECTS, *agreement_words.NEAR) for end in ("", "s")]
    verbs = [form for forms in agreement.VERBS.values() for form in forms]
    bare = [filled(text, dict.fromkeys(_SLOTS, ""))[0] for text in agreement.TEMPLATES.values()]
    stories = [part.format("", "", "", "", place="", object="") for parts in ioi.TEMPLATES.values() for part in parts]
    return [*names, *nouns, *verbs, *bare, *stories, " x,"]


_SLOTS = ("one", "many", "subject", "attractor")


@pytest.fixture(scope="module")
def embedded():
    return load_model("embedded")


@pytest.fixture(scope="module")
def tokenizer():
    return whole_words(texts())


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_keeps_its_promises(name, tokenizer, embedded):
    known = embedded.tokenizer if name == "brackets" else tokenizer
    parts = check_task(TASKS.get(name)(known), known)
    assert (len(parts["fit"]), len(parts["evaluate"])) == (2000, 200)


def test_words_are_words_of_their_own():
    for words in (agreement_words.SUBJECTS, agreement_words.NEAR, brackets_words.INSIDE, brackets_words.OUTSIDE):
        assert len(set(words)) == len(words)
    assert not set(agreement_words.SUBJECTS) & set(agreement_words.NEAR)
    assert not set(brackets_words.INSIDE) & set(brackets_words.OUTSIDE)
    told = " ".join(agreement.TEMPLATES.values()).split()
    assert not {noun + end for noun in agreement_words.NEAR for end in ("", "s")} & set(told)


def test_a_filled_template_says_where_words_stand_the_last_time():
    assert filled("a{x}b{x}", {"x": "--"}) == ("a--b--", {"x": (4, 6)})


def test_the_verb_agrees_with_the_subject_whatever_stands_between(tokenizer):
    task, forms = agreement.make_agreement(tokenizer), {"singular": (" is", " was"), "plural": (" are", " were")}
    assert task.left_out == {}
    for filling in task.fillings(200, "evaluate", np.random.default_rng(0)):
        prompt = task.prompt(filling)
        at = {name: prompt.text[slice(*span)] for name, span in prompt.roles.items()}
        assert prompt.answer in forms[filling["number"]] and prompt.other not in forms[filling["number"]]
        tense = agreement.VERBS[filling["tense"]]
        assert {prompt.answer, prompt.other} == set(tense) and at["verb"] in tense
        assert at["subject"] == f" {filling['noun']}" + "s" * (filling["number"] == "plural")
        assert at["attractor"] == f" {filling['near']}" + "s" * (filling["attractor"] == "plural")
        assert prompt.roles["verb"] < prompt.roles["subject"] < prompt.roles["attractor"] < prompt.roles["end"]


def test_numbers_of_both_nouns_tell_nothing_of_each_other(tokenizer):
    drawn = agreement.make_agreement(tokenizer).fillings(4000, "fit", np.random.default_rng(0))
    for one, other in (("number", "attractor"), ("number", "tense"), ("number", "template")):
        both = Counter((filling[one], filling[other]) for filling in drawn)
        expected = len(drawn) / len(both)
        assert sum((n - expected) ** 2 / expected for n in both.values()) < len(both) + 4 * np.sqrt(2 * len(both))


def test_words_that_are_not_put_anywhere_else_are_apart(tokenizer, embedded):
    for task, slot in (
        (agreement.make_agreement(tokenizer), "near"),
        (brackets.make_brackets(embedded.tokenizer), "word"),
    ):
        fit, tested = (task.fillings(400, part, np.random.default_rng(0)) for part in ("fit", "evaluate"))
        assert not {one[slot] for one in fit} & {one[slot] for one in tested}
        assert not set(task.pool) & set(task.reserve)


def test_the_bracket_that_is_open_is_closed(embedded):
    task = brackets.make_brackets(embedded.tokenizer)
    for filling in task.fillings(200, "evaluate", np.random.default_rng(0)):
        prompt = task.prompt(filling)
        at = {name: prompt.text[slice(*span)] for name, span in prompt.roles.items()}
        kinds = dict(brackets.KINDS.values())
        assert kinds[at["open"]] == prompt.answer != prompt.other and kinds[at["earlier"]] == at["closing"]
        assert at["end"] == filling["inside"] and prompt.text.endswith(at["open"] + at["end"])
        closed = prompt.text.count(")") + prompt.text.count("]")
        assert prompt.text.count("(") + prompt.text.count("[") == closed + 1


@pytest.mark.parametrize(("twin", "low", "high"), [("none", 0.99, 1.0), ("reinitialised", 0.35, 0.65)])
def test_the_embedded_model_closes_brackets_and_its_twin_does_not(embedded, twin, low, high):
    model = embedded if twin == "none" else load_model(ModelConfig(name="embedded", twin=twin))
    task = brackets.make_brackets(model.tokenizer)
    rows = rows_of(task, task.fillings(256, "evaluate", np.random.default_rng(0)), model.tokenizer)
    with torch.no_grad():
        logits = model.run(torch.from_numpy(rows.tokens)).logits
    end = logits[torch.arange(len(rows)), torch.from_numpy(rows.ends)]
    right, wrong = (end.gather(1, torch.from_numpy(ids)[:, None])[:, 0] for ids in (rows.answers, rows.others))
    assert low <= (right > wrong).double().mean() <= high
    likeliest = (end.argmax(1) == torch.from_numpy(rows.answers)).double().mean()
    assert likeliest > 0.9 if twin == "none" else likeliest < 0.05


def test_a_tokenizer_without_both_numbers_of_a_noun_is_told(embedded):
    with pytest.raises(UserError, match=r"Of \d+ subjects this tokenizer has \d as one token"):
        agreement.make_agreement(embedded.tokenizer)
    few = whole_words([f" {noun}{end}" for noun in agreement_words.SUBJECTS[:20] for end in ("", "s")] + [" car cars"])
    with pytest.raises(UserError, match=r"Of \d+ nouns in between this tokenizer has 1 as one token"):
        agreement.make_agreement(few)


def test_every_prompt_of_agreement_has_each_change(tokenizer):
    task, chance = agreement.make_agreement(tokenizer), np.random.default_rng(0)
    filling = task.fillings(1, "evaluate", chance)[0]
    for name, _ in product(task.attributes, range(5)):
        after = task.changed(filling, name, chance)
        assert {slot for slot in filling if filling[slot] != after[slot]} == {name}
        assert (task.prompt(after).answer != task.prompt(filling).answer) == (name in ("number", "tense"))


def broken(task, **members):
    """The task with other members."""
    return type("Broken", (type(task),), members)(task.subjects, task.near)


@pytest.mark.parametrize(
    ("members", "promise"),
    [
        ({"roles": ("verb", "subject", "attractor")}, "`end` is a role"),
        ({"words": ""}, "a sentence that says what it asks"),
        ({"fillings": lambda self, n, part, chance: []}, "as many as are wanted"),
        (
            {"corrupted": lambda self, filling, way, chance: {**filling, "template": "now"}},
            "held against the same|as many",
        ),
        ({"changed": lambda self, filling, attribute, chance: filling}, "one attribute is changed, and no other"),
    ],
)
def test_a_task_that_breaks_a_promise_is_told_which(tokenizer, members, promise):
    with pytest.raises(AssertionError, match=promise):
        check_task(broken(agreement.make_agreement(tokenizer), **members), tokenizer)


def test_prompts_begin_with_bos_where_it_is_asked_for(embedded):
    task, tokenizer = brackets.make_brackets(embedded.tokenizer), embedded.tokenizer
    some = task.fillings(20, "evaluate", np.random.default_rng(0))
    with_it, without = (rows_of(task, some, tokenizer, bos=bos) for bos in ("always", "never"))
    assert (with_it.tokens[:, 0] == tokenizer.bos_id).all() and (without.tokens[:, 0] != tokenizer.bos_id).all()
    for role in task.roles:
        assert (with_it.roles[role] == without.roles[role] + 1).all(), role
    assert (with_it.answers == without.answers).all()


def test_a_home_that_is_not_there_is_no_fault():
    assert settled_task("~nobody-of-that-name/x.jsonl").endswith("/~nobody-of-that-name/x.jsonl")
