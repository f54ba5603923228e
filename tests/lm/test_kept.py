"""A pass that is kept and taken up again gives what the whole pass gives: of every family, at every site, in depth and
in position."""

import os
import threading

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint
from sparselex.base.sites import Hook
from sparselex.lm.families import READ_ONLY
from sparselex.lm.homes.transformers import TransformersModel
from tests.lm.small_models import CONFIGS, build

TOKENS = torch.randint(3, 50, (2, 7), generator=torch.Generator().manual_seed(3))
RECURRENT = ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "lfm2", "mamba", "mamba2", "falcon_mamba")
SHARED_KEYS = "gemma4_text small"
WINDOWS = {"gemma3_text", "gemma2", "mistral", "ministral", "cohere2", "exaone4", "olmo3", "gpt_oss", "starcoder2"}
ONE_IN = 1 if "SPARSELEX_EVERY_TEST" in os.environ else 4
"""Of how many sites one is tried."""


@pytest.fixture(scope="module", params=CONFIGS)
def subject(request) -> TransformersModel:
    config = CONFIGS[request.param]
    narrow = {"sliding_window": 3} if request.param in WINDOWS else {}  # narrower than the rows are long
    before = {name: getattr(config, name) for name in narrow}
    for name, value in narrow.items():
        setattr(config, name, value)
    model = build(request.param)
    for name, value in before.items():
        setattr(config, name, value)
    return model


def edited(subject, kept, hook, since):
    """What the unembedding reads with an edit at a hook from a position on: taken up there, and by the whole pass."""
    rows = torch.tensor([1, 0, 0])
    again = subject.last(kept.of(rows, since), {hook: lambda x: x.flip(-1)})
    whole = {hook: lambda x: torch.cat([x[:, :since], x[:, since:].flip(-1)], dim=1)}
    return again, subject.last(TOKENS[rows], whole)[:, since:]


def test_taken_up_behind_any_site(subject):
    plain = subject.last(TOKENS)
    hooks = [point.name for point in subject.hooks() if point.name.site not in READ_ONLY and point.name.layer]
    first = int(fingerprint(subject.id), 16) % ONE_IN  # other sites of every family
    for hook in [Hook("blocks.0.hook_resid_post"), *hooks[first::ONE_IN]]:
        kept = subject.keep(TOKENS, hook)
        torch.testing.assert_close(kept.last, plain)
        for since in (0, 4):
            torch.testing.assert_close(*edited(subject, kept, hook, since), rtol=1e-4, atol=2e-5, msg=str(hook))


def test_only_what_lies_behind_is_computed(subject):
    """The modules of the block before are not run; of rows of seven tokens two are, and those once."""
    if subject.name == SHARED_KEYS:
        return  # it runs whole wherever keys of one block are used in another
    layers, seen = subject._family.layers, []
    hook = Hook("blocks.1.hook_resid_post")
    kept = subject.keep(TOKENS, hook)
    first = next(iter(subject.hf.get_submodule(f"{layers}.0").children()))
    handles = [first.register_forward_hook(lambda *_: seen.append("first"))]
    handles.append(
        subject.hf.get_output_embeddings().register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    )
    subject.run(kept.of(torch.tensor([0]), 5), edits={hook: torch.zeros_like})
    assert seen == [7 if subject.name in RECURRENT else 2]
    subject.run(TOKENS)
    assert seen[1:] == ["first", 7]
    for handle in handles:
        handle.remove()


def test_tokens_one_after_another_are_the_whole_row(subject):
    expected, past, found = subject.last(TOKENS), None, []
    for part in TOKENS.split([3, 1, 1, 2], dim=1):
        seen = subject.extend(part if past is not None or not found else TOKENS[:, : part.shape[1]], past)
        found.append(seen.last)
        past = seen.past
        if past is None:
            assert subject.name in (*RECURRENT, SHARED_KEYS)
            return
    torch.testing.assert_close(torch.cat(found, dim=1), expected, rtol=1e-4, atol=2e-5)


