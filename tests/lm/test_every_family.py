"""What holds for every family: where its sites lie, what they add up to, that they are passed, and what they do to the
logits."""

import re
from pathlib import Path

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.lm.families import FAMILIES, READ_ONLY
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.norms import linear
from tests.lm.small_models import CONFIGS, TOKENS, build


@pytest.fixture(scope="module", params=CONFIGS)
def subject(request) -> TransformersModel:
    return build(request.param)


def test_every_family_is_tested():
    assert {config.model_type for config in CONFIGS.values()} == set(FAMILIES.names())


def test_every_family_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    assert set(re.findall(r"`(\w+)`", page.split("## Architectures")[1])) >= set(FAMILIES.names())
    assert f"({len(CONFIGS)} in all)" in page


def sites_of(subject, layer):
    return [point.name.site for point in subject.hooks() if point.name.layer == layer]


def test_the_stream_is_that_of_the_library(subject):
    """Whatever hidden states the library hands out: before each block, and behind the last one's norm."""
    out = subject.hf(input_ids=TOKENS, output_hidden_states=True, use_cache=False)
    if subject._family.layers == "backbone.layers":  # of recurrences, behind each block
        seen = subject.read(TOKENS, ["blocks.0.hook_resid_post", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"])
        for values, expected in zip(seen.values(), (0, 0, 1), strict=True):
            torch.testing.assert_close(values, out.hidden_states[expected])
        return
    found = subject.read(TOKENS, [f"blocks.{layer}.hook_resid_pre" for layer in range(subject.n_layers)])
    for layer, values in enumerate(found.values()):
        torch.testing.assert_close(values, out.hidden_states[layer], rtol=1e-5, atol=1e-5)
    end = f"blocks.{subject.n_layers - 1}.hook_resid_post"
    seen = subject.read(TOKENS, ["blocks.0.hook_resid_post", end])
    torch.testing.assert_close(seen["blocks.0.hook_resid_post"], out.hidden_states[1], rtol=1e-5, atol=1e-5)
    last = seen[end]
    if subject._family.final_norm:
        last = subject.hf.get_submodule(subject._family.final_norm)(last)
    if subject.name == "opt-350m":
        last = subject.hf.model.decoder.project_out(last)
    torch.testing.assert_close(last, out.hidden_states[-1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(subject.run(TOKENS).logits, out.logits)


def test_logits_follow_from_what_the_unembedding_reads(subject):
    """Scaled and capped ones too, with an edit and without: nobody needs those of a whole batch."""
    assert subject.passes.behind is not None, "known of every family here"
    halved = {"blocks.1.hook_resid_pre": lambda x: x / 2}
    for edits in (None, halved):
        last = subject.last(TOKENS, edits)
        expected = subject.run(TOKENS, edits=edits).logits
        torch.testing.assert_close(subject.predict(last.flatten(0, 1)).view_as(expected), expected)


def third_part(subject, layer):
    """What the small ones of Gemma 4 add of the token's own embedding, where there is such a thing."""
    path = f"{subject._family.layers}.{layer}.post_per_layer_input_norm"
    return [f"module:{path}"] if path in dict(subject.hf.named_modules()) else []


def test_what_a_block_adds_is_what_attention_and_mlp_give(subject):
    for layer in range(subject.n_layers):
        sites, third = sites_of(subject, layer), third_part(subject, layer)
        read = subject.read(TOKENS, [f"blocks.{layer}.{site}" for site in sites] + third)
        value = lambda site, layer=layer, read=read: read[f"blocks.{layer}.{site}"]
        if subject.name in ("opt post-norm", "opt-350m") or "hook_attn_out" not in sites:
            continue  # what is added is normed with the stream; a recurrence is all there is
        between = value("hook_resid_pre") + value("hook_attn_out")
        if "hook_resid_mid" in sites:
            torch.testing.assert_close(value("hook_resid_mid"), between, rtol=1e-4, atol=1e-4)
        scale = float(getattr(subject.hf.get_submodule(f"{subject._family.layers}.{layer}"), "layer_scalar", 1.0))
        expected = (between + value("hook_mlp_out") + sum(read[hook] for hook in third)) * scale
        torch.testing.assert_close(value("hook_resid_post"), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_every_hook_is_passed_and_edits_there_are_felt(subject):
    """Put back what was there, and nothing moves; put zeros there, and something does."""
    plain, hooks = subject.run(TOKENS).logits, [point.name for point in subject.hooks()]
    values = subject.read(TOKENS, hooks)
    assert set(values) == set(hooks)
    for hook in hooks:
        assert values[hook].shape == (*TOKENS.shape, subject.width(hook))
        if hook.site in READ_ONLY:
            with pytest.raises(UserError, match="can be read and not edited"):
                subject.run(TOKENS, edits={hook: torch.zeros_like})
            continue
        same = subject.run(TOKENS, edits={hook: lambda x, hook=hook: values[hook].clone()}).logits
        torch.testing.assert_close(same, plain, rtol=1e-5, atol=1e-5, msg=lambda m, hook=hook: f"{hook}: {m}")
        moved = subject.run(TOKENS, edits={hook: lambda x: 0.5 * x.flip(1)}).logits
        assert (moved - plain).abs().max() > 1e-6, hook


@pytest.mark.slow
def test_values_are_passed_on_with_their_gradients(subject):
    hooks = [point.name for point in subject.hooks() if point.name.site not in READ_ONLY]
    passed = subject.run(TOKENS, read=hooks, grad=True)
    torch.testing.assert_close(passed.logits, subject.run(TOKENS).logits)
    found = torch.autograd.grad(passed.logits.square().sum(), [passed.values[hook] for hook in hooks])
    assert all(bool(gradient.abs().max() > 0) for gradient in found)


@pytest.mark.slow
def test_heads_are_as_many_as_are_there(subject):
    config = subject.hf.config.get_text_config()
    for point in subject.hooks():
        if point.name.site.startswith("attn.hook_"):
            n_heads, d_head = subject.per_head(point.name)
            assert n_heads * d_head == point.width
            assert n_heads == config.num_attention_heads or point.name.site in ("attn.hook_k", "attn.hook_v")
            one = subject.read(TOKENS, [f"{point.name}:{n_heads - 1}", point.name])
            assert torch.equal(one[f"{point.name}:{n_heads - 1}"], one[point.name][..., -d_head:])


def test_queries_keys_and_values_are_what_attention_is_given(subject):
    """The values of one head leave attention at the first token, where it sees nothing else."""
    for point in subject.hooks():
        if point.name.site != "attn.hook_v" or subject.name in UNLIKE:
            continue
        (n_v, _), layer = subject.per_head(point.name), point.name.layer
        n_z, _ = subject.per_head(f"blocks.{layer}.attn.hook_z")
        read = subject.read(TOKENS, [point.name, f"blocks.{layer}.attn.hook_z"])
        values = read[point.name][:, 0].unflatten(-1, (n_v, -1)).repeat_interleave(n_z // n_v, dim=1).flatten(1)
        torch.testing.assert_close(read[f"blocks.{layer}.attn.hook_z"][:, 0], values, rtol=1e-4, atol=1e-5)


UNLIKE = {
    "bitnet": "norms what leaves attention",
    "gemma4_text": "norms values",
    "gemma4_text experts": "norms values",
    "gemma4_text small": "norms values",
    "gemma4": "norms values",
    "gpt_oss": "has sinks, to which the first token gives some of its attention",
    "qwen3_next": "gates what leaves attention",
    "qwen3_5_text": "gates what leaves attention",
    "qwen3_5_moe_text": "gates what leaves attention",
}
"""Families of which it need not hold, and why."""


OF_ATTENTION = ["attn.hook_z", "hook_attn_out"]
WRITERS = [*OF_ATTENTION, "mlp.hook_post", "hook_mlp_out", "hook_resid_post"]


@pytest.mark.slow
def test_the_readout_is_the_direct_path(subject):
    """What a small step at the last block's sites does to the logits, the block's other output held where it was.

    Each norm on the way divides by its own scale, which the readout leaves out, and takes out the part along what
    passes it: both are put back here from the values themselves, so that the figures must be equal and not only alike.
    """
    if not subject._family.final_norm:
        with pytest.raises(UserError, match="normalise the stream"):
            subject.readout("blocks.1.hook_resid_post")
        return
    subject = build(subject.name)
    subject.hf.double()
    for site in WRITERS:
        if site in sites_of(subject, subject.n_layers - 1):
            check_readout(subject, site)


def check_readout(subject, site):
    block = f"blocks.{subject.n_layers - 1}"
    hook, mlp, post = f"{block}.{site}", f"{block}.hook_mlp_out", f"{block}.hook_resid_post"
    own = f"{block}.hook_attn_out" if site in OF_ATTENTION else post if site == "hook_resid_post" else mlp
    held = [mlp] if site in OF_ATTENTION else []
    held += third_part(subject, subject.n_layers - 1) if site != "hook_resid_post" else []
    readout, norm = subject.readout(hook), linear(subject.hf.get_submodule(subject._family.final_norm), subject.d_model)
    direction = torch.randn(1, subject.width(hook), generator=torch.Generator().manual_seed(2))
    plain = subject.run(TOKENS, read=[hook, own, post, *held]).values
    # RMS norms of these models compute in float32 whatever the model's precision: long steps, to both sides.
    eps = 0.01 * float(plain[hook].std())

    def logits(step: float) -> torch.Tensor:
        edits = {site: lambda x, site=site: plain[site] for site in held} | {hook: lambda x: x + step * direction}
        moved = subject.run(TOKENS, edits=edits).logits[0, -1]
        cap = getattr(subject.hf.config.get_text_config(), "final_logit_softcapping", None)
        return cap * torch.atanh(moved / cap) if cap else moved

    change = ((logits(eps) - logits(-eps)) / (2 * eps)).double()
    expected, stream = readout.logits(direction)[0].double(), plain[post][0, -1].double()
    along = [vector @ readout.unembed.double() for vector in (stream, plain[own][0, -1].double())]
    fit = torch.linalg.lstsq(torch.stack([expected, *along], dim=1), change, driver="gelsd").solution
    assert (change - torch.stack([expected, *along], dim=1) @ fit).norm() < 0.01 * change.norm(), site
    scale = (stream - stream.mean() if norm.centres else stream).square().mean().sqrt()
    if subject._family.sites[site].through:
        inner = subject.read(TOKENS, [f"module:{subject.resolve(hook).path}"])
        scale = scale * next(iter(inner.values()))[0, -1].square().mean().sqrt()
    assert float(fit[0] * scale) == pytest.approx(1, rel=0.01), site
