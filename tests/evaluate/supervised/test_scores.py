"""Attention scores taken apart: exact in any architecture, and what was planted is found."""

from itertools import product

import numpy as np
import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM, LlamaConfig, LlamaForCausalLM

from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.nodes import Node, read_nodes
from sparselex.evaluate.supervised.pairs import drawn, labels_of
from sparselex.evaluate.supervised.place import FIT, TEST, read_all
from sparselex.evaluate.supervised.scores import Multiplied, attention_scores, looking
from sparselex.lm.load import load_model
from tests.support.copier import copier, task, write_copier

CONFIG = TaskConfig(n_fit=400, n_test=48, n_seeds=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model with positions in its embedding, one that rotates and whose heads share keys, and one that divides no
    score by the root of the width."""
    plain, rotates = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("rotates")
    model = copier(plain)
    write_copier(rotates)  # for its tokenizer
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    vocab_size = len(model.tokenizer.vocabulary)
    LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, hidden_size=32, intermediate_size=32, **shape)).save_pretrained(
        rotates
    )
    undivided = tmp_path_factory.mktemp("undivided")
    write_copier(undivided)
    shape = {"num_layers": 2, "num_heads": 4, "attention_types": [[["global"], 2]], "initializer_range": 0.3}
    GPTNeoForCausalLM(GPTNeoConfig(vocab_size=vocab_size, hidden_size=32, **shape)).save_pretrained(undivided)
    return {"plain": plain, "rotates": rotates, "undivided": undivided}


def test_the_score_is_the_product_of_query_and_key(folders):
    model = load_model(str(folders["plain"]))
    prompts = drawn(task(), model.tokenizer, CONFIG).test
    look = looking(model, Node.parse("blocks.0.attn.hook_z:1@end"), ("S2", "IO"))
    read = read_nodes(model, prompts, look.nodes)
    multiplied = Multiplied(model, prompts, look)
    for key in look.keys:
        expected = (read[look.query] * read[key]).sum(-1) / model.per_head("blocks.0.attn.hook_q")[1] ** 0.5
        found = multiplied.score(read[look.query], read[key], key.role)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("head", [0, 3])
def test_where_positions_rotate_scores_are_what_attention_is_made_of(folders, head):
    model = load_model(str(folders["rotates"]))
    prompts = drawn(task(), model.tokenizer, CONFIG).test
    look = looking(model, Node.parse(f"blocks.1.attn.hook_z:{head}@end"), ("IO", "S1"))
    assert str(look.keys[0].hook) == f"blocks.1.attn.hook_k:{head // 2}", "two heads share a key"
    read = read_nodes(model, prompts, look.nodes)
    one, other = (Multiplied(model, prompts, look).score(read[look.query], read[k], k.role) for k in look.keys)
    plain = LlamaForCausalLM.from_pretrained(folders["rotates"], attn_implementation="eager")
    with torch.no_grad():
        attention = plain(torch.from_numpy(prompts.tokens), output_attentions=True).attentions[1][:, head]
    each, ends = torch.arange(len(prompts)), torch.from_numpy(prompts.ends)
    io, s1 = (attention[each, ends, torch.from_numpy(prompts.roles[role])].log() for role in ("IO", "S1"))
    np.testing.assert_allclose(one - other, io - s1, atol=1e-4)


def test_scores_that_nothing_divides_are_what_attention_is_made_of(folders):
    model = load_model(str(folders["undivided"]))
    prompts = drawn(task(), model.tokenizer, CONFIG).test
    look = looking(model, Node.parse("blocks.1.attn.hook_z:2@end"), ("IO", "S1"))
    read = read_nodes(model, prompts, look.nodes)
    multiplied = Multiplied(model, prompts, look)
    for key in look.keys:
        found = multiplied.score(read[look.query], read[key], key.role)
        expected = (read[look.query] * read[key]).sum(-1)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert expected.abs().max() > 1, "a division would show"


def test_terms_add_up_and_planted_ones_are_found(folders):
    """A query that knows the order, and a key that knows the order and the name: order × order is all there is."""
    model = load_model(str(folders["plain"]))
    prompts = drawn(task(), model.tokenizer, CONFIG)
    look = looking(model, Node.parse("blocks.0.attn.hook_z:0@end"), ("IO", "S1"))
    d = model.width(look.query.hook)
    generator = torch.Generator().manual_seed(0)
    names, noise = torch.randn(2, len(prompts.fit.values["IO"]), d, generator=generator)[0], 0.01
    names[:, :2] = 0.0
    read = {}
    for part, some in ((FIT, prompts.fit), (TEST, prompts.test)):
        labels = labels_of(some)
        order = 2.0 * labels["Pos"] - 1
        values = {look.query: torch.zeros(len(some), d), look.keys[0]: 3 * names[labels["IO"]]}
        values[look.query][:, 0], values[look.query][:, 1] = 4 * order, 1.0
        values[look.keys[0]][:, 0] = 2 * order
        values[look.keys[1]] = -values[look.keys[0]]
        read[part] = {
            node: value + noise * torch.randn(value.shape, generator=generator) for node, value in values.items()
        }
    found = {one.role: one for one in attention_scores(model, prompts, look, read, CONFIG, "x")}
    assert list(found) == ["IO", "S1", "IO less S1"]
    for one in found.values():
        assert {(pair.query, pair.key) for pair in one.pairs} == set(
            product(("mean", "IO", "S", "Pos", "rest"), repeat=2)
        )
        assert one.left < 1e-3
    expected = 8 / d**0.5
    assert found["IO"].strongest(1)[0].query == found["IO"].strongest(1)[0].key == "Pos"
    assert found["IO"].strongest(1)[0].mean == pytest.approx(expected, rel=0.05)
    assert found["IO less S1"].strongest(1)[0].mean == pytest.approx(2 * expected, rel=0.05)
    assert all(pair.size < 0.1 * expected for pair in found["IO"].strongest()[1:])


def test_what_labels_do_not_say_is_said(folders):
    """Real queries and keys: the shares of all pairs sum to one, and shuffled labels explain less."""
    model = load_model(str(folders["rotates"]))
    prompts = drawn(task(), model.tokenizer, CONFIG)
    look = looking(model, Node.parse("blocks.1.attn.hook_z:1@end"), ("IO", "S1"))
    for one in attention_scores(model, prompts, look, dict(read_all(model, prompts, look.nodes)), CONFIG, "x"):
        assert sum(pair.share for pair in one.pairs) == pytest.approx(1, abs=1e-3) and one.left < 1e-3
        assert one.explained.null is not None and one.explained.value > one.explained.null
        assert one.explained.n == 48 and one.explained.value <= 1
