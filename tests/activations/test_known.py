"""Known features: they fire as often, and with whom, as the configuration says."""

from typing import Any

import numpy as np
import pytest
import torch

from sparselex.activations.known.config import KnownConfig
from sparselex.activations.known.plan import plan_of
from sparselex.activations.known.source import KnownFeatures
from sparselex.activations.source import ActivationSource
from sparselex.base.errors import UserError

SMALL = KnownConfig(
    d_in=24, n_features=120, l0=5, n_trees=4, n_children=3, depth=2, child_given_parent=0.3, n_groups=3, group_size=4
)


def but(**changes: Any) -> KnownConfig:
    """The small set with other fields."""
    return KnownConfig(**{**SMALL.to_json(), **changes})


def truth_table(source: KnownFeatures, n_samples: int) -> np.ndarray:
    """`[n_tokens, n_features]`, what is active, written out."""
    out = np.zeros((n_samples * source.batch_size, source.config.n_features), dtype=bool)
    for number in range(n_samples):
        truth = source.sample(number).truth
        out[number * source.batch_size + truth.rows, truth.features] = True
    return out


@pytest.mark.parametrize("config", [SMALL, KnownConfig(), KnownConfig(n_trees=0, n_groups=0), but(l0=12, zipf=1.5)])
def test_rates_sum_to_l0_and_none_is_above_the_largest(config: KnownConfig):
    plan = plan_of(config)
    assert plan.rates.sum() == pytest.approx(config.l0, rel=1e-9)
    assert plan.rates.max() <= config.most_often + 1e-12 and plan.rates.min() > 0
    free = plan.rates[: config.n_free]
    assert (np.diff(free) <= 1e-15).all()


def test_rates_fall_by_zipfs_law_below_the_cut():
    free = plan_of(KnownConfig(zipf=0.8)).rates[: KnownConfig().n_free]
    ranks = np.arange(1, len(free) + 1)
    below = free < 0.4 - 1e-9
    slope = np.polyfit(np.log(ranks[below]), np.log(free[below]), 1)[0]
    assert slope == pytest.approx(-0.8, abs=1e-6)


def test_features_fire_as_often_as_planned():
    source = KnownFeatures(SMALL, batch_size=5000)
    table, rates = truth_table(source, 8), source.plan.rates
    z = (table.mean(0) - rates) / np.sqrt(rates * (1 - rates) / len(table))
    assert np.abs(z).max() < 4.5 and z.std() == pytest.approx(1, abs=0.25)
    assert table.sum(1).mean() == pytest.approx(SMALL.l0, rel=0.02)


def test_children_fire_with_their_parents_and_siblings_never_together():
    source = KnownFeatures(SMALL, batch_size=20_000)
    table, plan = truth_table(source, 2), source.plan
    children = np.flatnonzero(plan.parents >= 0)
    assert len(children) == 4 * (3 + 9)
    assert not (table[:, children] & ~table[:, plan.parents[children]]).any()
    parents = np.unique(plan.parents[children])
    for parent in parents:
        assert table[:, plan.parents == parent].sum(1).max() <= 1
    given = [table[table[:, plan.parents[child]], child].mean() for child in children[:12]]
    assert np.mean(given) == pytest.approx(0.3, abs=0.03)


def test_members_of_a_group_fire_together_as_often_as_the_plan_says():
    source = KnownFeatures(SMALL, batch_size=20_000)
    table, plan = truth_table(source, 3), source.plan
    members = np.flatnonzero(plan.groups == 2)
    a, b = members[:2]
    quiet = lambda p, in_event: 1 - (1 - p) * (1 - in_event)
    q = plan.events[2]
    both = q * quiet(plan.alone[a], plan.in_event[a]) * quiet(plan.alone[b], plan.in_event[b])
    both += (1 - q) * plan.alone[a] * plan.alone[b]
    found = (table[:, a] & table[:, b]).mean()
    assert found == pytest.approx(both, abs=4 * np.sqrt(both / len(table)))
    assert both > 2 * plan.rates[a] * plan.rates[b]


def test_activations_are_the_sum_of_what_is_active():
    source = KnownFeatures(but(noise=0.0, size_spread=0.4, bias=2.0), batch_size=300)
    x, truth = source.sample(3)
    dense = torch.zeros(300, SMALL.n_features, dtype=torch.float64)
    dense[torch.from_numpy(truth.rows), torch.from_numpy(truth.features)] = torch.from_numpy(truth.values)
    torch.testing.assert_close(x.double(), dense @ source.directions.double() + source.bias.double(), atol=1e-5, rtol=0)
    assert float(source.bias.norm()) == pytest.approx(2, abs=1e-5)
    noisy = KnownFeatures(but(noise=0.3, size_spread=0.4, bias=2.0), batch_size=300).sample(3).x
    assert float((noisy - x).std()) == pytest.approx(0.3, abs=0.01)


def test_tokens_without_any_feature_are_the_bias():
    source = KnownFeatures(but(l0=0.05, noise=0.0), batch_size=200)
    x, truth = source.sample(0)
    silent = np.setdiff1d(np.arange(200), truth.rows)
    assert len(silent) > 150
    torch.testing.assert_close(x[silent], source.bias.expand(len(silent), -1))


def test_a_source_goes_on_where_it_was_and_repeats_itself():
    one, other = KnownFeatures(SMALL, batch_size=64), KnownFeatures(SMALL, batch_size=64)
    assert isinstance(one, ActivationSource)
    batches = [one.next_batch() for _ in range(3)]
    state = one.state()
    following = one.next_batch()
    other.load_state(state)
    again = other.next_batch()
    assert torch.equal(again.x, following.x) and np.array_equal(again.positions, np.arange(192, 256))
    assert torch.equal(one.sample(1).x, batches[1].x)
    assert not torch.equal(one.held_out(0).x, one.sample(0).x)
    assert not torch.equal(KnownFeatures(but(seed=1), batch_size=64).sample(0).x, one.sample(0).x)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_features": 50}, "n_features=50"),
        ({"child_given_parent": 0.4}, "child_given_parent=0.4"),
        ({"l0": 60}, "l0=60"),
        ({"noise": float("nan")}, "noise"),
        ({"n_features": 2**21}, "n_features"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict, said: str):
    with pytest.raises(UserError, match=said):
        KnownConfig.parse({**SMALL.to_json(), **changes})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("zipf", 0.2),
        ("most_often", 0.2),
        ("depth", 1),
        ("child_given_parent", 0.1),
        ("group_share", 0.1),
        ("together", 0.9),
        ("spread", 0.1),
        ("size_spread", 0.5),
        ("noise", 0.1),
        ("bias", 0.0),
    ],
)
def test_every_option_changes_the_sample(name: str, value: float):
    one = KnownFeatures(SMALL, batch_size=500).sample(0).x
    assert not torch.equal(KnownFeatures(but(**{name: value}), batch_size=500).sample(0).x, one)
