"""Direct effects: equal to the closed form where that can be written, adding up to what targets are in every family."""

from dataclasses import replace

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.causal.graphs.interventions import measured, predicted, push_of, random_push
from sparselex.causal.graphs.local import LocalModel
from sparselex.causal.graphs.stack import Transcoder
from sparselex.causal.latents import Latents
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.clt import CrossLayerConfig
from sparselex.dictionaries.types.gated import GatedConfig
from sparselex.dictionaries.types.jumprelu import JumpReLUConfig
from sparselex.dictionaries.types.relu import ReLU, ReLUConfig
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.evaluate.graphs.scored import score_figures
from sparselex.lm.load import load_model
from tests.lm.small_models import build

TOKENS = torch.tensor([[5, 9, 5, 17, 30, 22, 9]])


def transcoder(model, layer, config=None, seed=1, counted=None, **options):
    """One with random weights for a block's MLP."""
    width = model.d_model
    config = config or TopKConfig(d_in=width, d_out=width, d_sae=2 * width, k=5, **options)
    dictionary = new_dictionary(config, torch.Generator().manual_seed(seed + layer))
    with torch.no_grad():
        for tensor in (dictionary.b_enc, dictionary.b_dec):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(9 + layer)))
        if hasattr(dictionary, "W_skip"):
            dictionary.W_skip.copy_(0.1 * torch.randn(width, width, generator=torch.Generator().manual_seed(3)))
    sites = Sites.at(f"blocks.{layer}.hook_mlp_in", f"blocks.{layer}.hook_mlp_out")
    shown = torch.ones(TOKENS.shape[1], dtype=torch.bool) if counted is None else counted
    return Transcoder(f"layer {layer}", Latents.of(dictionary, model, sites), shown)


class Crooked(ReLU):
    """Its activations are squares."""

    def code(self, x):
        return self.pre_acts(x).square()


def cross_layer(model, seed=0):
    d = model.d_model
    config = CrossLayerConfig(d_in=2 * d, d_out=2 * d, d_sae=4 * d, layers_in=(d, d), layers_out=(d, d), k=8)
    dictionary = new_dictionary(config, torch.Generator().manual_seed(seed))
    dictionary.threshold.fill_(0.5)
    sites = Sites.at("blocks.0.hook_mlp_in+blocks.1.hook_mlp_in", "blocks.0.hook_mlp_out+blocks.1.hook_mlp_out")
    return Transcoder("both", Latents.of(dictionary, model, sites), torch.ones(TOKENS.shape[1], dtype=torch.bool))


FAMILIES = ["llama", "gpt2", "gpt_neox", "gpt_neox sequential", "qwen3", "gemma3_text", "granite", "opt", "mistral"]


@pytest.mark.parametrize("family", FAMILIES)
def test_effects_and_biases_add_up_to_every_target(family):
    model = build(family)
    local = LocalModel(model, TOKENS, [transcoder(model, 0), transcoder(model, 1)], batch=16)
    direct = local.direct()
    assert local.features.n_left_out == 0 and len(local.features) > 20
    targets = torch.cat([direct.adjacency[local.span("features")], direct.adjacency[local.span("outputs")]])
    assert torch.allclose(targets.sum(-1) + direct.biases, direct.values, atol=1e-4, rtol=1e-4)
    assert direct.gap < 1e-5
    assert not direct.adjacency[local.span("errors")].any() and not direct.adjacency[local.span("inputs")].any()


@pytest.mark.parametrize(
    "options", [{"skip": True}, {"counted": torch.arange(7) > 0}, {"config": "relu"}, {"config": "jumprelu"}]
)
def test_they_add_up_for_what_passes_latents_by_tokens_left_out_and_other_types(options):
    model = build("llama")
    d = model.d_model
    made = {
        "relu": ReLUConfig(d_in=d, d_out=d, d_sae=2 * d),
        "jumprelu": JumpReLUConfig(d_in=d, d_out=d, d_sae=2 * d),
    }
    options = options | ({"config": made[options["config"]]} if "config" in options else {})
    local = LocalModel(model, TOKENS, [transcoder(model, 0, **options), transcoder(model, 1, **options)])
    assert local.direct().gap < 1e-5
    if "counted" in options:
        assert 0 not in local.features.position


