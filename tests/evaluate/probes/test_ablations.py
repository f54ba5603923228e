"""SCR and TPP on activations that are sums of known directions, coded by the truth."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from sparselex.evaluate.probes.asked import Asked, Fold
from sparselex.evaluate.probes.attributed import attributed, others_alike, without
from sparselex.evaluate.probes.coded import Columns
from sparselex.evaluate.probes.config import ProbesConfig
from sparselex.evaluate.probes.logistic import LinearProbe, fit_dense
from sparselex.evaluate.probes.scr import scr
from sparselex.evaluate.probes.tpp import tpp

AT = ProbesConfig(ns=(1, 2, 5), ablate_to="zero")


class World:
    """Texts that hang on a word of either concept; latents that are active where the concepts hold, and others that are
    active at random."""

    def __init__(self, n=600, m=30, d=40, seed=0, n_values=2):
        chance = np.random.default_rng(seed)
        self.words = chance.integers(0, 40, (2, n))
        self.labels = self.words % n_values
        self.rows = chance.normal(size=(m, d)) / np.sqrt(d)
        acts = (chance.random((n, m)) < 0.3) * chance.uniform(0.5, 1.5, (n, m))
        for concept in range(2):
            for value in range(n_values):
                holds = self.labels[concept] == value
                acts[:, concept * n_values + value] = holds * chance.uniform(0.8, 1.2, n) * (3.0 if concept else 1.5)
        self.x = acts @ self.rows + 0.4 * chance.normal(size=(n, d))
        self.columns = Columns(csr_array(acts), self.rows, (acts > 0).mean(0))
        self.folds = [self.fold(number, chance) for number in range(3)]

    def fold(self, number, chance):
        fits = [np.isin(words, chance.permutation(40)[:20]) for words in self.words]
        inside = np.array(fits)
        return Fold(np.flatnonzero(inside.all(0)), np.flatnonzero(~inside.any(0)))

    def asked(self, concept, value=1):
        return Asked(f"concept {concept}", self.labels[concept] == value, self.words[concept], self.folds)


def test_ablating_the_spurious_latents_gives_the_accuracy_back_and_others_do_not():
    world = World()
    found = scr("texts", world.asked(0), world.asked(1), world.x, {"latents": world.columns}, AT)
    assert not found.failure and found.before["biased"].value < found.before["oracle"].value - 0.1
    two = found.rows[1].score
    assert two.value > 0.7 and two.ci_low < two.value < two.ci_high and abs(two.null) < 0.2
    assert found.rows[1].spread is not None


def test_what_costs_nothing_has_no_share_that_comes_back():
    world = World()
    world.x = world.columns.values[:, [0, 1]] @ world.rows[[0, 1]]
    found = scr("texts", world.asked(0), world.asked(1), world.x, {"latents": world.columns}, AT)
    assert found.rows == [] and "are needed for a share" in found.failure


def test_a_rare_combination_is_told():
    world = World()
    rare = world.asked(1)._replace(has=world.asked(0).has)
    found = scr("texts", world.asked(0), rare, world.x, {"latents": world.columns}, AT)
    assert found.rows == [] and "a combination of the two is that of 0 texts" in found.failure


def test_a_rare_concept_is_as_good_as_a_frequent_one():
    """Rare in the texts to fit, so that a probe that knows its base rate would say of all that they have it not."""
    world = World(n=2400)
    kept = ~world.labels[0].astype(bool) | (np.arange(2400) % 8 == 0)
    folds = [Fold(fold.fit[kept[fold.fit]], fold.test) for fold in world.folds]
    wanted, spurious = (world.asked(concept)._replace(folds=folds) for concept in range(2))
    found = scr("texts", wanted, spurious, world.x, {"latents": world.columns}, AT)
    assert found.before["oracle"].value > 0.85 and found.rows[1].score.value > 0.5


def test_a_probe_loses_what_its_own_latents_wrote():
    world = World(n_values=4, n=1200, m=60)
    values = [world.asked(1, value)._replace(name=f"value {value}") for value in range(4)]
    found = tpp("texts", "concept", values, world.x, {"latents": world.columns}, AT)
    one = found.rows[0].score
    assert found.before["accuracy"].value > 0.9
    assert one.value > 0.2 and abs(one.null) < 0.05 and one.ci_low > one.null
    slow = tpp_slowly(world, values)
    assert one.value == pytest.approx(slow, abs=1e-9)


def tpp_slowly(world, values):
    """TPP at one latent, text by text."""
    right = {}
    for fold in world.folds:
        probes = [fit_dense(world.x[fold.fit], one.has[fold.fit], one.units[fold.fit]) for one in values]
        dense = world.columns.values.toarray()
        for target, (probe, one) in enumerate(zip(probes, values, strict=True)):
            fit, has = dense[fold.fit], one.has[fold.fit]
            latent = int(np.argmax((fit[has].mean(0) - fit[~has].mean(0)) * (world.rows @ probe.weight)))
            for other, (read, labels) in enumerate(zip(probes, values, strict=True)):
                for text in fold.test:
                    cut = world.x[text] - dense[text, latent] * world.rows[latent]
                    before, after = ((read.scores(at[None])[0] > 0) == labels.has[text] for at in (world.x[text], cut))
                    right.setdefault((target, other, bool(labels.has[text])), []).append(int(before) - int(after))
    drops = np.array(
        [[np.mean([np.mean(right[i, j, with_it]) for with_it in (True, False)]) for j in range(4)] for i in range(4)]
    )
    own = np.eye(4, dtype=bool)
    return drops[own].mean() - drops[~own].mean()


def test_probes_that_know_nothing_have_nothing_to_lose():
    world = World(n_values=4)
    values = [world.asked(1, value)._replace(name=f"value {value}") for value in range(4)]
    noise = np.random.default_rng(0).normal(size=world.x.shape)
    found = tpp("texts", "concept", values, noise, {"latents": world.columns}, AT)
    assert found.rows == [] and "there is little to lose" in found.failure


def test_attribution_is_the_effect_of_ablation():
    world = World()
    fold = Fold(np.arange(600), np.arange(600))
    probe = LinearProbe(np.random.default_rng(1).normal(size=40), 0.5)
    has = world.asked(1).has
    scores = probe.scores(world.x)
    effects = []
    for latent in range(30):
        lost = scores - without(world.columns, probe, scores, fold, np.array([latent]), "zero")
        slow = probe.weight @ (world.columns.values.toarray()[:, latent, None] * world.rows[latent]).T
        np.testing.assert_allclose(lost, slow)
        to_mean = scores - without(world.columns, probe, scores, fold, np.array([latent]), "mean")
        np.testing.assert_allclose(to_mean, lost - lost.mean(), atol=1e-12)
        effects.append(lost[has].mean() - lost[~has].mean())
    assert (
        attributed(world.columns, probe, fold.fit, has).tolist()
        == np.argsort(-np.array(effects), kind="stable").tolist()
    )


def test_others_are_active_about_as_often_and_none_of_those_that_were_taken():
    rates = np.linspace(0, 1, 200)
    taken = np.array([50, 100, 150])
    drawn = others_alike(rates, taken, np.random.default_rng(0))
    assert len(set(drawn.tolist())) == 3 and not set(drawn.tolist()) & set(taken.tolist())
    assert np.abs(rates[drawn] - rates[taken]).max() < 0.06
    assert len(others_alike(np.array([0.0, 0.3]), np.array([1]), np.random.default_rng(0))) == 0
