"""Captures equal a hand-written forward pass at every site of every family; edits do what they say."""

import pytest
import torch
import transformers as hf

from sparselex.base.errors import UserError
from sparselex.lm.config import ModelConfig
from sparselex.lm.hookpoints import FAMILIES
from sparselex.lm.subject import SubjectModel, load_model
from tests.lm import handwritten

SMALL = {
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
SHARED_HEADS = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
CONFIGS = {
    "gpt2": hf.GPT2Config(
        vocab_size=50, n_embd=24, n_layer=2, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=1
    ),
    "gpt_neox": hf.GPTNeoXConfig(**SMALL, rotary_pct=0.7, use_parallel_residual=True),
    "gpt_neox sequential": hf.GPTNeoXConfig(**SMALL, rotary_pct=1.0, use_parallel_residual=False),
    "llama": hf.LlamaConfig(**SHARED_HEADS),
    "mistral": hf.MistralConfig(**SHARED_HEADS),
    "gemma": hf.GemmaConfig(**SHARED_HEADS),
    "gemma2": hf.Gemma2Config(
        **SHARED_HEADS, query_pre_attn_scalar=10, attn_logit_softcapping=0.5, final_logit_softcapping=2.0
    ),
    "gemma3_text": hf.Gemma3TextConfig(**SHARED_HEADS, layer_types=["sliding_attention", "full_attention"]),
    "qwen2": hf.Qwen2Config(**SMALL | {"num_key_value_heads": 2}),
    "qwen3": hf.Qwen3Config(**SHARED_HEADS),
    "opt": hf.OPTConfig(
        vocab_size=50,
        hidden_size=24,
        ffn_dim=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        word_embed_proj_dim=24,
        pad_token_id=2,
        dropout=0.0,
    ),
    "opt post-norm": hf.OPTConfig(
        vocab_size=50,
        hidden_size=24,
        ffn_dim=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        word_embed_proj_dim=24,
        do_layer_norm_before=False,
    ),
}
TOKENS = torch.randint(3, 50, (2, 9), generator=torch.Generator().manual_seed(0))


def build(name: str) -> SubjectModel:
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="eager")
    for name_, parameter in model.named_parameters():
        if parameter.ndim == 1:  # norms and biases start at one and zero, which would hide a mistake
            parameter.data += 0.3 * torch.randn_like(parameter)
        elif "embed" not in name_:
            parameter.data *= 4
    return SubjectModel(model, load_model("embedded").tokenizer, ModelConfig(name=name))


@pytest.fixture(scope="module", params=CONFIGS)
def subject(request) -> SubjectModel:
    return build(request.param)


def test_every_family_is_tested():
    assert {name.split()[0] for name in CONFIGS} == set(FAMILIES)


def test_captures_equal_a_handwritten_forward_pass(subject):
    sites, logits = handwritten.forward(subject.hf, TOKENS)
    names = [point.name for point in subject.hooks()]
    assert set(names) == set(sites)
    found = subject.capture(TOKENS, names)
    for name in names:
        torch.testing.assert_close(
            found[name], sites[name], rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}"
        )
        assert subject.width(name) == sites[name].shape[-1]
    torch.testing.assert_close(subject.logits(TOKENS), logits, rtol=1e-4, atol=1e-5)


def test_heads_are_flattened_in_order(subject):
    n_heads, d_head = subject.per_head("blocks.1.attn.hook_z")
    assert n_heads == subject.n_heads and n_heads * d_head == subject.width("blocks.1.attn.hook_z")
    cut = subject.capture(TOKENS, ["blocks.1.attn.hook_z"])["blocks.1.attn.hook_z"].clone()
    cut[..., d_head : 2 * d_head] = 0  # one head silenced by hand: the projection loses exactly its rows

    edited = subject.logits(TOKENS, edits={"blocks.1.attn.hook_z": lambda x: cut})
    weight = subject.hf.get_submodule(subject.resolve("blocks.1.attn.hook_z").path).weight
    before = weight.data.clone()
    rows = slice(d_head, 2 * d_head)
    (
        weight.data[rows]
        if type(subject.hf.get_submodule(subject.resolve("blocks.1.attn.hook_z").path)).__name__ == "Conv1D"
        else weight.data[:, rows]
    ).zero_()
    torch.testing.assert_close(subject.logits(TOKENS), edited, rtol=1e-4, atol=1e-5)
    weight.data.copy_(before)


def test_editing_with_what_was_captured_changes_nothing_and_zero_changes_something(subject):
    plain = subject.logits(TOKENS)
    for point in subject.hooks():
        value = subject.capture(TOKENS, [point.name])[point.name].clone()
        same = subject.logits(TOKENS, edits={point.name: lambda x, value=value: value})
        torch.testing.assert_close(same, plain, rtol=1e-5, atol=1e-6, msg=lambda m, n=point.name: f"{n}: {m}")
        zero = subject.logits(TOKENS, edits={point.name: torch.zeros_like})
        assert (zero - plain).abs().max() > 1e-7, point.name
    torch.testing.assert_close(subject.logits(TOKENS), plain)  # nothing stays behind


def test_an_edit_of_the_stream_is_seen_by_everything_after_it(subject):
    if not any(point.name.endswith("resid_mid") for point in subject.hooks()):
        pytest.skip("a parallel block has no value between attention and MLP")
    new = torch.randn(2, 9, subject.d_model, generator=torch.Generator().manual_seed(1))
    mid, mlp, post = ("blocks.0.hook_resid_mid", "blocks.0.hook_mlp_out", "blocks.0.hook_resid_post")
    seen = {}
    subject.logits(
        TOKENS,
        edits={
            mid: lambda x: new,
            mlp: lambda x: seen.setdefault("mlp", x.clone()),
            post: lambda x: seen.setdefault("post", x.clone()),
        },
    )
    if subject.hf.config.model_type != "opt" or subject.hf.config.do_layer_norm_before:
        torch.testing.assert_close(seen["post"], new + seen["mlp"], rtol=1e-5, atol=1e-5)


