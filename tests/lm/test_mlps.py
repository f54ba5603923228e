"""MLPs as matrices: what they give is what the model gives, for plain and gated ones, and what is none is refused."""

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.lm.load import load_model
from sparselex.lm.mlps import formula_between, mlp_of
from tests.lm.small_models import TOKENS, build
from tests.support.tiny import tiny_llama

IN, OUT = Hook("blocks.0.hook_mlp_in"), Hook("blocks.0.hook_mlp_out")


def given(model, hook, layer=0):
    tokens = torch.tensor([[1, 5, 3, 8, 2, 11]])
    there = Hook(f"blocks.{layer}.{hook.site}")
    return model.read(tokens, [there])[there].flatten(0, 1)


def test_the_embedded_models_is_of_two_matrices():
    model = load_model("embedded")
    mlp = formula_between(model, IN, OUT)
    assert mlp.gate is None and mlp.W_in.shape == (128, 512)
    torch.testing.assert_close(mlp.of(given(model, IN)), given(model, OUT), rtol=1e-4, atol=1e-5)


def test_a_llamas_is_gated(tmp_path):
    model = tiny_llama(tmp_path, 2, 0.3)
    mlp = formula_between(model, Hook("blocks.1.hook_mlp_in"), Hook("blocks.1.hook_mlp_out"))
    assert mlp.gate is not None and len(mlp.readers) == 2
    torch.testing.assert_close(mlp.of(given(model, IN, 1)), given(model, OUT, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("reads", "writes"),
    [
        ("blocks.0.hook_mlp_in", "blocks.1.hook_mlp_out"),
        ("blocks.0.hook_mlp_out", "blocks.0.hook_mlp_in"),
        ("blocks.0.hook_resid_mid", "blocks.0.hook_mlp_out"),
        ("blocks.0.hook_mlp_in", "module:model.layers.0.mlp"),
    ],
)
def test_sites_that_are_not_around_one_mlp_are_refused(tmp_path, reads, writes):
    with pytest.raises(UserError, match="no single MLP"):
        formula_between(tiny_llama(tmp_path, 2, 0.3), Hook(reads), Hook(writes))


@pytest.mark.parametrize("name", ["gpt2", "opt", "phi3", "granite", "bloom", "nemotron"])
def test_other_families_have_theirs_at_hand(name):
    """Transposed ones, two layers of the block itself, gate and rest in one matrix, an output that is scaled."""
    model = build(name)
    mlp, found = formula_between(model, IN, OUT), mlp_of(model, 0)
    assert (mlp.gate is not None) == (name in ("phi3", "granite"))
    assert sum(len(one.weight) for one in found.first) == mlp.W_in.shape[1] * len(mlp.readers)
    x, y = (model.read(TOKENS, [hook])[hook].flatten(0, 1) for hook in (IN, OUT))
    torch.testing.assert_close(mlp.of(x), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "why"),
    [("gemma2", "what its matrices give is"), ("mixtral", "it has no mlp.hook_post"), ("bitnet", "what its matrices")],
)
def test_what_is_no_such_mlp_is_refused(name, why):
    """A norm behind it, experts, and a norm before its last matrix, which gives other values than the matrices do."""
    with pytest.raises(UserError, match=f"no MLP of two matrices, nor a gated one of three: {why}"):
        formula_between(build(name), IN, OUT)


def test_matrices_are_taken_apart_where_no_formula_says_what_they_give():
    """A norm behind them, or before the last: what each gives can be replaced all the same."""
    for name in ("gemma2", "bitnet"):
        found = mlp_of(build(name), 0)
        assert [len(one.weight) == found.last.weight.shape[1] for one in found.first] == [True, True]
        assert found.last.hook.startswith("module:") and (found.written == found.last.hook) == (name == "gemma2")
