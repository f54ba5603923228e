"""The same model by two homes: interp-engine finds its places in every architecture by rules of its own, so where both
give the same numbers, both have read the place that the name says.

On a machine with GPUs and vLLM, `pytest -m gpu tests/lm/test_engine.py` holds vLLM's against those of transformers.
"""

from importlib.util import find_spec

import pytest
import torch
import transformers as hf

from sparselex.activations.config import HarvestConfig
from sparselex.activations.harvest import harvest
from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.lm.config import ModelConfig
from sparselex.lm.embedded import EMBEDDED
from sparselex.lm.homes.interp_engine import OTHERWISE, EngineModel, on_transformers
from sparselex.lm.load import load_model
from sparselex.lm.subject import SubjectModel
from sparselex.recipes.stages.harvest import Harvest
from tests.lm.small_models import CONFIGS, TOKENS, build, mpt
from tests.support.small import shards, small_run
from tests.support.subjects import saved

pytestmark = pytest.mark.skipif(find_spec("interp_engine") is None, reason="the package interp-engine is not installed")

LACKING = {
    "attn.hook_q": "projections that no norm reads are no point of it",
    "attn.hook_k": "projections that no norm reads are no point of it",
    "opt hook_resid_mid": "it has no name for that norm",
    "gpt_neo attn.hook_v": "attention lies a module deeper than it looks",
    "gpt_neo attn.hook_z": "attention lies a module deeper than it looks",
    "lfm2 hook_attn_out": "a convolution in attention's place is no point of it",
}
"""What the engine has not of an architecture that we have; all else it must have."""


@pytest.fixture(scope="module")
def hf_tokenizer():
    return hf.AutoTokenizer.from_pretrained(EMBEDDED["embedded"])


@pytest.fixture(scope="module", params=CONFIGS)
def homes(request, hf_tokenizer):
    ours = build(request.param)
    return ours, on_transformers(ours, hf_tokenizer)


def test_both_homes_read_the_same_values(homes):
    ours, theirs = homes
    family = ours.hf.config.model_type
    assert isinstance(theirs, SubjectModel) and theirs.id == ours.id
    known = [point.name for point in theirs.hooks()]
    found, expected = theirs.read(TOKENS, known), ours.read(TOKENS, known)
    for hook in known:
        torch.testing.assert_close(found[hook], expected[hook], rtol=1e-5, atol=3e-6, msg=lambda m, h=hook: f"{h}: {m}")
        assert theirs.width(hook) == ours.width(hook)
    for point in ours.hooks():
        if point.name not in known:
            site = point.name.site
            assert site in LACKING or f"{family} {site}" in LACKING or (family, site) in OTHERWISE, point.name
            with pytest.raises(UserError, match="interp-engine does not read"):
                theirs.read(TOKENS, [point.name])


@pytest.mark.slow
def test_both_homes_predict_the_same(homes):
    ours, theirs = homes
    if not ours.ends_in_a_norm:
        with pytest.raises(UserError, match="ends without a norm"):
            theirs.run(TOKENS)
        return
    torch.testing.assert_close(theirs.run(TOKENS).logits, ours.run(TOKENS).logits, rtol=1e-5, atol=3e-6)


@pytest.mark.slow
def test_heads_are_the_same(homes):
    ours, theirs = homes
    for point in theirs.hooks():
        if point.name.site.startswith("attn.hook_"):
            assert theirs.per_head(point.name) == ours.per_head(point.name)
            one = f"{point.name}:{theirs.per_head(point.name)[0] - 1}"
            torch.testing.assert_close(theirs.read(TOKENS, [one])[one], ours.read(TOKENS, [one])[one])


@pytest.fixture(scope="module")
def engine():
    return load_model(ModelConfig(name="embedded", engine="interp-engine"))


def test_modules_by_their_paths(engine):
    hook = "module:gpt_neox.layers.0.mlp.dense_h_to_4h"
    tokens = torch.arange(24).view(2, 12)
    torch.testing.assert_close(engine.read(tokens, [hook])[hook], load_model("embedded").read(tokens, [hook])[hook])
    assert engine.width(hook) == 512