def test_gradients_reach_the_values_where_a_pass_was_taken_up(subject):
    hook = "blocks.1.hook_resid_pre"
    kept = subject.keep(TOKENS, hook)
    gradients = []
    for tokens in (TOKENS, kept):
        seen = subject.run(tokens, read=[hook], grad=True)
        gradients.append(torch.autograd.grad(seen.logits.square().sum(), seen.values[hook])[0])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def test_rows_of_as_many_tokens_as_there_are_heads(subject):
    """Weights of attention `[batch, heads, ctx, ctx]` look there like something of each token."""
    config = subject.hf.config.get_text_config()
    heads = {getattr(config, "num_attention_heads", None), getattr(config, "num_key_value_heads", None)} - {None}
    for n in heads:
        tokens = TOKENS[:, :n]
        for site in ("hook_mlp_out", "attn.hook_z", "hook_resid_post"):
            hook = Hook(f"blocks.1.{site}")
            if hook not in [point.name for point in subject.hooks()] or n < 2:
                continue
            kept = subject.keep(tokens, hook)
            again = subject.last(kept.of(torch.tensor([1, 0]), 1), {hook: lambda x: x.flip(-1)})
            whole = {hook: lambda x: torch.cat([x[:, :1], x[:, 1:].flip(-1)], dim=1)}
            torch.testing.assert_close(again, subject.last(tokens[[1, 0]], whole)[:, 1:], rtol=1e-4, atol=2e-5)


def test_places_that_are_one_modules_input_are_edited_in_the_order_of_the_pass():
    """What the MLP reads is read of the stream behind the edit there, whatever comes first in a dictionary."""
    subject = build("olmo2")
    twice, zeros = (lambda x: 2 * x), torch.zeros_like
    both = {"blocks.0.hook_mlp_in": zeros, "blocks.0.hook_resid_mid": twice}
    found = subject.run(TOKENS, edits=both).logits
    torch.testing.assert_close(found, subject.run(TOKENS, edits=dict(reversed(both.items()))).logits)
    seen = subject.run(TOKENS, edits={"blocks.0.hook_mlp_in": zeros}, read=["blocks.0.hook_resid_mid"]).values
    torch.testing.assert_close(
        seen["blocks.0.hook_resid_mid"], subject.read(TOKENS, ["blocks.0.hook_resid_mid"])["blocks.0.hook_resid_mid"]
    )


def test_the_unembedding_by_its_path_is_what_it_gives():
    subject = build("llama")
    hook = "module:lm_head"
    assert subject.width(hook) == 50
    seen = subject.run(TOKENS, edits={hook: torch.ones_like}, read=[hook])
    assert bool((seen.logits == 1).all()) and bool((seen.values[hook] == 1).all())
    torch.testing.assert_close(
        subject.predict(subject.last(TOKENS).flatten(0, 1)), subject.run(TOKENS).logits.flatten(0, 1)
    )


