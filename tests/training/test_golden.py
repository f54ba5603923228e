"""Loss curves of every type against stored ones: what is learned does not change unnoticed."""

import json

import pytest

from sparselex.dictionaries.kinds import DICTIONARIES
from tests.support.mixtures import KINDS, log_of, training_of
from tests.training.golden import FILE

CURVES = json.loads(FILE.read_text(encoding="utf-8"))


def test_every_type_has_a_curve():
    assert set(CURVES) == set(KINDS) == set(DICTIONARIES.names())


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_goes_as_it_did(kind, tmp_path):
    lines = log_of(training_of(kind), tmp_path / "d")
    assert [line["loss"] for line in lines] == pytest.approx(CURVES[kind]["loss"], rel=1e-4)
    # A latent on the edge may fall to either side where another processor rounds otherwise.
    assert [line["l0"] for line in lines] == pytest.approx(CURVES[kind]["l0"], rel=1e-3)


def test_the_tolerance_tells_a_changed_term(tmp_path):
    lines = log_of(training_of("relu", {"l1": 2.01}), tmp_path / "d")
    assert [line["loss"] for line in lines] != pytest.approx(CURVES["relu"]["loss"], rel=1e-4)