def test_what_is_kept_gives_what_the_other_home_gives(engine):
    """It runs whole every time, to the same end."""
    ours, hook = load_model("embedded"), "blocks.0.hook_mlp_out"
    tokens, rows = torch.arange(24).view(2, 12), torch.tensor([1, 0, 0])
    found = [model.keep(tokens, hook) for model in (ours, engine)]
    torch.testing.assert_close(found[1].values, found[0].values)
    logits = [model.run(kept.of(rows, 5)).logits for model, kept in zip((ours, engine), found, strict=True)]
    assert logits[1].shape == (3, 7, ours.n_vocab)
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-4)
    last = [model.predict(model.extend(tokens).last.flatten(0, 1)) for model in (ours, engine)]
    torch.testing.assert_close(last[1], last[0], rtol=1e-4, atol=1e-4)
    assert engine.extend(tokens).past is None
    with pytest.raises(UserError, match="the engine only reads"):
        engine.last(found[1], {hook: torch.zeros_like})


def test_an_architecture_that_has_no_names_here(hf_tokenizer):
    """The engine finds its places by what modules are called, and so it may have what our table lacks."""
    theirs = on_transformers(mpt(2), hf_tokenizer)
    found = theirs.read(TOKENS, ["blocks.1.hook_resid_post", "blocks.1.mlp.hook_post"])
    hidden = theirs.held.hf(input_ids=TOKENS, output_hidden_states=True).hidden_states
    torch.testing.assert_close(theirs.held.hf.transformer.norm_f(found["blocks.1.hook_resid_post"]), hidden[-1])
    assert theirs.width("blocks.1.mlp.hook_post") == 96
    with pytest.raises(UserError, match="known architecture"):
        theirs.readout("blocks.1.hook_resid_post")


def test_what_it_does_not_do_is_refused_by_name(engine):
    hook, tokens = "blocks.0.hook_mlp_out", torch.arange(8)[None]
    with pytest.raises(UserError, match="Edits of embedded were asked for"):
        engine.run(tokens, edits={hook: torch.zeros_like})
    with pytest.raises(UserError, match="Gradients in embedded were asked for"):
        engine.run(tokens, read=[hook], grad=True)
    for wrong, words in (
        ("blocks.0.hook_mpl_out", "Unknown hook"),
        ("blocks.3.hook_mlp_out", "Unknown hook"),
        ("blocks.0.attn.hook_q", "interp-engine does not read"),
        ("module:gpt_neox.nothing", "has no module"),
        ("blocks.0.attn.hook_z:4", "has 4 heads and none of number 4"),
    ):
        with pytest.raises(UserError, match=words):
            engine.read(tokens, [wrong])
    with pytest.raises(UserError, match="ids from 0 to"):
        engine.read(tokens + 10**6, [hook])


def test_a_twin_and_logit_effects(engine):
    """The weights are in this process, so both are what they are without it."""
    hook = "blocks.0.mlp.hook_post"
    assert torch.equal(engine.readout(hook).unembed, load_model("embedded").readout(hook).unembed)
    config = ModelConfig(name="embedded", twin="permuted", engine="interp-engine")
    assert load_model(config).id == load_model(config.model_copy(update={"engine": "transformers"})).id != engine.id


@pytest.fixture(scope="module")
def apart(engine):
    """The engine's model as vLLM's is held: as though its weights were in another process."""
    text_config = engine.held.hf.config.get_text_config()
    return EngineModel(engine.engine, text_config, engine.tokenizer, engine.config, None, "apart")


@pytest.mark.parametrize("home", ["engine", "apart"])
def test_a_head_that_there_is_not_has_no_width(home, request):
    model, hook = request.getfixturevalue(home), "blocks.0.attn.hook_z"
    n_heads, d_head = model.per_head(hook)
    assert model.width(f"{hook}:{n_heads - 1}") == d_head
    with pytest.raises(UserError, match=f"has {n_heads} heads and none of number {n_heads}"):
        model.width(f"{hook}:{n_heads}")


