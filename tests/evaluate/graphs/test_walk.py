"""Graphs of a model of two blocks: what is said of a cross-layer transcoder, and what is refused."""

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.causal.graphs.local import Direct
from sparselex.causal.graphs.stack import Transcoder
from sparselex.causal.latents import Latents
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.clt import CrossLayerConfig
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.evaluate.graphs.config import GraphOf
from sparselex.evaluate.graphs.walk import traced
from tests.support.tiny import tiny_llama

TOKENS = torch.tensor([[3, 9, 5, 17, 12, 6]])
SHOWN = torch.ones(6, dtype=torch.bool)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("tiny"), 2, 0.4)


def of_block(model, layer, shown=SHOWN):
    dictionary = new_dictionary(TopKConfig(d_in=16, d_out=16, d_sae=48, k=4), torch.Generator().manual_seed(layer))
    sites = Sites.at(f"blocks.{layer}.hook_mlp_in", f"blocks.{layer}.hook_mlp_out")
    return Transcoder(f"b{layer}", Latents.of(dictionary, model, sites), shown)


def of_both(model):
    config = CrossLayerConfig(d_in=32, d_out=32, d_sae=96, layers_in=(16, 16), layers_out=(16, 16), k=8)
    dictionary = new_dictionary(config, torch.Generator().manual_seed(5))
    dictionary.threshold.fill_(0.8)
    sites = Sites.at("blocks.0.hook_mlp_in+blocks.1.hook_mlp_in", "blocks.0.hook_mlp_out+blocks.1.hook_mlp_out")
    return Transcoder("clt", Latents.of(dictionary, model, sites), SHOWN)


def asked(**options):
    return GraphOf(**{"prompt": "x", "runs": ("b0", "b1"), "node_share": 0.95, "n_checked": 6} | options)


def test_two_blocks_with_checks_in_both_models(model):
    found = traced(model, TOKENS, [of_block(model, 0), of_block(model, 1)], asked())
    assert found.covered == [0, 1] and found.gap < 1e-4
    values = {figure.name.rpartition("/")[2]: figure for figure in found.figures}
    assert all(figure.null is not None for figure in values.values())
    assert values["completeness"].value <= values["completeness"].controls["every node counted"]
    held = [claim.holds_in_model for claim in found.claims]
    assert values["held_in_model"].value == pytest.approx(sum(held) / len(held)) and values["held_in_model"].n == len(
        held
    )
    later = [claim for claim in found.claims if found.nodes[claim.target].kind == "feature"]
    assert later and all(found.nodes[one.source].layer < found.nodes[one.target].layer for one in later)
    for claim in found.claims:
        close = abs(claim.replacement - claim.predicted) <= 0.5 * abs(claim.predicted)
        assert claim.holds_in_replacement == (close and claim.replacement * claim.predicted > 0)


def test_the_same_seed_checks_the_same_and_another_others(model):
    both = [of_block(model, 0), of_block(model, 1)]
    first, again, other = (traced(model, TOKENS, both, asked(n_checked=3, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert {one.source for one in first.claims} != {one.source for one in other.claims}


def test_claims_of_a_cross_layer_transcoder_are_held_against_the_replacement_alone(model):
    found = traced(model, TOKENS, [of_both(model)], asked(runs=("clt",)))
    assert found.covered == [0, 1] and found.gap < 1e-4
    assert found.figure("graph/held_in_replacement").value is not None
    assert "own MLPs" in found.figure("graph/held_in_model").failure
    assert found.claims and all(claim.model is None for claim in found.claims)


def test_mlps_without_a_transcoder_are_errors_as_a_whole_and_cost_completeness(model):
    whole = traced(model, TOKENS, [of_block(model, 0), of_block(model, 1)], asked(n_checked=0))
    half = traced(model, TOKENS, [of_block(model, 0)], asked(n_checked=0, runs=("b0",)))
    last = traced(model, TOKENS, [of_block(model, 1)], asked(n_checked=0, runs=("b1",)))
    assert half.covered == [0] and half.n_features < whole.n_features
    assert {node.layer for node in half.nodes if node.kind == "error"} >= {1}
    assert last.first == 1 and all(node.layer == 1 for node in last.nodes if node.kind in ("input", "error"))


def test_a_prompt_without_active_latents_is_refused(model):
    with pytest.raises(UserError, match="No latent is active"):
        traced(model, TOKENS, [of_block(model, 0, torch.zeros(6, dtype=torch.bool))], asked())


def test_effects_that_do_not_add_up_are_refused(model):
    def bent(module, args, output):
        return output.square()  # a nonlinearity that nothing holds

    handle = model.hf.model.layers[1].self_attn.v_proj.register_forward_hook(bent)
    try:
        with pytest.raises(UserError, match="do not add up"):
            traced(model, TOKENS, [of_block(model, 0), of_block(model, 1)], asked())
    finally:
        handle.remove()


def test_the_gap_is_a_share_of_what_targets_are_made_of():
    adjacency = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    direct = Direct(adjacency, torch.tensor([2.5, 2.0]), torch.tensor([0.5, 0.5]), torch.zeros(1, 2))
    assert direct.gap == pytest.approx(0.5 / 2.5)
