"""A dictionary attached to a Hugging Face model sees what it would see, and edits what it would edit, in any call."""

import threading

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.causal.attached import attach
from sparselex.causal.edits import ablate, add, bound, put, steer
from sparselex.causal.generate import generate
from sparselex.causal.kinds import Through
from sparselex.causal.latents import Latents
from sparselex.causal.where import at, since
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.lm.load import load_model
from tests.lm.small_models import build

TOKENS = torch.randint(3, 50, (2, 5), generator=torch.Generator().manual_seed(0))
HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    return build(request.param)


@pytest.fixture(scope="module")
def dictionary():
    return new_dictionary(TopKConfig(d_in=24, d_sae=48, k=4), torch.Generator().manual_seed(1))


def test_the_latents_of_every_token(model, dictionary):
    """Of a whole text, and of one generated token by token, whose last token nothing read."""
    with attach(model.hf, dictionary, HOOK) as watched:
        model.hf(input_ids=TOKENS)
        text = model.hf.generate(TOKENS, max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=2)
    assert text[:, :11].equal(generate(model, TOKENS, 6))
    expected = dictionary.encode(model.read(text[:, :-1], [HOOK])[HOOK].flatten(0, 1)).view(2, 10, -1)
    for latent in (int(expected[0, -1].argmax()), int(expected[1, 0].argmax())):
        torch.testing.assert_close(watched.activations(latent), expected[..., latent], rtol=1e-4, atol=1e-5)
    assert [call.start for call in watched.calls] == [0, 0, *range(5, 10)]
    model.hf(input_ids=TOKENS)
    assert len(watched.calls) == 7, "nothing is left on the model"


def test_edits_in_its_own_generate(model, dictionary):
    latents = Latents.of(dictionary, model, HOOK)
    for edits in (
        steer(latents, 5, 30.0),
        ablate(latents, torch.tensor([3, 4]), since(2)) + add("blocks.1.hook_mlp_out", torch.ones(24), 9.0, since(6)),
    ):
        with attach(model.hf, dictionary, HOOK, edits=edits):
            text = model.hf.generate(TOKENS, max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=2)
        assert text.equal(generate(model, TOKENS, 6, edits=edits))


def test_one_head_is_one_head(model, dictionary):
    for hook in ("blocks.0.attn.hook_z:1", "blocks.1.attn.hook_v:1"):
        edits = put(hook, 0.0)
        with attach(model.hf, dictionary, HOOK, edits=edits), torch.no_grad():
            found = model.hf(input_ids=TOKENS).logits
        torch.testing.assert_close(found, model.run(TOKENS, edits=bound(edits)).logits)
    with (
        pytest.raises(UserError, match="none of number 7"),
        attach(model.hf, dictionary, HOOK, edits=put("blocks.0.attn.hook_z:7", 0.0)),
    ):
        pass