def test_rows_from_another_process_come_back_in_their_order(engine, apart):
    """What vLLM is asked, of the engine's model in this process: a call for each row, all under way together."""
    tokens = torch.randint(0, 1000, (7, 20), generator=torch.Generator().manual_seed(0))
    tokens[1:, :10] = tokens[0, :10]
    hooks = [point.name for point in apart.hooks()]
    found, expected = apart.read(tokens, hooks), engine.held.read(tokens, hooks)
    assert list(found) == hooks == [point.name for point in engine.hooks()]
    for hook in hooks:
        torch.testing.assert_close(found[hook], expected[hook], rtol=1e-4, atol=1e-5)
    passed = apart.run(tokens, read=hooks[:1])
    torch.testing.assert_close(passed.logits, engine.held.run(tokens).logits, rtol=1e-4, atol=1e-4)
    assert list(passed.values) == hooks[:1] and apart.run(tokens, logits=False).predicted is None
    with pytest.raises(UserError, match="vLLM holds the weights of embedded"):
        apart.readout("blocks.0.hook_mlp_out")
    with pytest.raises(UserError, match="interp-engine does not read"):
        apart.read(tokens, ["blocks.0.hook_mpl_out"])
    with pytest.raises(UserError, match="interp-engine does not read"):
        apart.read(tokens, ["module:gpt_neox.nothing"])


def test_without_the_package(monkeypatch):
    monkeypatch.setattr("sparselex.lm.homes.interp_engine.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install interp-engine"):
        load_model(ModelConfig(name="embedded", engine="interp-engine"))


@pytest.mark.slow
def test_harvest_and_index_by_the_engine(tmp_path):
    """The same activations, so the same artifact; evaluation, which edits, says who can."""
    run = small_run(tmp_path, {"expansion": 0.5, "k": 8, "n_tokens": 20_000}, engine="interp-engine")
    run.do("train")
    run.do("index")
    assert run.index.record(0) is not None
    sites = Sites.at("blocks.0.mlp.hook_post")
    one = shards(harvest(run.model, run.corpus, sites, HarvestConfig(), tmp_path / "a"))
    other = shards(harvest(load_model("embedded"), run.corpus, sites, HarvestConfig(), tmp_path / "b"))
    torch.testing.assert_close(one[0].x, other[0].x, rtol=1e-5, atol=3e-6)
    with pytest.raises(UserError, match="--engine transformers"):
        run.do("evaluate")
    made = run.manifest("index").id
    again = run.begun_anew(Harvest(engine="transformers"), ["engine"])
    again.do("harvest")
    assert again.manifest("index").id == made and again.do("evaluate").figures


@pytest.mark.gpu
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "gemma3_text", "olmo2", "mixtral"])
def test_vllm_equals_transformers(name, tmp_path):
    """Rows in their order, whole though they begin alike (vLLM keeps what it has read of a beginning), and its logits.

    Small models with random weights, saved and read from files; half precision is what its kernels are made for.
    """
    config = ModelConfig(name=saved(tmp_path, build(name).hf), device="cuda", dtype="bfloat16")
    ours, theirs = load_model(config), load_model(config.model_copy(update={"engine": "interp-engine"}))
    tokens = torch.randint(3, 50, (24, 30), generator=torch.Generator().manual_seed(0))
    tokens[1:12, :20] = tokens[0, :20]
    hooks = [point.name for point in theirs.hooks()]
    assert f"blocks.{ours.n_layers - 1}.hook_resid_post" in hooks
    for _ in range(2):  # the second time from what is kept, were it used
        found, expected = theirs.read(tokens, hooks), ours.read(tokens, hooks)
        for hook in hooks:
            own = expected[hook].float().cpu()
            error = (found[hook].float() - own).norm(dim=-1) / own.norm(dim=-1).clamp(min=1e-3)
            assert float(error.max()) < 0.05, hook
    logits, own = theirs.run(tokens).logits.float(), ours.run(tokens).logits.float().cpu()
    assert float((logits - own).norm() / own.norm()) < 0.05
