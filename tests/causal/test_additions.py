"""Thousands of versions at a time equal each of them run by itself; changes of predictions equal those by logarithms in
float64."""

import pytest
import torch
import transformers as hf

from sparselex.base.sites import Hook
from sparselex.causal.additions import Additions, can_be_apart, followed
from sparselex.causal.edits import add, bound
from sparselex.causal.predictions import changes
from sparselex.causal.where import at
from sparselex.lm.load import load_model
from tests.support.subjects import saved

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
LLAMA = hf.LlamaConfig(vocab_size=4096, num_key_value_heads=2, **SMALL)
GPT2 = hf.GPT2Config(vocab_size=4096, n_embd=32, n_layer=3, n_head=4, n_positions=64)
MAMBA = hf.MambaConfig(vocab_size=4096, hidden_size=32, num_hidden_layers=2, state_size=4)
SLIDING = hf.MistralConfig(vocab_size=4096, num_key_value_heads=2, sliding_window=4, **SMALL)

CASES = [
    (LLAMA, ("blocks.1.hook_resid_post",), False),
    (LLAMA, ("blocks.2.mlp.hook_post",), True),
    (LLAMA, ("blocks.2.hook_resid_pre",), False),
    (LLAMA, ("blocks.1.hook_mlp_out", "blocks.2.hook_mlp_out"), False),
    (LLAMA, ("blocks.1.attn.hook_z:2",), False),
    (SLIDING, ("blocks.0.hook_resid_post",), False),
    (GPT2, ("blocks.0.hook_resid_post",), False),
    (GPT2, ("blocks.2.mlp.hook_post",), True),
    (MAMBA, ("blocks.0.hook_resid_post",), False),
]


@pytest.mark.parametrize(
    ("config", "hooks", "apart"), CASES, ids=[f"{c.model_type} {'+'.join(h)}" for c, h, _ in CASES]
)
def test_versions_equal_whole_passes(tmp_path, config, hooks, apart):
    model, hooks = load_model(saved(tmp_path / "model", config)), tuple(map(Hook, hooks))
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 4096, (3, 20), generator=rng)
    kept = model.keep(tokens, hooks[0])
    assert can_be_apart(model, kept, hooks) is apart
    rows, positions = (torch.randint(0, n, (40,), generator=rng) for n in (3, 20))
    vectors = {hook: torch.randn(40, model.width(hook), generator=rng) for hook in hooks}
    n_after, found = (0 if apart else 5), {}
    for numbers, last in followed(model, kept, Additions(rows, positions, vectors), n_after, apart=apart):
        assert last.shape[1] == n_after + 1
        found |= dict(zip(numbers.tolist(), last, strict=True))
    assert sorted(found) == list(range(40))
    for number, last in found.items():
        place = int(positions[number])
        edits = sum((add(hook, vectors[hook][number], where=at(place)) for hook in hooks), start=())
        whole = model.last(tokens[rows[number], None], bound(edits))[0, place : place + n_after + 1]
        torch.testing.assert_close(last[: len(whole)], whole, atol=2e-5, rtol=1e-4)
        assert not last[len(whole) :].any()


def test_a_place_of_the_block_of_learned_positions_is_not_taken_apart(tmp_path):
    """The first block reads embeddings of positions, which a row of one token would have wrong; whatever is behind."""
    model = load_model(saved(tmp_path / "model", hf.GPT2Config(vocab_size=4096, n_embd=32, n_layer=1, n_head=4)))
    hook = Hook("blocks.0.mlp.hook_post")
    tokens = torch.arange(1, 21)[None]
    assert not can_be_apart(model, model.keep(tokens, hook), (hook,))
    assert not can_be_apart(model, model.keep(tokens[:, :2], hook), (hook,))  # too short to tell


@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0, 3000.0])
def test_changes_are_those_by_logarithms(size):
    model = load_model("embedded")
    rng = torch.Generator().manual_seed(1)
    reference = torch.randn(6, 128, generator=rng)
    versions = reference[:, None] + size * torch.randn(6, 3, 128, generator=rng)
    targets = torch.randint(0, 4096, (6,), generator=rng)
    found = changes(model, reference, versions, targets, 4)
    head = model.hf.get_output_embeddings().weight.detach().double()
    p = (reference.double() @ head.T).log_softmax(-1)[:, None]
    q = (versions.double() @ head.T).log_softmax(-1)
    divergence, at_target = (p.exp() * (p - q)).sum(-1), targets[:, None, None].expand(-1, 3, 1)
    torch.testing.assert_close(found.divergence.double(), divergence, rtol=2e-4, atol=1e-8 + 1e-6 * size)
    torch.testing.assert_close(
        found.loss.double(), (p - q).gather(-1, at_target)[..., 0], rtol=2e-3, atol=5e-6 * max(1.0, size)
    )
    largest = (q.exp() - p.exp()).abs().topk(4, dim=-1)
    shown = (found.after - found.before).abs().double()
    torch.testing.assert_close(shown, largest.values, rtol=1e-2, atol=1e-6)
    torch.testing.assert_close(
        found.before.double(), p.exp().expand(-1, 3, -1).gather(-1, found.tokens), rtol=1e-3, atol=1e-7
    )
