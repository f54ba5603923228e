"""The MLP of a language model: predictions under masked matrices, against passes with other weights in the model."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.func import functional_call

from sparselex.base.errors import UserError
from sparselex.lm.config import ModelConfig
from sparselex.lm.load import load_model
from sparselex.lm.mlps import mlp_of
from sparselex.parameters import decompose as decompose_module
from sparselex.parameters.components import Components
from sparselex.parameters.config import AttackConfig, SpdConfig
from sparselex.parameters.losses import draw, gates_of, losses, maps_of, masks_of
from sparselex.parameters.mlp.config import MlpConfig
from sparselex.parameters.mlp.target import MlpTarget
from sparselex.parameters.mlp.walk import Subjects, check_text, decompose_mlp
from tests.support.copier import copier
from tests.support.rows import MadeRows
from tests.support.tiny import N_VOCAB, tiny_llama

CONFIG = MlpConfig(
    spd=SpdConfig(n_components=6, d_gate=2, n_steps=4, batch_size=12, lr=1e-2, begin="random", cut=0.1, bare=0.5),
    attack=AttackConfig(n_inputs=10, n_steps=1),
    n_inputs=24,
)


def rows(n_vocab, n=8, n_ctx=6, n_train=5, bos_id=None):
    tokens = np.random.default_rng(0).integers(0, n_vocab, (n, n_ctx))
    return MadeRows(tokens, n_train, bos_id)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Two blocks with gated MLPs, in float64."""
    model = tiny_llama(tmp_path_factory.mktemp("llama"), 2, 0.4)
    model.hf.double()
    return model


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """One block whose matrices lie turned, with biases."""
    return copier(tmp_path_factory.mktemp("copier"))


