"""Influence, scores and pruning of graphs, against their closed forms and against graphs that can be read."""

import pytest
import torch

from sparselex.causal.graphs.influence import influence, normalised, pruned, scores


def random_graph(n=12, seed=0):
    """Direct effects of earlier nodes on later ones, signed; the last two are outputs."""
    draws = torch.Generator().manual_seed(seed)
    adjacency = torch.randn(n, n, generator=draws, dtype=torch.float64).tril(-1)
    adjacency[torch.rand(n, n, generator=draws) < 0.3] = 0
    weights = torch.zeros(n, dtype=torch.float64)
    weights[-2:] = torch.tensor([0.7, 0.2])
    return adjacency, weights


def test_influence_is_the_sum_over_all_paths():
    adjacency, weights = random_graph()
    shares = normalised(adjacency)
    rows = shares.sum(-1)
    assert torch.allclose(rows[rows > 0], torch.ones(1, dtype=torch.float64))
    eye = torch.eye(len(weights), dtype=torch.float64)
    expected = weights @ (torch.linalg.inv(eye - shares) - eye)
    assert torch.allclose(influence(shares, weights), expected, atol=1e-12)


def chain():
    """One input, one error, a feature that takes 3 of the input and -1 of the error; the output takes the feature's 2
    and the error's 2."""
    adjacency = torch.zeros(4, 4)  # feature, error, input, output
    adjacency[0] = torch.tensor([0.0, -1.0, 3.0, 0.0])
    adjacency[3] = torch.tensor([2.0, 2.0, 0.0, 0.0])
    kinds = {name: torch.tensor([number == place for number in range(4)]) for place, name in enumerate("feio")}
    return adjacency, torch.tensor([0.0, 0, 0, 1]), kinds


def test_scores_of_a_graph_that_can_be_read():
    adjacency, weights, kinds = chain()
    found = scores(adjacency, weights, kinds["i"], kinds["e"])
    # The input has 1/2 * 3/4, the error 1/2 + 1/2 * 1/4 of the output.
    assert found.replacement == pytest.approx(3 / 8)
    # The output (weight 1) is half complete, the feature (weight 1/2) three quarters.
    assert found.completeness == pytest.approx((0.5 + 0.5 * 0.75) / 1.5)
    # With the input (3/8) and the error (5/8) as complete targets besides.
    assert found.completeness_of_all == pytest.approx((0.5 + 0.5 * 0.75 + 1) / 2.5)


def test_a_graph_in_which_nothing_leads_to_outputs_has_no_scores():
    adjacency, weights, kinds = chain()
    found = scores(torch.zeros_like(adjacency), weights, kinds["i"], kinds["e"])
    assert found.replacement != found.replacement and found.completeness != found.completeness


def test_pruning_keeps_what_has_most_influence_and_what_it_hangs_on():
    # Two features: the first takes the input and has nearly all of the output, the second hardly any.
    adjacency = torch.zeros(5, 5)  # two features, error, input, output
    adjacency[0, 3], adjacency[1, 3] = 5.0, 1.0
    adjacency[4, :4] = torch.tensor([9.0, 0.5, 0.5, 0.0])
    weights = torch.tensor([0.0, 0, 0, 0, 1])
    features, errors = torch.tensor([True, True, False, False, False]), torch.arange(5) == 2
    kept = pruned(adjacency, weights, features, errors, 0.8, 0.98)
    assert kept.nodes.tolist() == [True, False, False, True, True]
    assert kept.edges.nonzero().tolist() == [[0, 3], [4, 0]]
    whole = pruned(adjacency, weights, features, errors, 1.0, 1.0)
    assert whole.nodes.all() and whole.edges.sum() == 5
    assert float(whole.cumulative.max()) == pytest.approx(1.0)


def test_a_feature_that_nothing_leads_to_is_left_out_and_what_leads_to_it_alone():
    adjacency = torch.zeros(4, 4)  # two features, input, output
    adjacency[1, 0] = 1.0  # the second takes the first, which takes nothing
    adjacency[3, :3] = torch.tensor([0.0, 1.0, 1.0])
    features = torch.tensor([True, True, False, False])
    kept = pruned(adjacency, torch.tensor([0.0, 0, 0, 1]), features, torch.zeros(4, dtype=torch.bool), 1.0, 1.0)
    assert kept.nodes.tolist() == [False, False, True, True]


@pytest.mark.parametrize("seed", range(3))
def test_more_is_kept_of_a_larger_share(seed):
    adjacency, weights = random_graph(30, seed)
    features, errors = torch.arange(30) < 20, (torch.arange(30) >= 20) & (torch.arange(30) < 25)
    sizes = [
        int(pruned(adjacency, weights, features, errors, share, 0.98).nodes.sum()) for share in (0.3, 0.6, 0.9, 1.0)
    ]
    assert sizes == sorted(sizes)
