"""Captures equal a hand-written forward pass at every site of every family; edits do what they say."""

import os

import pytest
import torch
import transformers as hf

from sparselex.base.errors import UserError
from sparselex.lm.config import ModelConfig
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.load import load_model
from sparselex.lm.subject import SubjectModel
from tests.lm import handwritten
from tests.lm.small_models import HANDWRITTEN, TOKENS, build, mpt
from tests.support.plugin import install


@pytest.fixture(scope="module", params=HANDWRITTEN)
def subject(request) -> TransformersModel:
    return build(request.param)


def test_captures_equal_a_handwritten_forward_pass(subject):
    sites, logits = handwritten.forward(subject.hf, TOKENS)
    names = [point.name for point in subject.hooks()]
    assert isinstance(subject, SubjectModel)
    assert set(names) == set(sites)
    found = subject.read(TOKENS, names)
    for name in names:
        torch.testing.assert_close(
            found[name], sites[name], rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}"
        )
        assert subject.width(name) == sites[name].shape[-1]
    torch.testing.assert_close(subject.run(TOKENS).logits, logits, rtol=1e-4, atol=1e-5)


def test_heads_are_flattened_in_order(subject):
    n_heads, d_head = subject.per_head("blocks.1.attn.hook_z")
    assert n_heads == subject.hf.config.num_attention_heads and n_heads * d_head == subject.width(
        "blocks.1.attn.hook_z"
    )
    cut = subject.read(TOKENS, ["blocks.1.attn.hook_z"])["blocks.1.attn.hook_z"].clone()
    cut[..., d_head : 2 * d_head] = 0  # one head silenced by hand: the projection loses exactly its rows

    edited = subject.run(TOKENS, edits={"blocks.1.attn.hook_z": lambda x: cut}).logits
    weight = subject.hf.get_submodule(subject.resolve("blocks.1.attn.hook_z").path).weight
    before = weight.data.clone()
    rows = slice(d_head, 2 * d_head)
    transposed = subject.hf.config.model_type == "gpt2"  # its Conv1D
    (weight.data[rows] if transposed else weight.data[:, rows]).zero_()
    torch.testing.assert_close(subject.run(TOKENS).logits, edited, rtol=1e-4, atol=1e-5)
    weight.data.copy_(before)


@pytest.mark.slow
def test_editing_with_what_was_captured_changes_nothing_and_zero_changes_something(subject):
    plain = subject.run(TOKENS).logits
    for point in subject.hooks():
        value = subject.read(TOKENS, [point.name])[point.name].clone()
        same = subject.run(TOKENS, edits={point.name: lambda x, value=value: value}).logits
        torch.testing.assert_close(same, plain, rtol=1e-5, atol=1e-6, msg=lambda m, n=point.name: f"{n}: {m}")
        zero = subject.run(TOKENS, edits={point.name: torch.zeros_like}).logits
        assert (zero - plain).abs().max() > 1e-7, point.name
    torch.testing.assert_close(subject.run(TOKENS).logits, plain)  # nothing stays behind


