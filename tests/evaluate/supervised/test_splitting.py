"""Over-splitting, held against sets that are counted one by one and splits that were planted."""

from itertools import combinations

import numpy as np
import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.evaluate.supervised.meaning import at_rates, fires_above
from sparselex.evaluate.supervised.splitting import mean_jaccard, split_latents

N = 2000


@pytest.fixture
def has():
    return torch.from_numpy(np.random.default_rng(0).random(N) < 0.5)


def planted(has, n_parts: int, overlap: int = 0) -> torch.Tensor:
    """Latents that divide the prompts with the value among them, each with some of its neighbours' besides."""
    acts, mine = torch.zeros(len(has), n_parts), has.nonzero()[:, 0]
    for part in range(n_parts):
        for shift in range(overlap + 1):
            acts[mine[(part + shift) % n_parts :: n_parts], part] = 1.5
    return acts


def slow(acts, has):
    """The same by sets."""
    wanted = {row for row in range(len(has)) if has[row]}
    sets = [{row for row in range(len(acts)) if acts[row, latent] != 0} for latent in range(acts.shape[1])]
    kept = [
        latent
        for latent, one in enumerate(sets)
        if one and len(one & wanted) / len(one) >= 0.9 and 0 < len(one & wanted) / len(wanted) <= 0.2
    ]
    pairs = [len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in combinations(kept, 2)]
    union = set().union(*(sets[latent] for latent in kept)) & wanted
    return kept, sum(pairs) / len(pairs) if pairs else 0.0, len(union) / len(wanted)


def test_a_planted_split_is_found_and_two_right_latents_are_none(has):
    found = split_latents(planted(has, 20), has)
    assert found.is_split and found.latents == [*range(20)] and found.jaccard == 0 and found.recall == 1
    assert not split_latents(planted(has, 20), ~has).latents, "of the other value there is none"
    right = torch.stack([has, ~has], dim=1).float()
    assert not split_latents(right, has).is_split and split_latents(right, has).latents == []


@pytest.mark.parametrize("n_parts", [6, 8])
def test_few_parts_are_no_split(has, n_parts):
    found = split_latents(planted(has, n_parts), has)
    assert len(found.latents) == n_parts and found.recall == 1 and not found.is_split


def test_parts_that_overlap_or_leave_much_uncovered_are_no_split(has):
    overlapping = split_latents(planted(has, 40, overlap=6), has)
    assert len(overlapping.latents) == 40 and overlapping.jaccard > 0.1 and not overlapping.is_split
    some = split_latents(planted(has, 20)[:, :15], has)
    assert len(some.latents) == 15 and some.recall == pytest.approx(0.75, abs=0.01) and not some.is_split


def test_it_is_what_sets_say(has):
    rng = np.random.default_rng(1)
    chance = np.where(has.numpy()[:, None], 0.08, 0.006)
    acts = torch.from_numpy((rng.random((N, 30)) < chance) * rng.normal(size=(N, 30)))
    acts = torch.cat([acts, torch.zeros(N, 1), has[:, None].double()], dim=1)
    found, (latents, jaccard, recall) = split_latents(acts, has), slow(acts.numpy(), has.tolist())
    assert found.latents == latents and 5 < len(latents) < 30
    assert found.jaccard == pytest.approx(jaccard) and found.recall == pytest.approx(recall)
    assert mean_jaccard(acts[:, :1] != 0) == 0


def test_recall_is_that_of_other_prompts(has):
    """Latents that know single prompts by heart cover none of those that were not there."""
    by_heart = torch.zeros(N, 60)
    for number, rows in enumerate(has.nonzero()[:, 0].chunk(60)):
        by_heart[rows, number] = 1.0
    assert split_latents(by_heart, has).is_split
    found = split_latents(by_heart, has, tested=(torch.zeros(100, 60), torch.ones(100, dtype=torch.bool)))
    assert len(found.latents) == 60 and found.recall == 0 and not found.is_split and len(found.covered) == 100


def test_directions_at_random_that_fire_as_often_are_no_split(has):
    """What fires rarely is right by luck now and then: the null has some, and they cover little."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, 64, generator=generator) + (has[:, None].float() - 0.5) * 0.2
    rows, thresholds = at_rates(x, (planted(has, 20) != 0).float().mean(0), generator)
    assert not split_latents(fires_above(x, x.mean(0), rows, thresholds).float(), has).is_split


@pytest.mark.parametrize(("value", "said"), [(True, "All of 5 prompts"), (False, "None of 5 prompts")])
def test_a_value_that_all_or_none_have_is_refused(value, said):
    with pytest.raises(UserError, match=said):
        split_latents(torch.zeros(5, 3), torch.full((5,), value))