def components(target, n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    parts = {
        name: Components(one, torch.randn(n, one.shape[1], generator=generator, dtype=one.dtype), 3, generator)
        for name, one in target.weights.items()
    }
    with torch.no_grad():
        for one in parts.values():
            one.gate_out_bias.copy_(torch.linspace(-0.5, 1.2, n))
    return parts


def slow_log_probs(target, token_row, column, matrices):
    """What the model predicts at one token with other matrices in it, by a whole pass of the model itself."""
    model, given = target.model, {}
    for one in target.mlp.every:
        if one.name in matrices:
            path = one.hook.site
            turned = type(model.hf.get_submodule(path)).__name__ == "Conv1D"
            given[f"{path}.weight"] = matrices[one.name].T if turned else matrices[one.name]
    tokens = torch.from_numpy(target.corpus.tokens[token_row : token_row + 1])
    logits = functional_call(model.hf, given, kwargs={"input_ids": tokens, "use_cache": False}).logits
    return logits[0, column].log_softmax(-1)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_matrices_of_a_gated_mlp_and_masks_of_ones(llama, layer):
    target = MlpTarget(llama, rows(N_VOCAB), layer)
    assert target.alone == (layer == 1)
    assert list(target.weights) == ["gate_proj", "up_proj", "down_proj"]
    x = torch.arange(6, 30)
    there = target.run(x, {})
    whole = target.run(x, {name: lambda v, w=weight: v @ w.T for name, weight in target.weights.items()})
    assert torch.allclose(whole.output, there.output, atol=1e-12)
    for position, found in zip(x.tolist(), there.output, strict=True):
        assert torch.allclose(found, slow_log_probs(target, position // 6, position % 6, {}), atol=1e-10)
    assert torch.allclose(target.distance(there.output, there.output), torch.zeros(24, dtype=torch.float64))


def test_turned_matrices_and_their_biases(gpt2):
    target = MlpTarget(gpt2, rows(gpt2.n_vocab, bos_id=0), 0)
    assert [one.shape for one in target.weights.values()] == [
        (target.mlp.first[0].weight.shape[0], gpt2.d_model),
        (gpt2.d_model, target.mlp.last.weight.shape[1]),
    ]
    x = torch.arange(6)
    other = {name: 0.5 * weight + 0.1 for name, weight in target.weights.items()}
    found = target.run(x, {name: lambda v, w=weight: v @ w.T for name, weight in other.items()}).output
    slow = torch.stack([slow_log_probs(target, 0, column, other) for column in range(6)])
    assert torch.allclose(found, slow, atol=1e-5)
    assert target.mlp.written == "blocks.0.hook_mlp_out" and not target.alone


@pytest.mark.parametrize("name", ["stochastic", "layerwise"])
def test_losses_and_gradients_are_those_of_passes_with_other_weights(llama, name):
    """Token by token: the whole model runs with the masked sums of that token in the place of its matrices."""
    target = MlpTarget(llama, rows(N_VOCAB), 1)
    parts, x = components(target), torch.tensor([3, 8, 14])
    draws = draw(parts, len(x), torch.Generator().manual_seed(1), 0.5)
    config = SpdConfig(n_components=5, d_gate=3)
    there = target.run(x, {})
    masks = {"stochastic": [masks_of(gates_of(parts, there), draws.together)]}
    alone = masks_of(gates_of(parts, there), draws.alone)
    masks["layerwise"] = [{key: one} for key, one in alone.items()]
    slow = []
    for those in masks[name]:
        for number, position in enumerate(x.tolist()):
            matrices = {key: (parts[key].U.T * mask[number]) @ parts[key].V for key, mask in those.items()}
            own = slow_log_probs(target, position // 6, position % 6, {})
            masked = slow_log_probs(target, position // 6, position % 6, matrices)
            slow.append(sum(own[t].exp() * (own[t] - masked[t]) for t in range(N_VOCAB)))
    slow = sum(slow) / len(slow)
    fast = getattr(losses(target, x, parts, draws, config), name)
    assert fast > 1e-4 and torch.allclose(fast, slow, rtol=1e-9)
    leaves = [one for part in parts.values() for one in part.parameters()]
    for one, other in zip(torch.autograd.grad(fast, leaves), torch.autograd.grad(slow, leaves), strict=True):
        assert torch.allclose(one, other, rtol=1e-7, atol=1e-11)


def test_in_an_early_block_the_tokens_asked_for_are_changed_and_no_others(llama):
    """With the same masks everywhere it is a model with other weights; tokens before the first see nothing of it."""
    target = MlpTarget(llama, rows(N_VOCAB), 0)
    parts, mask = components(target), torch.tensor([1.0, 0.0, 0.3, 1.0, 0.5], dtype=torch.float64)
    matrices = {key: (one.U.T * mask) @ one.V for key, one in parts.items()}
    x = torch.arange(6)
    found = target.run(x, maps_of(parts, {key: mask.expand(6, 5) for key in parts})).output
    slow = torch.stack([slow_log_probs(target, 0, column, matrices) for column in range(6)])
    assert torch.allclose(found, slow, atol=1e-10)
    late = torch.tensor([4, 5])
    only = target.run(late, maps_of(parts, {key: mask.expand(2, 5) for key in parts})).output
    assert not torch.allclose(only[1], found[5], atol=1e-6)
    assert target.distance(only, target.run(late, {}).output).min() > 1e-6


def test_cross_entropy_is_of_the_next_token_of_the_row(llama):
    corpus = rows(N_VOCAB)
    corpus.documents[0, 3] = -1
    target, x = MlpTarget(llama, corpus, 1), torch.arange(6)
    output = target.run(x, {}).output
    found = target.cross_entropy(x, output)
    assert found.isnan().tolist() == [False, False, True, False, False, True]
    assert found[1] == -output[1, corpus.tokens[0, 2]]


def test_drawn_tokens_are_text_of_the_rows(llama):
    corpus = rows(N_VOCAB, bos_id=0)
    target = MlpTarget(llama, corpus, 1)
    x = target.draw(range(1, 5), 12, torch.Generator().manual_seed(0))
    assert len(x) == len(set(x.tolist())) == 12 and (x.diff() > 0).all()
    assert x.min() >= 6 and x.max() < 30 and (x % 6 > 0).all()


def test_a_planted_mlp_is_taken_into_the_parts_that_it_has(tmp_path):
    """Each of seven tokens has one component of each matrix, another for each, and these alone give what the model
    gives. In a process of its own: there no shapes are checked in every function of thousands of passes."""
    script = [sys.executable, "-m", "tests.support.planted_mlp", str(tmp_path)]
    found = json.loads(subprocess.run(script, check=True, capture_output=True, text=True).stdout)
    moved = found.pop("distance")
    assert moved["alone"] < 0.05 * moved["nothing"]
    for name, one in found.items():
        assert one["n_components"] == 7 and one["important"] < 2, name


def run_walk(folder, model, control, corpus, config=CONFIG, **more):
    subjects = Subjects(model, control, "drawn anew")
    return decompose_mlp(folder / "d", "main-mlp-0", subjects, corpus, config, run="main", **more)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A small model and its twin."""
    folder = tmp_path_factory.mktemp("pair")
    model = tiny_llama(folder, 1, 0.4)
    twin = load_model(ModelConfig(name=str(folder), twin="reinitialised"))
    return model, twin


def test_the_walk_goes_on_where_it_was_killed_and_ends_in_the_same_bytes(tmp_path, pair, monkeypatch):
    corpus = rows(N_VOCAB)
    found = run_walk(tmp_path / "whole", *pair, corpus)
    names = {figure.name for figure in found.figures}
    assert {"parameters/ce/model", "parameters/ce/adversarial", "parameters/distance/rounded"} <= names
    assert all("twin" in figure.controls for figure in found.figures if figure.value is not None)
    assert all(f.null is not None for f in found.figures if "distance/" in f.name and "all_zero" not in f.name)
    monkeypatch.setattr(decompose_module, "_SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    before, left = MlpTarget.draw, iter(range(8))  # in the middle of the twin's steps

    def killed(*args):
        if next(left, None) is None:
            raise ConnectionError("killed")
        return before(*args)

    monkeypatch.setattr(MlpTarget, "draw", killed)
    with pytest.raises(ConnectionError):
        run_walk(tmp_path / "halved", *pair, corpus)
    monkeypatch.setattr(MlpTarget, "draw", before)
    run_walk(tmp_path / "halved", *pair, corpus)
    for path in sorted((tmp_path / "whole" / "d").iterdir()):
        if not path.name.startswith("."):
            assert path.read_bytes() == (tmp_path / "halved" / "d" / path.name).read_bytes(), path.name
    with pytest.raises(UserError, match="decomposed already"):
        run_walk(tmp_path / "whole", *pair, corpus, CONFIG.model_copy(update={"seed": 1}))


def test_too_little_text_is_told_before_anything_begins(tmp_path, pair):
    corpus = rows(N_VOCAB, n=2, n_train=1)
    with pytest.raises(UserError, match="6 tokens of text, and 12 are needed"):
        run_walk(tmp_path, *pair, corpus)
    with pytest.raises(UserError, match="test split has 0 tokens"):
        check_text(rows(N_VOCAB, n=5), CONFIG)
    assert not (tmp_path / "d").exists()


def test_blocks_and_models_that_cannot_be_taken_apart_are_told(llama, tmp_path):
    with pytest.raises(UserError, match="no block 2"):
        mlp_of(llama, 2)
    other = copy.copy(llama)
    other.hf = copy.deepcopy(llama.hf)
    other.hf.model.layers[1].mlp.down_proj = torch.nn.Identity()
    other._located = {}
    with pytest.raises(UserError, match="no linear map"):
        mlp_of(other, 1)
    with pytest.raises(UserError, match="another library runs it"):
        mlp_of(_Elsewhere(llama), 0)


class _Elsewhere:
    """A model of another home: what it has of the first, and none of its weights."""

    def __init__(self, model):
        self._model = model

    def __getattr__(self, name):
        return getattr(self._model, name)