@pytest.mark.parametrize("name", ["llama", "mamba"])
def test_positions_are_the_texts_in_other_caches(name, dictionary):
    """A static cache counts while it is written, and a recurrence's does not say."""
    model = build(name)
    options = {"cache_implementation": "static"} if name == "llama" else {}
    edits = put(HOOK, 0.3, at(0, 6, 8))
    with attach(model.hf, dictionary, HOOK, edits=edits) as watched:
        options |= {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
        text = model.hf.generate(TOKENS, **options)
    assert text.equal(generate(model, TOKENS, 6, edits=edits))
    assert [call.start for call in watched.calls] == [0, *range(5, 10)]
    assert watched.activations(0).shape == (2, 10)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_padding_in_front_is_not_counted(name, cache, dictionary):
    """A row that is padded writes what it writes alone. A cache of fixed size has masks of queries and keys instead of
    one of tokens, by kinds of layer where they differ: positions were those of the padded row there, or all failed."""
    model, direction = build(name), 9 * torch.randn(24, generator=torch.Generator().manual_seed(4))
    edits = add(HOOK, direction, where=at(1, 6))
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    options |= {"output_logits": True, "return_dict_in_generate": True, "cache_implementation": cache}
    padded = torch.cat([torch.full((1, 3), 2), TOKENS[:1, :4]], dim=1)
    tokens = torch.cat([torch.cat([TOKENS[1:], TOKENS[1:, :2]], dim=1), padded])
    mask = torch.ones_like(tokens)
    mask[1, :3] = 0
    with attach(model.hf, dictionary, HOOK, edits=edits) as watched:
        found = model.hf.generate(tokens, attention_mask=mask, **options)
        alone = model.hf.generate(TOKENS[:1, :4], attention_mask=torch.ones(1, 4, dtype=torch.long), **options)
    for one, other in zip(found.logits, alone.logits, strict=True):
        torch.testing.assert_close(one[1], other[0], rtol=1e-4, atol=1e-5)
    assert watched.calls[0].padded == (0, 3)


def test_padding_is_that_of_the_text_that_goes_on(dictionary):
    """Of a call that goes on from a cache of its own the mask tells it: it was that of the text before."""
    model = build("llama")
    mask = torch.ones_like(TOKENS)
    mask[1, :2] = 0
    past = model.hf(input_ids=TOKENS[:, :4], use_cache=True).past_key_values
    edits = add(HOOK, torch.randn(24, generator=torch.Generator().manual_seed(4)), where=at(4))
    with attach(model.hf, dictionary, HOOK, edits=edits) as watched, torch.no_grad():
        model.hf(input_ids=TOKENS, attention_mask=mask)
        found = model.hf(input_ids=TOKENS[:, 4:], past_key_values=past, attention_mask=torch.ones_like(TOKENS)).logits
    assert [call.padded for call in watched.calls] == [(0, 2), (0, 0)]
    torch.testing.assert_close(found, model.run(TOKENS, edits=bound(edits)).logits[:, 4:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"attention_mask": torch.ones(2, 5, 5)}, UserError, r"mask of shape \[2, 5, 5\]"),
        ({"attention_mask": {"full_attention": "causal"}}, UserError, "mask str"),
        ({"input_ids": None}, ValueError, "input_ids or inputs_embeds"),
    ],
)
def test_calls_that_say_too_little_are_refused(dictionary, given, error, said):
    model = build("llama")
    with attach(model.hf, dictionary, HOOK), pytest.raises(error, match=said):
        model.hf(**{"input_ids": TOKENS} | given)


@pytest.mark.parametrize("hook", ["blocks.0.mlp.hook_router_logits", "module:model.layers.0.mlp.gate"])
def test_a_router_that_nothing_reads_is_not_edited(dictionary, hook):
    """By its module's name, and by either name where a dictionary is attached, an edit changed nothing silently."""
    model = build("mixtral")
    edits = put(hook, 5.0)
    with pytest.raises(UserError, match="can be read and not edited"):
        model.run(TOKENS, edits=bound(edits))
    with pytest.raises(UserError, match="can be read and not edited"), attach(model.hf, dictionary, HOOK, edits=edits):
        pass
    model.run(TOKENS, edits=bound(put("module:model.layers.0.mlp", 5.0)))


