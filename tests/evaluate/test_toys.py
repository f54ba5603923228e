"""Toys whose outcome is known: over-splitting in closed form, occlusion, absorption and hedging."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from sparselex.base.errors import UserError
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.evaluate.toys.hierarchy import hierarchy
from sparselex.evaluate.toys.occlusion import occlusion
from sparselex.evaluate.toys.over_splitting import ideal_loss, over_splitting

PUBLISHED = {1.0: (100.7, 81.7), 3.0: (102.9, 95.9), 5.0: (103.8, 102.8), 6.0: (103.89, 103.70)}
"""Losses of the two true latents and of a thousand random ones by penalty, as measured on one draw of 20,000 samples:
their mean squared length alone moves such a draw by 0.1."""

APART = {1.0: 0.9, 3.0: 0.4, 5.0: 0.1, 6.0: 0.1}
"""How far our loss of random latents may lie from that: two and a half standard errors of 4,000 samples."""


@pytest.mark.parametrize("l1", PUBLISHED)
def test_random_latents_beat_the_truth_by_the_published_margins(l1: float):
    found, (ideal, random) = over_splitting(l1, n_samples=4000), PUBLISHED[l1]
    assert found.ideal == pytest.approx(ideal, abs=0.1)
    assert found.random.value == pytest.approx(random, abs=APART[l1])
    assert found.splits and found.random.ci_low < found.random.value < found.random.ci_high < found.ideal
    assert found.silent == found.random.null == 104


def test_the_two_tie_where_hardly_anything_fires():
    at_tie, above = over_splitting(7.0, n_samples=4000), over_splitting(8.0, n_samples=4000)
    assert at_tie.ideal - at_tie.random.value == pytest.approx(0, abs=0.06)
    assert at_tie.ideal_fires == pytest.approx(0.066, abs=0.003)
    assert not above.splits and above.ideal_fires < 0.03


@pytest.mark.parametrize("l1", [0.5, 2.0, 6.0])
def test_the_closed_form_is_the_integral_and_nothing_near_it_is_lower(l1: float):
    def loss(gain: float, threshold: float) -> float:
        def at(t: float) -> float:
            acts = max(gain * t - threshold, 0) + max(-gain * t - threshold, 0)
            written = max(gain * t - threshold, 0) - max(-gain * t - threshold, 0)
            return ((t - written) ** 2 + l1 * acts) * (norm.pdf(t - 2) + norm.pdf(t + 2)) / 2

        cut = threshold / gain
        return 99 + quad(at, -12, 12, points=[-cut, cut], limit=200)[0]

    best = ideal_loss(l1)
    assert loss(best.gain, best.threshold) == pytest.approx(best.loss, abs=1e-5)
    for gain in np.array([0.97, 1.03]) * best.gain:
        for threshold in np.array([0.97, 1.03]) * best.threshold:
            assert loss(gain, threshold) > best.loss - 1e-6


def test_a_penalty_is_positive():
    with pytest.raises(UserError, match="penalty l1"):
        over_splitting(0.0)


TOPK = {"kind": "topk", "k": 2}


@pytest.mark.slow
def test_a_heavy_penalty_hides_the_short_attribute_and_lets_the_long_one_be_found(tmp_path):
    heavy = {"kind": "relu", "l1": 10.0}
    unequal = occlusion(tmp_path / "unequal", 2.0, heavy, n_steps=1200)
    assert unequal.large.value > 0.6 and unequal.small.value < 0.1
    assert unequal.large.null < 0.2 and unequal.large.ci_low > unequal.small.ci_high
    equal = occlusion(tmp_path / "equal", 1.0, heavy, n_steps=1200)
    assert abs(equal.large.value - equal.small.value) < 0.2


@pytest.mark.slow
def test_with_few_latents_and_no_penalty_both_attributes_are_found(tmp_path):
    equal = occlusion(tmp_path / "equal", 1.0, TOPK, n_steps=1000)
    assert min(equal.large.value, equal.small.value) > 0.85 and equal.l0 == pytest.approx(2, abs=0.05)
    assert max(equal.large.null, equal.small.null) < 0.2


def test_an_untrained_dictionary_finds_neither(tmp_path):
    found = occlusion(tmp_path / "none", 2.0, TOPK, n_steps=2, n_values=20, d_sae=64)
    assert found.large.value < 0.5 and found.small.value == 0
    assert found.large.n == 20


@pytest.mark.slow
def test_a_narrow_dictionary_hedges_the_more_the_more_a_child_follows_its_parent(tmp_path):
    topk = {"kind": "topk", "k": 3}
    narrow = {p: hierarchy(tmp_path / f"narrow-{p}", p, topk, d_sae=20, n_steps=800) for p in (0.1, 0.7)}
    rare, often = narrow[0.1].hedging, narrow[0.7].hedging
    assert often.value > rare.value + 0.2 and often.ci_low > 0.3
    assert abs(often.null) < 0.15 and abs(rare.null) < 0.15
    wide = hierarchy(tmp_path / "wide", 0.7, topk, d_sae=40, n_steps=800)
    assert wide.hedging.value < often.value - 0.2 and wide.n_features == 40


@pytest.mark.slow
def test_a_wide_dictionary_loses_parents_to_their_children_and_strangers_take_less(tmp_path):
    found = hierarchy(tmp_path / "wide", 0.4, {"kind": "topk", "k": 3}, d_sae=40, n_steps=1500)
    assert found.absorption.value > found.absorption.null + 0.05 and found.absorption.ci_low > 0
    assert found.f1.value > found.f1.null + 0.3


@pytest.mark.parametrize("signed", [False, True])
def test_a_latent_that_stands_for_a_parent_by_its_negative_side_counts_like_another(tmp_path, monkeypatch, signed):
    """A dictionary of true parents that lean to their children, every other one turned round: nothing else changes."""

    def planted(source, config, to, inputs):
        given = source.directions[:12].float()
        rows = torch.nn.functional.normalize(given[:6] + 0.5 * given[6:], dim=-1)
        turned = torch.tensor([1.0, -1.0] * 3)[:, None] if signed else 1.0
        made = new_dictionary(config.dictionary)
        with torch.no_grad():
            made.W_dec.copy_(rows * turned)
            made.W_enc.copy_((rows * turned).T if made.W_enc.shape[0] == 32 else rows * turned)
            made.b_dec.copy_(source.bias)
        return made

    monkeypatch.setattr("sparselex.evaluate.toys.hierarchy.train", planted)
    found = hierarchy(tmp_path, 0.5, {"kind": "abstopk", "k": 6}, d_sae=6, d_in=32, n_parents=6, l0=1.0, n_steps=20)
    assert found.hedging.value == pytest.approx(0.45, abs=0.1)
    assert found.hedging.n == 6 and found.absorption.n == 6


def test_figures_of_a_hierarchy_are_over_parents(tmp_path):
    found = hierarchy(tmp_path / "few", 0.5, {"kind": "topk", "k": 2}, d_sae=12, n_parents=6, l0=1.0, n_steps=20)
    assert found.hedging.units == "parents" and found.hedging.n <= 6 and "another" in found.absorption.definition