def test_an_edit_of_the_stream_is_seen_by_everything_after_it(subject):
    if not any(point.name.endswith("resid_mid") for point in subject.hooks()):
        pytest.skip("a parallel block has no value between attention and MLP")
    new = torch.randn(2, 9, subject.d_model, generator=torch.Generator().manual_seed(1))
    mid, mlp, post = ("blocks.0.hook_resid_mid", "blocks.0.hook_mlp_out", "blocks.0.hook_resid_post")
    seen = subject.run(TOKENS, edits={mid: lambda x: new}, read=[mid, mlp, post], logits=False).values
    assert torch.equal(seen[mid], new), "what is read where it was edited is what the edit left"
    if subject.hf.config.model_type != "opt" or subject.hf.config.do_layer_norm_before:
        torch.testing.assert_close(seen[post], new + seen[mlp], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("site", ["attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z"])
def test_one_head_is_read_and_edited_alone(subject, site):
    whole, head = f"blocks.1.{site}", f"blocks.1.{site}:1"
    n_heads, d_head = subject.per_head(whole)
    values = subject.read(TOKENS, [whole, head])
    own = slice(d_head, 2 * d_head)
    assert subject.width(head) == d_head and torch.equal(values[head], values[whole][..., own])
    turned = values[whole].clone()
    turned[..., own] *= -2
    found = subject.run(TOKENS, edits={head: lambda x: -2 * x}, read=[whole])
    assert torch.equal(found.values[whole], turned), "the other heads stay"
    expected = subject.run(TOKENS, edits={whole: lambda x: turned}).logits
    torch.testing.assert_close(found.logits, expected)
    assert (found.logits - subject.run(TOKENS).logits).abs().max() > 1e-7
    with pytest.raises(UserError, match=f"has {n_heads} heads and none of number {n_heads}"):
        subject.read(TOKENS, [f"{whole}:{n_heads}"])
    if site == "attn.hook_z":
        matrix = subject.writes(head).matrix
        assert torch.equal(matrix, subject.writes(whole).matrix[own])


def test_a_site_without_heads_has_none():
    with pytest.raises(UserError, match="not divided into heads"):
        build("llama").width("blocks.0.hook_mlp_out:1")


@pytest.mark.slow
def test_gradients_equal_finite_differences_at_every_site(subject):
    """With everything read in one pass: the gradient at a site is what moving its value does downstream.

    In float64, but for softmax and RMS norms, which these models compute in float32: hence long steps, four of them so
    that curvature cancels.
    """
    model = build(subject.name)
    model.hf.double()
    generator = torch.Generator().manual_seed(3)
    off = 0.1 if model.hf.config.model_type == "opt" else 0.02  # a step crosses kinks of its ReLUs
    weights = torch.randn(2, 9, 50, generator=generator, dtype=torch.float64)
    hooks = [point.name for point in model.hooks()] + ["blocks.0.attn.hook_k:1", "blocks.0.attn.hook_q:0"]
    passed = model.run(TOKENS, read=hooks, grad=True)
    torch.testing.assert_close(passed.logits, model.run(TOKENS).logits)
    gradients = torch.autograd.grad((passed.logits * weights).sum(), [passed.values[hook] for hook in hooks])
    for hook, gradient in zip(hooks, gradients, strict=True):
        size = 3e-3 * passed.values[hook].detach().std()
        step = size * torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        moved = [model.run(TOKENS, edits={hook: lambda x, by=n * step: x + by}).logits for n in (-2, -1, 1, 2)]
        slope = ((moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) * weights).sum() / 12
        typical = float(gradient.norm() * step.norm()) / gradient.numel() ** 0.5
        assert float((gradient * step).sum()) == pytest.approx(float(slope), rel=off, abs=off * typical + 5e-8), hook


def test_gradients_flow_through_edits(subject):
    """Of later values and of logits, to what an edit brings in; nothing is kept where nobody asked for it."""
    hook, later = "blocks.0.hook_mlp_out", "blocks.1.hook_resid_post"
    scale = torch.ones((), requires_grad=True)
    edits = {hook: lambda x: x * scale}
    passed = subject.run(TOKENS, edits=edits, read=[later], grad=True)
    slopes = [torch.autograd.grad(v.sum(), scale, retain_graph=True)[0] for v in (passed.values[later], passed.logits)]
    assert all(float(slope) != 0 for slope in slopes)
    plain = subject.run(TOKENS, edits=edits, read=[later])
    assert not plain.logits.requires_grad and not plain.values[later].requires_grad
    torch.testing.assert_close(plain.values[later], passed.values[later].detach())


def test_later_values_under_an_edit_come_without_logits(subject):
    hook, later = "blocks.0.hook_attn_out", "blocks.1.mlp.hook_post"
    edited = subject.run(TOKENS, edits={hook: torch.zeros_like}, read=[hook, later], logits=False)
    assert edited.predicted is None and not edited.values[hook].any()
    plain = subject.read(TOKENS, [later])
    assert (edited.values[later] - plain[later]).abs().max() > 1e-6
    assert subject.run(TOKENS, logits=False).values == {}


def test_a_module_that_no_pass_reaches_is_named():
    subject = build("llama")
    subject.hf.model.unused = torch.nn.Linear(2, 2)
    for asked in ({"read": ["module:model.unused"]}, {"edits": {"module:model.unused": torch.zeros_like}}):
        with pytest.raises(UserError, match=r"never reaches module:model\.unused"):
            subject.run(TOKENS, **asked)


def test_a_family_of_another_package(tmp_path, monkeypatch):
    """One row, by its entry point: its hooks are known by name, read and edited."""
    table = """from sparselex.lm.families import Family, Site

MPT = Family("transformer.blocks", "transformer.norm_f", {
    "hook_resid_pre": Site("", "input"),
    "hook_resid_post": Site("", "output"),
    "mlp.hook_post": Site("ffn.down_proj", "input"),
})
"""
    install(tmp_path, "mpt-hooks", table, {"sparselex.family": {"mpt": "mpt_hooks:MPT"}})
    monkeypatch.syspath_prepend(str(tmp_path))
    subject = mpt(n_layers=2)
    assert [point.width for point in subject.hooks()] == [24, 96, 24] * 2
    hook = "blocks.0.mlp.hook_post"
    found = subject.read(TOKENS, [hook, "blocks.1.hook_resid_post"])
    inner = subject.read(TOKENS, ["module:transformer.blocks.0.ffn.act"])["module:transformer.blocks.0.ffn.act"]
    assert torch.equal(found[hook], inner) and subject.readout(hook).unembed.shape == (24, 50)
    edited = subject.run(TOKENS, edits={hook: torch.zeros_like}, read=["blocks.1.hook_resid_post"])
    assert not torch.equal(edited.values["blocks.1.hook_resid_post"], found["blocks.1.hook_resid_post"])


def test_the_forward_pass_stops_after_the_deepest_hook():
    subject, calls = build("llama"), []
    for number, layer in enumerate(subject.hf.model.layers):
        layer.register_forward_hook(lambda *_, number=number: calls.append(number))
    subject.hf.lm_head.register_forward_hook(lambda *_: calls.append("head"))
    subject.width("module:model.layers.0.mlp")
    calls.clear()
    subject.read(TOKENS, ["blocks.0.hook_mlp_out", "blocks.0.attn.hook_q"])
    assert calls == []
    subject.run(
        TOKENS, edits={"blocks.0.hook_mlp_out": torch.zeros_like}, read=["blocks.0.hook_attn_out"], logits=False
    )
    assert calls == [], "an edit further down does not lengthen the pass"
    subject.read(TOKENS, ["blocks.0.hook_resid_post"])
    assert calls == [0] or calls == []


def test_any_module_can_be_captured():
    subject = build("llama")
    found = subject.read(TOKENS, ["module:model.layers.0.mlp.gate_proj", "blocks.0.hook_mlp_in"])
    gate = subject.hf.model.layers[0].mlp.gate_proj
    torch.testing.assert_close(found["module:model.layers.0.mlp.gate_proj"], gate(found["blocks.0.hook_mlp_in"]))


@pytest.mark.parametrize(
    ("family", "hook", "words"),
    [
        ("llama", "blocks.0.hook_mpl_out", "did you mean blocks.0.hook_mlp_out"),
        ("llama", "blocks.7.hook_mlp_out", "Unknown hook"),
        ("llama", "module:model.layers.0.mpl", "has no module"),
        ("gpt_neox", "blocks.0.hook_resid_mid", "run in parallel"),
        ("cohere", "blocks.0.hook_resid_mid", "run in parallel"),
        ("qwen3_next", "blocks.0.attn.hook_z", "block 0 of 'qwen3_next' has no such value"),
        ("mixtral", "blocks.0.mlp.hook_post", "has no such value"),
        ("mamba", "blocks.0.hook_attn_out", "one of its own: hook_resid_pre, hook_resid_post"),
        ("llama", "module:model.rotary_emb", "returns|has the shape"),
        ("llama", "module:model", "returns BaseModelOutputWithPast, and no tensor"),
        ("mamba", "module:backbone.layers.0.mixer.conv1d", "never reaches"),
    ],
)
def test_unknown_hooks_teach(family, hook, words):
    with pytest.raises(UserError, match=words):
        build(family).read(TOKENS, [hook])


def test_an_unknown_family_still_has_its_modules():
    subject = mpt(n_layers=1)
    assert subject.hooks() == []
    hook = "module:transformer.blocks.0.ffn"
    assert subject.read(TOKENS, [hook])[hook].shape == (2, 9, 24)
    with pytest.raises(UserError, match="module:<dotted path>"):
        subject.width("blocks.0.hook_mlp_out")


def test_token_ids_of_another_vocabulary():
    with pytest.raises(UserError, match="ids from 0 to 49"):
        build("llama").run(TOKENS + 40)


@pytest.mark.parametrize("kind", ["reinitialised", "permuted", "gaussian", "gaussian_kept"])
def test_twins(kind):
    plain, twin = load_model("embedded"), load_model(ModelConfig(name="embedded", twin=kind))
    again = load_model(ModelConfig(name="embedded", twin=kind))
    other = load_model(ModelConfig(name="embedded", twin=kind, twin_seed=1))
    assert twin.id == again.id and len({plain.id, twin.id, other.id}) == 3
    name = "gpt_neox.layers.0.mlp.dense_h_to_4h.weight"
    a, b = plain.hf.state_dict()[name], twin.hf.state_dict()[name]
    if kind == "permuted":
        assert torch.equal(a.flatten().sort().values, b.flatten().sort().values)
    embedding = "gpt_neox.embed_in.weight"
    kept = torch.equal(plain.hf.state_dict()[embedding], twin.hf.state_dict()[embedding])
    assert kept == (kind == "gaussian_kept")
    if kind.startswith("gaussian"):
        assert abs(a.mean() - b.mean()) < 5e-3 * a.std() * 10 and abs(a.std() / b.std() - 1) < 0.02
    if kind == "reinitialised":
        assert abs(b.std() - 0.02) < 1e-3  # the architecture's own rule, not ours


def redrawn(**more):
    return load_model(ModelConfig(name="embedded", twin="redrawn", **more))


def test_what_stands_for_a_token_is_drawn_anew_wherever_it_stands():
    """As learned embeddings are spread; the same in every pass over a row; by what was read up to there."""
    plain, twin = load_model("embedded"), redrawn()
    assert twin.id == redrawn().id and len({plain.id, twin.id, redrawn(twin_seed=1).id}) == 3
    weights, learned = twin.hf.state_dict(), plain.hf.state_dict()
    assert all(torch.equal(weights[name], learned[name]) for name in learned)
    table = plain.hf.get_input_embeddings().weight
    rows = torch.randint(0, 50, (64, 64), generator=torch.Generator().manual_seed(0))
    noise = twin.hf.get_input_embeddings()(rows)
    n = noise.numel()
    assert abs(float(noise.mean() - table.mean())) < 5 * float(table.std()) / n**0.5
    assert float(noise.std() / table.std()) == pytest.approx(1, abs=5 / (2 * n) ** 0.5)
    standard = (noise - noise.mean()) / noise.std()
    assert float((standard**4).mean()) == pytest.approx(3, abs=0.02)
    of_one = standard[:, 3:][rows[:, 3:] == 7]  # of rows that begin otherwise
    off = ~torch.eye(len(of_one), dtype=torch.bool)
    cosines = torch.nn.functional.cosine_similarity(of_one[:, None], of_one[None], dim=-1)[off]
    assert len(of_one) > 50 and float(cosines.abs().max()) < 6 / noise.shape[-1] ** 0.5
    assert abs(float(cosines.mean())) < 0.005
    longer = torch.cat([rows, rows.flip(1)], dim=1)
    assert torch.equal(twin.hf.get_input_embeddings()(longer)[:, :64], noise)
    changed = rows.clone()
    changed[:, 10] += 1
    again = twin.hf.get_input_embeddings()(changed)
    assert torch.equal(again[:, :10], noise[:, :10]) and not (again[:, 10:] == noise[:, 10:]).all(-1).any()
    turned = rows.clone()
    turned[:, [3, 4]] = rows[:, [4, 3]]
    differs = rows[:, 3] != rows[:, 4]
    assert not torch.equal(twin.hf.get_input_embeddings()(turned)[differs, 5:], noise[differs, 5:])


def test_passes_that_begin_in_the_middle_read_the_same_noise():
    twin, hook = redrawn(), "blocks.0.hook_resid_mid"
    rows = torch.randint(0, 500, (3, 12), generator=torch.Generator().manual_seed(0))
    edit = lambda x: torch.cat([x[:, :5], x[:, 5:].flip(-1)], dim=1)
    whole = twin.last(rows, {hook: edit})
    kept = twin.keep(rows, hook).of(torch.arange(3), 5)
    torch.testing.assert_close(twin.last(kept, {hook: lambda x: x.flip(-1)}), whole[:, 5:], rtol=1e-4, atol=1e-4)
    first = twin.extend(rows[:, :6])
    second = rows if first.past is None else rows[:, 6:]
    found = twin.extend(second, first.past).last[:, -6:]
    torch.testing.assert_close(found, twin.last(rows)[:, 6:], rtol=1e-4, atol=1e-4)


def test_models_that_cannot_be_loaded(tmp_path):
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(str(tmp_path))
    hf.LlamaForCausalLM(HANDWRITTEN["llama"]).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(str(tmp_path))


def test_a_model_with_a_pipe_among_its_files(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(UserError, match="no regular file"):
        load_model(str(tmp_path))


def test_remote_code_does_not_run_unless_asked_for(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"model_type": "own", "auto_map": {"AutoConfig": "evil.Own", "AutoModelForCausalLM": "evil.Own"}}'
    )
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Own: pass\n")
    with pytest.raises(UserError, match="trust-remote-code"):
        load_model(str(tmp_path))
    assert not (tmp_path / "ran").exists()
