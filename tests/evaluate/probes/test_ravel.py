"""RAVEL: what is chosen and moved, that nothing done has nothing, and that a model without the facts is told so."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.dictionaries.controls.neurons import neurons
from sparselex.evaluate.probes.coded import Columns, Judged
from sparselex.evaluate.probes.config import ProbesConfig
from sparselex.evaluate.probes.facts import facts_of
from sparselex.evaluate.probes.ravel import Fold, Outcome, _chosen, _few, _moved, _row, ravel
from sparselex.evaluate.probes.records import LATENTS, NOTHING, SUPERVISED
from sparselex.lm.load import load_model
from sparselex.lm.named import local
from sparselex.tasks.cities import QUESTIONS, cities


def test_every_city_has_its_attributes_once():
    found = cities()
    assert len({city.name for city in found}) == len(found) > 50
    assert all(city.value(name) for city in found for name in QUESTIONS)
    assert {city.value("country") for city in found if city.continent == "Africa"} == {
        "Egypt",
        "Morocco",
        "Kenya",
        "Nigeria",
    }


def test_the_latent_that_moves_one_attribute_alone_is_exchanged_first():
    """Three latents: of one attribute, of another, and of both."""
    chance = np.random.default_rng(0)
    dense = chance.random((10, 4))
    columns = Columns(csr_array(dense), np.eye(4), np.ones(4))
    base, source = np.arange(5), np.arange(5, 10)
    sign = np.sign(dense[source] - dense[base])
    along = {"country": [3.0, 0, 1, 0], "continent": [0, 3.0, 1, 0], "language": [0, 0, 0, 1.0]}
    slopes = {name: (base, source, sign * np.array(row)) for name, row in along.items()}
    fold = Fold(base, base, source, {})
    found = _chosen(columns, slopes=slopes, dense=dense)
    assert {name: int(order[0]) for name, order in found.items()} == {"country": 0, "continent": 1, "language": 3}
    moved = _moved(columns, dense, fold, np.array([0, 2]))
    np.testing.assert_allclose(moved, (dense[source] - dense[base]) * [1, 0, 1, 0])


def test_doing_nothing_has_nothing_and_an_exchange_of_one_alone_has_all():
    ones, zeros, base = np.ones(20), np.zeros(20), np.arange(20) % 7
    assert _row(NOTHING, 0, Outcome(zeros, ones, base), None).disentangled.value == 0
    assert _row("everything", 0, Outcome(ones, zeros, base), None).disentangled.value == 0
    best = _row(LATENTS, 5, Outcome(ones, ones, base), 0.1).disentangled
    assert best.value == 1 and best.null == 0.1 and best.n == 20
    assert _few((2, 5, 10, 20, 50)) == [2, 10, 50] and _few((3,)) == [3]


def test_a_model_that_does_not_know_the_facts_is_told_so():
    model = load_model("embedded")
    hook = Hook("blocks.0.hook_resid_post")
    width = model.width(hook)
    found, failures = ravel(Judged(model, hook, neurons(torch.zeros(width), width)), ProbesConfig())
    assert found is None and "the model knows all attributes of 0 cities" in failures[0].reason


def test_cities_whose_answers_begin_alike_are_left_out():
    """The embedded model has letters for most names: of `Poland` and `Portugal` it predicts the same first token."""
    model, hook = load_model("embedded"), Hook("blocks.0.hook_resid_post")
    judged = Judged(model, hook, neurons(torch.zeros(model.width(hook)), model.width(hook)))
    begins = {
        name: {city.value(name): model.tokenizer.encode_batch([f" {city.value(name)}"])[0][0] for city in cities()}
        for name in QUESTIONS
    }
    alone = lambda name, value: list(begins[name].values()).count(begins[name][value]) == 1
    wanted = {city.name for city in cities() if all(alone(name, city.value(name)) for name in QUESTIONS)}
    facts = facts_of(judged)
    kept = {filling["city"] for filling in facts.prompts["country"].fillings}
    assert kept <= wanted < {city.name for city in cities()}
    for name, prompts in facts.prompts.items():
        by_token = {}
        for filling, token in zip(prompts.fillings, prompts.answers, strict=True):
            city = next(one for one in cities() if one.name == filling["city"])
            assert by_token.setdefault(int(token), city.value(name)) == city.value(name)


@pytest.mark.slow
def test_what_a_real_model_knows_is_exchanged_with_the_city():
    pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
    try:
        local("smollm2")
    except UserError:
        pytest.skip("`make smollm2` was not run")
    model, hook = load_model("smollm2"), Hook("blocks.10.hook_resid_post")
    found, _ = ravel(Judged(model, hook, neurons(torch.zeros(576), 576)), ProbesConfig(ns=(5,), n_seeds=1))
    rows = {(row.name, row.n): row for row in found.rows}
    assert found.n_entities > 30
    nothing, everything = rows[NOTHING, 0], rows["neurons", 0]
    assert nothing.cause.value == 0 and nothing.isolation.value == 1 and nothing.disentangled.value == 0
    assert everything.cause.value > 0.5 > everything.isolation.value
    assert rows[SUPERVISED, 0].disentangled.value is not None
