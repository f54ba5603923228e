"""The examples against what is known of them in closed form, and the directions in which figures must go."""

import pytest
import torch

from sparselex.evaluate.doomed import composition, manifold, scaffolding, superposed, unused
from sparselex.evaluate.doomed.config import DoomedConfig
from sparselex.evaluate.doomed.draws import Place
from sparselex.evaluate.doomed.seen import best_cosine, chance_of

TINY = DoomedConfig(
    n_seeds=1, n_steps=20, net_steps=60, n_held_out=512, n_draws=20, n_circuits=8, n_neurons=40, batch_size=64
)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(TINY, 7, tmp_path)


def row(run, method: str, setting: str = ""):
    return next(one for one in run.rows if (one.method, one.setting) == (method, setting))


@pytest.mark.parametrize(("m", "mean", "high"), [(4, 0.46, 0.72), (12, 0.59, 0.78), (40, 0.70, 0.84)])
def test_the_best_of_random_directions_in_ten_dimensions_is_what_it_is_known_to_be(m, mean, high):
    target = torch.eye(1, 10)
    found = chance_of(lambda rows: best_cosine(rows, target), m, 10, 3000, torch.Generator().manual_seed(0))
    assert found.mean == pytest.approx(mean, abs=0.015) and found.high == pytest.approx(high, abs=0.02)


def test_gradients_read_the_readout_and_nothing_of_its_complement(place):
    run = scaffolding.measure(place)
    assert run.facts["readout_read"] == pytest.approx(1) and run.facts["complement_read"] == pytest.approx(0, abs=1e-9)
    assert row(run, "gradient Gram matrix").values["cosine"] == pytest.approx(1)
    assert row(run, "neurons").values["read_share"] == pytest.approx(0.1)  # shares of a basis sum to 1


def test_values_are_read_by_one_readout_and_combinations_by_both_alike(place):
    toy = composition.Attributes(place, 10)
    colours, shapes = (rows - rows.mean(0) for rows in (toy.source.large, toy.source.small))
    assert toy.purity(torch.cat([colours, shapes])) == pytest.approx(1)
    both = (colours[:, None] + shapes).flatten(0, 1)
    assert toy.purity(both) == pytest.approx(0.5, abs=1e-4)
    run = composition.measure(place, settings=(), transcoders=())
    for at in ("2x2", "10x10"):
        found = row(run, "gradients of each readout", at).values
        assert (found["product"], found["composed"]) == (1, 0)


def test_which_code_is_found_flips_with_sparsity_and_width(tmp_path):
    """Room for values alone and two active latents: values. Room for all combinations and one: combinations."""
    place = Place(TINY.model_copy(update={"n_steps": 400, "n_held_out": 2048, "batch_size": 256}), 3, tmp_path)
    narrow, wide = (10, 20, "k=2", {"kind": "topk", "k": 2}), (10, 100, "k=1", {"kind": "topk", "k": 1})
    run = composition.measure(place, settings=(narrow, wide), transcoders=())
    values, combinations = (row(run, "topk", f"10x10, {at}") for at in ("20 latents, k=2", "100 latents, k=1"))
    assert values.values["product"] > 0.4 and values.values["composed"] < 0.02
    assert combinations.values["composed"] > 0.1 and combinations.values["product"] < 0.06
    assert values.values["l0"] > 1.8 and combinations.values["l0"] <= 1
    assert values.values["purity"] > 0.85 > combinations.values["purity"]
    assert combinations.values["composed"] > combinations.chance["composed"].high


def test_windows_of_the_model_are_uneven_of_one_height_and_few_at_a_time(place):
    model = manifold.reader(place.generator("values"))
    t = (torch.arange(8000) + 0.5) / 8000
    windows = model.windows(manifold.curve(t))
    assert windows.max(0).values == pytest.approx(torch.ones(100), abs=0.08)
    assert float((windows > 0).sum(1).float().mean()) == pytest.approx(2, abs=0.05)
    assert float((windows[t < 0.25] > 0).any(0).sum()) == pytest.approx(76, abs=1)
    run = manifold.measure(place)
    truth = row(run, "the model's windows").values
    assert truth["fine"] == pytest.approx(0.75) and truth["f1"] == pytest.approx(1) and truth["fvu"] < 0.05
    assert row(run, "pieces of the gradient").values["fine"] == pytest.approx(0.75, abs=0.03)
    for one in run.rows:  # what stands as chance is below the truth
        assert "f1" not in one.chance or one.chance["f1"].mean < 0.8


def test_circuits_that_share_neurons_read_their_own_units(place):
    circuits = superposed.embedded(place)
    assert circuits.units @ circuits.units.mT == pytest.approx(torch.eye(10).expand(8, 10, 10), abs=1e-6)
    run = superposed.measure(place)
    each = row(run, "gradient of each output").values
    assert each["cosine"] == each["cosine_within"] == pytest.approx(1) and each["clustered"] == 1
    # 40 neurons hold 80 units: a gradient for each of 8 outputs spans 8 of 40 dimensions.
    assert row(run, "gradient Gram matrix").values["n_directions"] == 8
    assert row(run, "neurons").values["read_share"] == pytest.approx(8 / 40)


def test_a_circuit_that_is_off_says_nothing(place):
    circuits = superposed.embedded(place)
    assert circuits.neurons(torch.zeros(3, 16)).abs().max() == 0


def test_the_model_of_two_numbers_is_the_same_on_the_curve_and_off_it(place):
    run = unused.measure(place)
    assert row(run, "gradient Gram matrix", "on the curve").values["purity"] == pytest.approx(1)
    draws = torch.Generator().manual_seed(0)
    on, off = (points(draws, 20_000) for points in (unused.on_curve, unused.off_curve))
    assert on.quantile(torch.tensor([0.1, 0.5, 0.9]), dim=0) == pytest.approx(
        off.quantile(torch.tensor([0.1, 0.5, 0.9]), dim=0), abs=0.05
    )
    assert {one.setting for one in run.rows if "off_on" in one.values} == {"on the curve", "off the curve"}
