"""What a model writes with the cache is what it writes without, under edits too; chance is seeded row by row."""

import math

import pytest
import torch
import transformers as hf

from sparselex.base.errors import UserError
from sparselex.causal.edits import add, bound, put, steer
from sparselex.causal.generate import generate
from sparselex.causal.latents import Latents
from sparselex.causal.where import at, since
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.lm.config import ModelConfig
from sparselex.lm.homes.transformers import TransformersModel
from tests.lm.small_models import SMALL, build

TOKENS = torch.randint(3, 50, (3, 5), generator=torch.Generator().manual_seed(0))
HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma3_text", "mamba", "gemma4_text small"])
def model(request):
    return build(request.param)


def slowly(model, tokens, n_new, edits):
    """The likeliest token, from the whole text each time."""
    until = tokens.shape[1] + n_new
    for _ in range(n_new):
        logits = model.run(tokens, edits=bound(edits, until=until)).logits[:, -1]
        tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], dim=1)
    return tokens


def cases(model):
    dictionary = new_dictionary(TopKConfig(d_in=24, d_sae=48, k=4), torch.Generator().manual_seed(1))
    latents = Latents.of(dictionary, model, HOOK)
    direction = torch.randn(24, generator=torch.Generator().manual_seed(2))
    yield ()
    yield steer(latents, torch.tensor([3, 40, 7]), torch.tensor([9.0, 0.0, -9.0]))
    yield add(HOOK, direction, 20.0, since(torch.tensor([2, 5, 7])))
    yield put("blocks.1.hook_resid_pre", 0.5, at(3, 6)) + steer(latents, 5, 12.0)


def test_with_the_cache_as_without(model):
    for edits in cases(model):
        assert generate(model, TOKENS, 8, edits=edits).equal(slowly(model, TOKENS, 8, edits))


def test_positions_that_change_with_the_length_of_the_text():
    """Keys kept of a short text are not those of a long one: each token is written after reading all of it."""
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 3, "long_factor": [9.0] * 3}
    rope["original_max_position_embeddings"] = 9
    torch.manual_seed(0)
    config = hf.Phi3Config(
        **SMALL | {"num_key_value_heads": 2, "original_max_position_embeddings": 9}, rope_parameters=rope
    )
    tokenizer = build("llama").tokenizer
    model = TransformersModel(hf.Phi3ForCausalLM(config), tokenizer, ModelConfig(name="phi3"))
    assert generate(model, TOKENS, 10).equal(slowly(model, TOKENS, 10, ()))
    assert model.extend(TOKENS).past is None


def test_what_a_row_draws_is_its_own():
    model = build("llama")
    draw = lambda tokens, seed: generate(model, tokens, 12, temperature=1.5, seed=seed)
    together = draw(TOKENS, [4, 5, 6])
    for number, seed in enumerate([4, 5, 6]):
        assert together[number].equal(draw(TOKENS[[number]], seed)[0])
    again = draw(TOKENS[[0, 0, 0]], [1, 2, 1])
    assert again[0].equal(again[2]) and not again[0].equal(again[1])


def test_tokens_are_drawn_by_their_probabilities():
    model = build("llama")
    one, n = TOKENS[:1, :3], 4000
    rows = generate(model, one.expand(n, -1), 1, temperature=0.7, seed=range(n))
    p = (model.run(one).logits[0, -1].double() / 0.7).softmax(-1)
    found = torch.bincount(rows[:, -1], minlength=50)
    assert float(((found - n * p).square() / (n * p)).sum()) < 80  # chi square of 49 degrees: 1 in 300
    few = generate(model, one.expand(n, -1), 1, temperature=0.7, top_p=0.3, seed=range(n))
    ordered, order = p.sort(descending=True)
    allowed = order[: int((ordered.cumsum(0) - ordered < 0.3).sum())]
    assert set(few[:, -1].tolist()) == set(allowed.tolist())


def test_it_stops_where_it_is_told_to():
    model = build("llama")
    free = generate(model, TOKENS[:1], 8)[0]
    stop = int(free[6])
    assert generate(model, TOKENS[:1], 8, stop=[stop])[0].equal(free[:7])


def test_what_cannot_be_written_is_refused():
    model = build("llama")
    latents = next(iter(cases(model)))
    assert latents == ()
    with pytest.raises(UserError, match="at most 32 in all"):
        generate(model, TOKENS, 28)
    for by in (float("inf"), 1e30):  # of 1e30 a norm would make zeros, and text of them
        with pytest.raises(UserError, match="leaves values too large"):
            generate(model, TOKENS, 2, edits=add(HOOK, torch.ones(24), by))
    model.hf.lm_head.weight.data[0] = torch.inf
    with pytest.raises(UserError, match="without finite logits"):
        generate(model, TOKENS, 2)
    model = build("llama")
    with pytest.raises(UserError, match="2 seeds were given for 3 rows"):
        generate(model, TOKENS, 2, seed=[1, 2])
    with pytest.raises(UserError, match="A prompt of no tokens"):
        generate(model, TOKENS[:, :0], 2)
    temperatures = [{"n_new": 1, "temperature": one} for one in (-1.0, math.nan, math.inf)]
    for wrong in ({"n_new": 0}, *temperatures, {"n_new": 1, "top_p": 0.0}, {"n_new": 1, "top_p": math.nan}):
        with pytest.raises(UserError, match="at least 1 token, a finite temperature from 0"):
            generate(model, TOKENS, **wrong)
    for seed in (-1, 10**30):
        with pytest.raises(UserError, match=f"{seed} was given as a seed"):
            generate(model, TOKENS, 2, seed=seed)