def test_drafts_that_are_rejected_are_read_again(dictionary):
    model = build("llama")
    with attach(model.hf, dictionary, HOOK) as watched:
        options = {"max_new_tokens": 10, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
        text = model.hf.generate(TOKENS[:1].repeat(1, 2), prompt_lookup_num_tokens=3, **options)
    expected = dictionary.encode(model.read(text, [HOOK])[HOOK])
    found = watched.activations(int(expected[0, -3].argmax()))
    n = min(found.shape[1], text.shape[1] - 1)
    torch.testing.assert_close(found[:, :n], expected[:, :n, int(expected[0, -3].argmax())], rtol=1e-4, atol=1e-5)
    past = model.hf(input_ids=TOKENS[:1], use_cache=True).past_key_values
    with attach(model.hf, dictionary, HOOK) as watched:
        model.hf(input_ids=TOKENS[:1, :2], past_key_values=past)
    with pytest.raises(UserError, match="from its beginning"):
        watched.activations(0)


BEAMS = {"max_new_tokens": 8, "num_beams": 2, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}


def test_beams_are_edited_and_their_latents_are_not_mixed_up(model, dictionary):
    """Rows of a beam search change places from call to call: they were put together as if they had not."""
    direction = torch.randn(24, generator=torch.Generator().manual_seed(4))
    both = torch.stack([9 * direction, -9 * direction])
    block = model.hf.get_submodule("model.layers.0" if hasattr(model.hf, "model") else "transformer.h.0")

    def by_hand(rows):
        more = rows.repeat_interleave(2, 0)[:, None]
        add_to = lambda out: (out[0] + more, *out[1:]) if isinstance(out, tuple) else out + more
        handle = block.register_forward_hook(lambda module, args, out: add_to(out))
        text = model.hf.generate(TOKENS, **BEAMS)
        handle.remove()
        return text

    for edits, rows in (
        (add(HOOK, 9 * direction), both[[0, 0]]),
        (add(HOOK, both.repeat_interleave(2, 0)), both),
    ):
        with attach(model.hf, dictionary, HOOK, edits=edits):
            assert model.hf.generate(TOKENS, **BEAMS).equal(by_hand(rows))
    refused = pytest.raises(UserError, match="An edit with 2 directions was put on 4 rows")
    with refused, attach(model.hf, dictionary, HOOK, edits=add(HOOK, both)):
        model.hf.generate(TOKENS, **BEAMS)
    with attach(model.hf, dictionary, HOOK) as watched:
        text = model.hf.generate(TOKENS, **BEAMS)
        with pytest.raises(UserError, match=r"(?s)changed places.*num_beams=1.*call the model on the text"):
            watched.activations(0)
        assert {call.shape[0] for call in watched.calls} == {4}
        model.hf(input_ids=text)
        expected = dictionary.encode(model.read(text, [HOOK])[HOOK].flatten(0, 1)).view(2, 13, -1)
        latent = int(expected[0, -1].argmax())
        torch.testing.assert_close(watched.activations(latent), expected[..., latent], rtol=1e-4, atol=1e-5)
        past = model.hf(input_ids=TOKENS, use_cache=True).past_key_values
        model.hf(input_ids=TOKENS[:, :1], past_key_values=past)
        assert "reorder_cache" in vars(past)
    assert "reorder_cache" not in vars(past), "nothing is left on the cache"


def test_the_embedded_models_beams(dictionary):
    embedded, place = load_model("embedded"), "blocks.0.hook_mlp_out"
    wide = new_dictionary(TopKConfig(d_in=128, d_sae=48, k=4), torch.Generator().manual_seed(1))
    row = embedded.tokens("def function_1(self")
    with attach(embedded.hf, wide, place, edits=add(place, torch.zeros(128))) as watched:
        text = embedded.hf.generate(row, **BEAMS | {"pad_token_id": 0})
        with pytest.raises(UserError, match="changed places"):
            watched.activations(0)
    assert text.equal(embedded.hf.generate(row, **BEAMS | {"pad_token_id": 0}))


def test_one_thread_at_a_time(dictionary):
    """A second thread in the middle of a call would be read as if it were the first."""
    model, inside, go_on = build("llama"), threading.Event(), threading.Event()

    def wait(x):
        inside.set()
        go_on.wait(30)
        return x

    with attach(model.hf, dictionary, HOOK, edits=[Through(hook=Hook(HOOK), function=wait)]) as watched:
        other = threading.Thread(target=lambda: model.hf(input_ids=TOKENS))
        other.start()
        assert inside.wait(30)
        with pytest.raises(UserError, match="Two threads called a model"):
            model.hf(input_ids=TOKENS)
        go_on.set()
        other.join()
        model.hf(input_ids=TOKENS)
        assert len(watched.calls) == 2
        with pytest.raises(UserError, match="width"), attach(model.hf, dictionary, "blocks.0.mlp.hook_post"):
            model.hf(input_ids=TOKENS)
        model.hf(input_ids=TOKENS)
        assert len(watched.calls) == 3


def test_edits_may_be_exchanged(model, dictionary):
    latents = Latents.of(dictionary, model, HOOK)
    plain = model.run(TOKENS).logits
    with attach(model.hf, dictionary, HOOK) as watched, torch.no_grad():
        torch.testing.assert_close(model.hf(input_ids=TOKENS).logits, plain)
        watched.edits = list(steer(latents, 5, 30.0))
        assert (model.hf(input_ids=TOKENS).logits - plain).abs().max() > 0.01


def test_what_does_not_fit_is_refused(model, dictionary):
    with pytest.raises(UserError, match="to a TransformersModel"), attach(model, dictionary, HOOK):
        pass
    with (
        pytest.raises(UserError, match="Unknown hook"),
        attach(model.hf, dictionary, "blocks.9.hook_resid_post"),
    ):
        pass
    with pytest.raises(UserError, match="width"), attach(model.hf, dictionary, "blocks.0.mlp.hook_post"):
        model.hf(input_ids=TOKENS)
    with pytest.raises(UserError, match="was not called with a text"), attach(model.hf, dictionary, HOOK) as watched:
        watched.activations(0)
    model.hf(input_ids=TOKENS)
