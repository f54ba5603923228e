"""What latents stand for, held against slow counts and a null that is known."""

import numpy as np
import pytest
import torch

from sparselex.evaluate.supervised.meaning import at_rates, f1_of, f1_of_unions, fires_above


def slow_f1(fires, has):
    both = int((fires & has).sum())
    precision, recall = both / max(1, int(fires.sum())), both / max(1, int(has.sum()))
    return 0.0 if both == 0 else 2 * precision * recall / (precision + recall)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 7, 300))
    active = torch.from_numpy(rng.random((300, 11)) < rng.random(11))
    active[:, 0], active[:, 1] = labels == 3, False
    return active, labels


def test_f1_is_that_of_precision_and_recall(data):
    active, labels = data
    found = f1_of(active, labels, 8)
    for latent in range(11):
        for value in range(8):
            assert float(found[latent, value]) == pytest.approx(slow_f1(active[:, latent], labels == value), abs=1e-6)
    assert float(found[0, 3]) == 1 and found[1].max() == 0


def test_unions_are_the_best_of_a_growing_set(data):
    active, labels = data
    known = f1_of(active, labels, 7)
    found = f1_of_unions(active, labels, 7, known)
    for latent in range(11):
        order = known[latent].argsort(descending=True, stable=True)
        tried = [slow_f1(active[:, latent], torch.isin(labels, order[: n + 1])) for n in range(7)]
        assert float(found[latent]) == pytest.approx(max(tried), abs=1e-6)


def test_the_null_fires_as_often_and_has_the_f1_that_is_known():
    """Random directions on a sum of 108 and 108 names and a position in 64 dimensions, as the reference measured it:
    at a rate of one half a name's best F1 is 0.04, at one in fifty 0.24."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(n, 64, generator=generator) for n in (108, 108, 2)]
    labels = [torch.randint(len(one), (20_000,), generator=generator) for one in rows]
    x = sum(one[label] for one, label in zip(rows, labels, strict=True))
    for rate, median in ((0.5, 0.04), (0.1, 0.13), (0.02, 0.24)):
        directions, thresholds = at_rates(x, torch.full((256,), rate), generator)
        fires = fires_above(x, x.mean(0), directions, thresholds)
        assert float((fires.float().mean(0) - rate).abs().max()) < 1e-3
        best = torch.stack([f1_of(fires, labels[place], 108).amax(-1) for place in range(2)]).amax(0)
        assert float(best.median()) == pytest.approx(median, abs=0.05), rate
    rates = torch.tensor([0.0, 1.0])
    assert fires_above(x, x.mean(0), *at_rates(x, rates, generator)).float().mean(0).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("n_distinct", [4, 40])
def test_where_values_lie_together_the_null_fires_as_nearly_as_often_as_it_can(n_distinct):
    generator = torch.Generator().manual_seed(1)
    distinct = torch.randn(n_distinct, 16, generator=generator)
    x = distinct[torch.randint(n_distinct, (2000,), generator=generator)]
    rates = torch.rand(300, generator=generator)
    rows, thresholds = at_rates(x, rates, generator)
    found = fires_above(x, x.mean(0), rows, thresholds).float().mean(0)
    along = (x - x.mean(0)).double() @ rows.double().T
    for place in range(300):
        values = along[:, place].round(decimals=5)
        shares = [0.0, *(float((values >= one).float().mean()) for one in values.unique())]
        nearest = min(abs(share - round(float(rates[place]) * 2000) / 2000) for share in shares)
        assert abs(float(found[place]) - round(float(rates[place]) * 2000) / 2000) == pytest.approx(nearest, abs=1e-6)
    assert abs(float((found - rates).mean())) < 0.02