def test_what_whole_mlps_add_is_the_same_whatever_the_transcoders_are():
    """A linear way past the latents is a part of the dictionary, and the null knows no dictionary."""
    model = build("llama")
    made = [
        [transcoder(model, layer, skip=skip, seed=seed) for layer in (0, 1)] for skip, seed in ((False, 1), (True, 5))
    ]
    plain, skipping = (LocalModel(model, TOKENS, both, batch=4) for both in made)
    passed = skipping.stack.past(skipping.stack.mlps[0], skipping.values)
    assert plain.stack.past(plain.stack.mlps[0], plain.values) is None and passed.norm() > 0.1
    expected, found = plain.direct().whole, skipping.direct().whole
    assert torch.allclose(found, expected, atol=1e-6) and expected.abs().max() > 1e-3
    nulls = [score_figures(local, local.direct())[0].null for local in (plain, skipping)]
    assert nulls[0] == pytest.approx(nulls[1], abs=1e-5)


def test_a_cross_layer_transcoder_adds_up_and_writes_ahead():
    model = build("llama")
    local = LocalModel(model, TOKENS, [cross_layer(model)])
    direct = local.direct()
    assert direct.gap < 1e-5
    assert {0, 1} == set(local.features.layer.tolist())
    at, _ = local.stack.written(local.features, local.stack.mlps[1])
    assert set(local.features.layer[at].tolist()) == {0, 1}


def test_edges_equal_the_closed_form_of_a_linear_toy():
    """Queries are zero, so that every token looks at all before it alike: what a block adds to the next is then a
    product of matrices that can be written down."""
    model = build("llama")
    layers = model.hf.model.layers
    with torch.no_grad():
        for layer in layers:
            layer.self_attn.q_proj.weight.zero_()
    local = LocalModel(model, TOKENS, [transcoder(model, 0), transcoder(model, 1)])
    direct, n_ctx = local.direct(), TOKENS.shape[1]
    block = layers[1]
    streams = model.run(TOKENS, read=["blocks.0.hook_resid_post", "blocks.1.hook_resid_mid"]).values
    scale = lambda x, norm: (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()
    before = scale(streams["blocks.0.hook_resid_post"][0], block.input_layernorm)
    middle = scale(streams["blocks.1.hook_resid_mid"][0], block.post_attention_layernorm)
    groups = model.hf.config.num_attention_heads // model.hf.config.num_key_value_heads
    W_v = block.self_attn.v_proj.weight.T.unflatten(-1, (-1, 8)).repeat_interleave(groups, dim=1).flatten(1)
    through = torch.diag(block.input_layernorm.weight) @ W_v @ block.self_attn.o_proj.weight.T
    features = local.features
    d_rows = local.stack.transcoders[0].latents.dictionary.W_dec.detach()
    checked = 0
    for source in (features.layer == 0).nonzero()[:, 0].tolist():
        written = features.act[source] * d_rows[features.latent[source]]
        s = int(features.position[source])
        for target in (features.layer == 1).nonzero()[:, 0].tolist():
            t = int(features.position[target])
            moved = written * (s == t) + (written * before[s]) @ through / (t + 1) * (s <= t)
            expected = (moved * middle[t] * block.post_attention_layernorm.weight) @ features.rows[target]
            assert float(direct.adjacency[target, source]) == pytest.approx(float(expected), abs=1e-5)
            checked += 1
    assert checked > 500 and n_ctx == 7


def test_what_is_left_out_is_counted_as_error():
    model = build("llama")
    both = [transcoder(model, 0), transcoder(model, 1)]
    local = LocalModel(model, TOKENS, both, most_features=10)
    whole = LocalModel(model, TOKENS, both)
    assert len(local.features) == 10 and local.features.n_left_out == len(whole.features) - 10
    assert local.direct().gap < 1e-5
    written = lambda one: sum(one.stack.written(one.features, mlp)[1].sum(0) for mlp in one.stack.mlps)
    assert torch.allclose(
        local.errors.sum((0, 1)) + written(local), whole.errors.sum((0, 1)) + written(whole), atol=1e-4
    )
    assert not torch.allclose(local.errors, whole.errors)


def test_what_is_said_of_a_change_is_exact_while_no_latent_switches():
    model = build("llama")
    d = model.d_model
    relu = ReLUConfig(d_in=d, d_out=d, d_sae=2 * d)
    both = [transcoder(model, 0, relu), transcoder(model, 1, relu)]
    for one in both:
        one.latents.dictionary.W_dec.data *= 10
    local = LocalModel(model, TOKENS, both)
    direct = local.direct()
    numbers, factors = torch.tensor([0, 3, 11]), torch.tensor([1.01, 0.99, 1.01])
    said = predicted(local, direct, numbers, factors)
    pushes = [push_of(local, int(n), float(f)) for n, f in zip(numbers, factors, strict=True)]
    found = measured(local, pushes, "replacement")
    found[torch.arange(3), numbers] = said[torch.arange(3), numbers]  # what is changed is no target of its own
    assert torch.allclose(said, found, atol=2e-5) and said.abs().max() > 1e-4


def test_a_random_change_is_as_long_and_in_the_same_places():
    model = build("llama")
    local = LocalModel(model, TOKENS, [cross_layer(model)])
    draws = torch.Generator().manual_seed(0)
    for number in (0, len(local.features) - 1):
        own, other = push_of(local, number, 0.0), random_push(local, number, 0.0, draws)
        assert own.vectors.keys() == other.vectors.keys() and own.position == other.position
        length = lambda push: torch.cat([*push.vectors.values()]).norm()
        assert float(length(own)) == pytest.approx(float(length(other)), rel=1e-5)


def test_taking_a_feature_away_in_the_model_is_an_edit_of_its_mlp():
    model = build("llama")
    local = LocalModel(model, TOKENS, [transcoder(model, 1)])
    number = len(local.features) - 1
    push = push_of(local, number, 0.0)
    found = measured(local, [push], "model")[0]
    vector = next(iter(push.vectors.values()))
    add = lambda x: x + torch.nn.functional.one_hot(torch.tensor(push.position), 7)[:, None] * vector
    logits = model.run(TOKENS, edits=local.frozen.edits | {"blocks.1.hook_mlp_out": add}).logits[0, -1]
    change = (logits - logits.mean())[local.outputs.tokens] - local.outputs.logits
    assert torch.allclose(found[-len(change) :], change, atol=1e-5)


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (("blocks.0.hook_resid_post", "blocks.0.hook_resid_post"), "a transcoder of MLPs"),
        (("blocks.0.hook_mlp_in", "blocks.1.hook_mlp_out"), "a transcoder of MLPs"),
        (("blocks.0.hook_mlp_in", "blocks.0.hook_attn_out"), "a transcoder of MLPs"),
    ],
)
def test_what_is_no_transcoder_of_an_mlp_is_refused(sites, message):
    model = build("llama")
    one = transcoder(model, 0)
    latents = Latents.of(one.latents.dictionary, model, Sites.at(*sites))
    with pytest.raises(UserError, match=message):
        LocalModel(model, TOKENS, [one._replace(latents=latents)])


