"""What explainers and scorers see: the documents that are theirs, and no others."""

import numpy as np
import pytest

from sparselex.base.errors import UserError
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.features.records import Example
from sparselex.text.splits import SPLITS
from tests.support.planted import PlantedIndex, part


@pytest.fixture(scope="module")
def index():
    return PlantedIndex()


def sides(index):
    evidence = Evidence(index)
    return {"train": evidence.train, "validation": evidence.validation, "test": HeldOut(index)}


@pytest.mark.parametrize("split", SPLITS)
def test_all_that_is_given_lies_in_the_split(index, split):
    side, inside = sides(index)[split], part(split)
    positions = [side.tokens.positions[side.column(1).ranks], side.tokens.positions[side.shifted(1).ranks]]
    positions += [[e.position for e in found] for found in (side.examples(1, 5), side.examples(1, 5, 0))]
    positions += [[e.position for e in side.silent(1, 5, 0)], side.tokens.positions]
    for found in positions:
        assert len(found) and all(inside.start <= position < inside.stop for position in found)


@pytest.mark.parametrize("split", SPLITS)
def test_other_documents_are_refused(index, split):
    side, inside = sides(index)[split], part(split)
    assert side.token(inside.start + 3) == index.tokens.reshape(-1)[inside.start + 3]
    for position in (inside.start - 1, inside.stop):
        with pytest.raises(UserError, match=f"does not lie in {split} documents"):
            side.token(position)
        with pytest.raises(UserError, match=f"does not lie in {split} documents"):
            side.views(0, [Example(position=position, value=1.0)])


def test_an_explainer_has_no_way_to_test_documents(index):
    evidence = Evidence(index)
    assert [name for name in vars(evidence) if not name.startswith("_")] == ["train", "validation"]
    with pytest.raises(AttributeError):
        evidence.test  # noqa: B018


def test_heat_in_views_is_relative_to_the_splits_own_activations(index):
    side = sides(index)["validation"]
    (best,) = side.examples(0, 1)
    (view,) = side.views(0, [best])
    assert max(span.level for span in view.spans) == 10 and max(span.value for span in view.spans) == best.value
    assert best.value < np.abs(index.column(0)[1]).max() or best.value == np.abs(side.column(0).values).max()


def test_the_null_is_shifted_alike_whoever_asks(index):
    for split, side in sides(index).items():
        assert np.array_equal(side.shifted(0).ranks, sides(index)[split].shifted(0).ranks)
    assert not np.array_equal(HeldOut(index, 0).shifted(0).ranks, HeldOut(index, 1).shifted(0).ranks)