def test_the_forward_pass_stops_after_the_deepest_hook():
    subject, calls = build("llama"), []
    for number, layer in enumerate(subject.hf.model.layers):
        layer.register_forward_hook(lambda *_, number=number: calls.append(number))
    subject.hf.lm_head.register_forward_hook(lambda *_: calls.append("head"))
    subject.width("module:model.layers.0.mlp")
    calls.clear()
    subject.capture(TOKENS, ["blocks.0.hook_mlp_out", "blocks.0.attn.hook_q"])
    assert calls == []
    subject.capture(TOKENS, ["blocks.0.hook_resid_post"])
    assert calls == [0] or calls == []


def test_any_module_can_be_captured():
    subject = build("llama")
    found = subject.capture(TOKENS, ["module:model.layers.0.mlp.gate_proj", "blocks.0.hook_mlp_in"])
    gate = subject.hf.model.layers[0].mlp.gate_proj
    torch.testing.assert_close(found["module:model.layers.0.mlp.gate_proj"], gate(found["blocks.0.hook_mlp_in"]))


@pytest.mark.parametrize(
    ("family", "hook", "words"),
    [
        ("llama", "blocks.0.hook_mpl_out", "did you mean blocks.0.hook_mlp_out"),
        ("llama", "blocks.7.hook_mlp_out", "Unknown hook"),
        ("llama", "module:model.layers.0.mpl", "has no module"),
        ("gpt_neox", "blocks.0.hook_resid_mid", "run in parallel"),
    ],
)
def test_unknown_hooks_teach(family, hook, words):
    with pytest.raises(UserError, match=words):
        build(family).capture(TOKENS, [hook])


def test_an_unknown_family_still_has_its_modules():
    config = hf.BloomConfig(vocab_size=50, hidden_size=24, n_layer=1, n_head=4)
    subject = SubjectModel(hf.BloomForCausalLM(config), load_model("embedded").tokenizer, ModelConfig(name="bloom"))
    assert subject.hooks() == []
    assert subject.capture(TOKENS, ["module:transformer.h.0.mlp"])["module:transformer.h.0.mlp"].shape == (2, 9, 24)
    with pytest.raises(UserError, match="module:<dotted path>"):
        subject.width("blocks.0.hook_mlp_out")


def test_token_ids_of_another_vocabulary():
    with pytest.raises(UserError, match="ids from 0 to 49"):
        build("llama").logits(TOKENS + 40)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma", "gpt_neox sequential"])
def test_the_readout_is_the_direct_path(family):
    """Adding a small multiple of a direction at the last site moves the logits along its readout."""
    subject = build(family)
    readout = subject.readout("blocks.1.mlp.hook_post")
    direction = torch.randn(1, subject.width("blocks.1.mlp.hook_post"), generator=torch.Generator().manual_seed(2))
    plain = subject.logits(TOKENS)[:, -1].double()
    eps = 1e-2
    moved = subject.logits(TOKENS, edits={"blocks.1.mlp.hook_post": lambda x: x + eps * direction})[:, -1].double()
    change, expected = (moved - plain) / eps, readout.logits(direction).double()
    # Up to the norm's scale, and to the part along the stream itself that the norm takes out again.
    stream = (
        readout.unembed.double().T
        @ subject.capture(TOKENS, ["blocks.1.hook_resid_post"])["blocks.1.hook_resid_post"][0, -1].double()
    )
    basis = torch.stack([expected[0], stream], dim=1)
    residual = change[0] - basis @ torch.linalg.lstsq(basis, change[0]).solution
    assert residual.norm() < 0.02 * change[0].norm()


@pytest.mark.parametrize("control", ["reinitialised", "permuted", "gaussian"])
def test_twins(control):
    plain, twin = load_model("embedded"), load_model(ModelConfig(name="embedded", control=control))
    again = load_model(ModelConfig(name="embedded", control=control))
    other = load_model(ModelConfig(name="embedded", control=control, control_seed=1))
    assert twin.id == again.id and len({plain.id, twin.id, other.id}) == 3
    name = "gpt_neox.layers.0.mlp.dense_h_to_4h.weight"
    a, b = plain.hf.state_dict()[name], twin.hf.state_dict()[name]
    if control == "permuted":
        assert torch.equal(a.flatten().sort().values, b.flatten().sort().values)
    if control == "gaussian":
        assert abs(a.mean() - b.mean()) < 5e-3 * a.std() * 10 and abs(a.std() / b.std() - 1) < 0.02
    if control == "reinitialised":
        assert abs(b.std() - 0.02) < 1e-3  # the architecture's own rule, not ours


def test_models_that_cannot_be_loaded(tmp_path):
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(str(tmp_path))
    hf.LlamaForCausalLM(CONFIGS["llama"]).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(str(tmp_path))


def test_remote_code_does_not_run_unless_asked_for(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"model_type": "own", "auto_map": {"AutoConfig": "evil.Own", "AutoModelForCausalLM": "evil.Own"}}'
    )
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Own: pass\n")
    with pytest.raises(UserError, match="trust-remote-code"):
        load_model(str(tmp_path))
    assert not (tmp_path / "ran").exists()
