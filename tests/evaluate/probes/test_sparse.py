"""Sparse probing where the answer is known: planted columns, AUROC against its definition, intervals against draws."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import roc_auc_score

from sparselex.evaluate.probes.asked import Asked, Fold, asked_of, fold, shuffled, units_of
from sparselex.evaluate.probes.coded import Columns
from sparselex.evaluate.probes.records import DENSE, LATENTS
from sparselex.evaluate.probes.sparse import Told, chosen, headlines, mean_auroc, probe, too_few
from sparselex.tasks.concepts import SETS


def texts_of(name, n=400, seed=0):
    found = next(one for one in SETS if one.name == name)
    chance = np.random.default_rng(seed)
    return found, [found.draw(chance) for _ in range(n)]


def planted(asked, seed=0, m=40):
    """Columns of noise, of which the third is active on two of three texts that have the concept and on few others."""
    chance = np.random.default_rng(seed)
    values = (chance.random((len(asked.has), m)) < 0.2) * chance.random((len(asked.has), m))
    fires = chance.random(len(asked.has)) < np.where(asked.has, 0.7, 0.02)
    values[:, 3] = fires * (1 + chance.random(len(asked.has)))
    return values, Columns(csr_array(values), chance.normal(size=(m, 6)), (values > 0).mean(0))


@pytest.fixture(scope="module")
def asked():
    one, texts = texts_of("reviews")
    return next(asked_of(texts, one.concepts, 3, 0))


def test_no_word_that_tells_a_concept_stands_on_both_sides():
    for name in ("people", "nouns", "verbs"):
        one, texts = texts_of(name)
        for concept in one.concepts:
            units = units_of(texts, concept)
            divided = [fold(texts, (concept,), number, 0) for number in range(3)]
            assert all(not set(units[part.fit]) & set(units[part.test]) for part in divided)
            assert len({tuple(part.fit) for part in divided}) == 3
    _, texts = texts_of("people")
    part = fold(texts, ("gender", "field"), 0, 0)
    for concept in ("gender", "field"):
        units = units_of(texts, concept)
        assert not set(units[part.fit]) & set(units[part.test])


def test_the_planted_column_is_chosen_and_tells_what_it_can(asked):
    values, columns = planted(asked)
    assert chosen(columns.values, asked.has, 1).tolist() == [3]
    found = probe("reviews", asked, values, {LATENTS: columns}, (1, 5), 0)
    first = next(row for row in found.rows if (row.name, row.k) == (LATENTS, 1))
    assert first.auroc.value == pytest.approx(0.84, abs=0.05)  # 0.7 * 0.98 + half of 0.3 * 0.98 + 0.7 * 0.02
    assert first.accuracy.value == pytest.approx(0.84, abs=0.05)
    assert first.f1.value == pytest.approx(0.81, abs=0.06)
    assert first.auroc.ci_low < first.auroc.value < first.auroc.ci_high
    assert first.auroc.null == pytest.approx(0.5, abs=0.1)
    assert [row.name for row in found.rows] == [LATENTS, LATENTS, DENSE]
    figures, controls = headlines([found])
    assert [figure.name for figure in figures] == ["probes/sparse/auroc_at_1", "probes/sparse/auroc_at_5"]
    assert figures[0].value == pytest.approx(first.auroc.value) and set(controls) == {DENSE}


def test_choosing_is_that_of_a_slow_loop(asked):
    values, columns = planted(asked)
    has = asked.has
    slow = [abs(one[has].mean() - one[~has].mean()) / max(one.std(), 1e-12) for one in values.T]
    assert chosen(columns.values, has, 7).tolist() == np.argsort(-np.array(slow), kind="stable")[:7].tolist()


def test_auroc_is_its_definition_and_leaves_out_each_unit():
    chance = np.random.default_rng(0)
    n = 90
    told = Told(
        chance.integers(0, 5, n).astype(float), chance.random(n) < 0.4, chance.integers(0, 12, n), np.arange(n) % 2
    )
    value, without = mean_auroc(told)

    def slow(kept):
        parts = [kept & (told.folds == number) for number in (0, 1)]
        return np.mean([roc_auc_score(told.has[part], told.scores[part]) for part in parts])

    assert value == pytest.approx(slow(np.ones(n, dtype=bool)))
    for unit, found in zip(np.unique(told.units), without, strict=True):
        assert found == pytest.approx(slow(told.units != unit))


def test_labels_are_shuffled_by_the_word_where_a_word_has_one(asked):
    fit = asked.folds[0].fit
    mixed = shuffled(asked, fit, np.random.default_rng(0))
    by_word = {word: set(mixed[asked.units[fit] == word]) for word in asked.units[fit]}
    assert all(len(labels) == 1 for labels in by_word.values()) and (mixed != asked.has[fit]).any()
    alone = asked._replace(units=np.zeros_like(asked.units))
    assert shuffled(alone, fit, np.random.default_rng(0)).sum() == asked.has[fit].sum()


def test_too_few_are_told():
    few = Asked("rare", np.arange(100) < 5, np.arange(100), [Fold(np.arange(50), np.arange(50, 100))])
    assert "of 50 places to fit 5 have it" in too_few(few)
    assert "of 50 places to test 0 have it" in too_few(few._replace(has=np.arange(100) < 25))