def test_passes_of_several_threads_come_one_after_another():
    subject = build("llama")
    edits = {"blocks.0.hook_resid_post": torch.zeros_like}
    expected = {True: subject.last(TOKENS, edits), False: subject.last(TOKENS)}
    found = {True: [], False: []}

    def work(edited):
        for _ in range(30):
            found[edited].append(subject.last(TOKENS, edits if edited else None))

    threads = [threading.Thread(target=work, args=(edited,)) for edited in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for edited, every in found.items():
        assert len(every) == 30 and all(torch.equal(one, expected[edited]) for one in every)


def test_without_keys_and_values():
    subject = build("llama")
    kept = subject.keep(TOKENS, "blocks.1.hook_resid_pre", positions=False)
    assert kept.past is None and kept.finished
    torch.testing.assert_close(*edited(subject, kept, "blocks.1.hook_resid_pre", 4), rtol=1e-4, atol=2e-5)


def test_several_edits_behind_one_another():
    subject = build("llama")
    kept = subject.keep(TOKENS, "blocks.0.attn.hook_z")
    edits = {"blocks.0.attn.hook_z:1": torch.zeros_like, "blocks.1.hook_mlp_out": lambda x: 2 * x}
    torch.testing.assert_close(subject.last(kept, edits), subject.last(TOKENS, edits))
    seen = subject.run(kept.of(torch.arange(2), 3), read=["blocks.1.attn.hook_q"])
    behind = "blocks.1.attn.hook_q"
    torch.testing.assert_close(seen.values[behind], subject.read(TOKENS, [behind])[behind][:, 3:])


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_others_of_a_fused_projection_are_edited(family):
    subject = build(family)
    kept = subject.keep(TOKENS, "blocks.1.attn.hook_k:0")
    for beside in ("attn.hook_q:1", "attn.hook_v:1", "attn.hook_v"):
        edits = {f"blocks.1.{beside}": lambda x: 2 * x}
        torch.testing.assert_close(subject.last(kept, edits), subject.last(TOKENS, edits))


def test_what_lies_before_is_refused():
    subject = build("llama")
    kept = subject.keep(TOKENS, "blocks.1.hook_mlp_out")
    with pytest.raises(UserError, match=r"hook_resid_pre' lies before 'blocks\.1\.hook_mlp_out"):
        subject.run(kept, edits={"blocks.1.hook_resid_pre": torch.zeros_like})
    with pytest.raises(UserError, match="hook_resid_post' lies before"):
        subject.run(kept, read=["blocks.0.hook_resid_post"])
    for before in ("module:model.embed_tokens", "blocks.1.hook_mlp_in", "module:model.layers.1.self_attn"):
        with pytest.raises(UserError, match="lies before"):
            subject.run(kept, edits={before: torch.zeros_like})
    inside = subject.keep(TOKENS, "module:model.layers.1.mlp.up_proj")
    with pytest.raises(UserError, match="lies before"):
        subject.run(inside, edits={"blocks.1.hook_mlp_in": torch.zeros_like})
    subject.run(kept, edits={"module:model.norm": lambda x: 2 * x, "module:lm_head": lambda x: 2 * x})
    with pytest.raises(UserError, match="Position 7 of rows of 7 tokens"):
        kept.of(torch.tensor([0]), 7)


def test_a_module_that_has_no_name_here():
    subject = build("llama")
    hook = "module:model.layers.1.mlp.up_proj"
    kept = subject.keep(TOKENS, hook)
    assert set(kept.finished) and kept.past is not None
    torch.testing.assert_close(*edited(subject, kept, hook, 4), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision(dtype):
    subject = build("llama")
    subject.hf.to(dtype)
    hook = "blocks.1.hook_resid_pre"
    kept = subject.keep(TOKENS, hook)
    assert kept.finished and kept.past is not None
    again, whole = edited(subject, kept, hook, 4)
    assert (again - whole).norm() < 0.02 * whole.norm()


def test_hooks_of_ones_own_act_once():
    """A person's hook on a block that is not run again was in what was kept, and acted on it a second time."""
    model, hook = build("llama"), "blocks.0.hook_resid_post"
    tokens = torch.arange(3, 17).view(2, 7)
    model.keep(tokens, hook)
    more = torch.randn(24, generator=torch.Generator().manual_seed(0))
    own = model.hf.model.layers[0].register_forward_hook(
        lambda _, args, given: (given[0] + more, *given[1:]) if isinstance(given, tuple) else given + more
    )
    kept, plain = model.keep(tokens, hook), model.run(tokens).logits
    torch.testing.assert_close(model.run(kept).logits, plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.run(kept.of(torch.tensor([1]), 3)).logits, plain[1:, 3:], rtol=1e-4, atol=1e-5)
    own.remove()
