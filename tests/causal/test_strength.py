"""Strengths tuned to a divergence, held against a toy in closed form."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import log_softmax

from sparselex.base.errors import UserError
from sparselex.causal.strength import tuned

RNG = np.random.default_rng(0)
LOGITS, ALONG = RNG.normal(size=50) * 2, RNG.normal(size=50) * 0.1


def divergence(strength):
    """KL of a linear softmax from itself when its logits are moved."""
    p, q = log_softmax(LOGITS), log_softmax(LOGITS + strength * ALONG)
    return float((np.exp(p) * (p - q)).sum())


@given(st.floats(0.01, 5.0), st.floats(0.01, 1e4))
def test_the_strength_is_that_of_the_closed_form(target, start):
    found = tuned(divergence, target, start=start)
    assert found.converged and found.divergence == divergence(found.strength)
    exact = brentq(lambda log: divergence(10**log) - target, -3, 5)
    assert math.log10(found.strength) == pytest.approx(exact, abs=math.log10(1.12))


def test_few_measurements_are_enough():
    asked = []
    tuned(lambda s: asked.append(s) or divergence(s), 1.0, start=100.0)
    assert len(asked) <= 6


def test_what_cannot_be_reached_is_said():
    calls = []
    found = tuned(lambda s: calls.append(s) or min(0.5, s), 1.0)
    assert not found.converged and found.divergence == 0.5 and len(calls) < 14
    jumps = tuned(lambda s: 0.1 if s < 7 else 30.0, 1.0)
    assert not jumps.converged and jumps.divergence == 0.1


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf])
def test_a_target_that_is_none_is_refused(target):
    with pytest.raises(UserError, match="A divergence of"):
        tuned(divergence, target)