def test_two_for_one_mlp_crooked_latents_and_other_models_are_refused():
    model = build("llama")
    one, d = transcoder(model, 0), model.d_model
    with pytest.raises(UserError, match="two transcoders"):
        LocalModel(model, TOKENS, [one, one])
    crooked = one._replace(latents=replace(one.latents, dictionary=Crooked(ReLUConfig(d_in=d, d_out=d, d_sae=2 * d))))
    with pytest.raises(UserError, match="straight line"):
        LocalModel(model, TOKENS, [crooked])
    gated = transcoder(model, 0, GatedConfig(d_in=d, d_out=d, d_sae=2 * d))
    assert LocalModel(model, TOKENS, [gated]).direct().gap < 1e-5
    other = build("deepseek_v3")
    with pytest.raises(UserError, match="cannot be held"):
        LocalModel(other, TOKENS, [transcoder(other, 0)])


def test_the_embedded_model_adds_up():
    model = load_model("embedded")
    tokens = model.tokens("def read_lines(path):\n    with open(path) as file:\n        return file.read()")
    shown = torch.ones(tokens.shape[1], dtype=torch.bool)
    local = LocalModel(model, tokens, [transcoder(model, 0, counted=shown)])
    direct = local.direct()
    assert direct.gap < 1e-4
    assert local.outputs.probabilities.sum() >= 0.95 or len(local.outputs.tokens) == 10
