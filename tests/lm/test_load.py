"""What load_model takes, and what it refuses in one message: weights of another architecture, models that see ahead."""

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from sparselex.base.errors import UserError
from sparselex.lm import load
from sparselex.lm.config import ModelConfig
from sparselex.lm.load import load_model
from sparselex.recipes.choice import TrainingChoice
from sparselex.recipes.stages.train import Train
from sparselex.recipes.work.choices import train_config
from sparselex.recipes.work.train import train_run
from tests.lm.small_models import CONFIGS, HANDWRITTEN, MPT, OPT_350M, SMALL
from tests.support.small import small_run
from tests.support.subjects import saved

OF_TEXT = SMALL | {"vocab_size": 4096, "max_position_embeddings": 64}
"""A model that the embedded one's tokens can be given to."""


def changed(folder, config, change):
    """A checkpoint with random weights, its tensors changed by hand."""
    saved(folder, config)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def less(tensors):
    del tensors["model.layers.1.mlp.up_proj.weight"]


def more(tensors):
    tensors["model.layers.1.self_attn.k_norm.weight"] = torch.ones(6)


def misshapen(tensors):
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.ones(41, 24)


def more_bias(tensors):
    """Named as GPT-2 named its masks, and a weight here: of the heads' outputs, say."""
    tensors["model.layers.1.self_attn.bias"] = torch.ones(24)


def no_head(tensors):
    del tensors["lm_head.weight"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (less, r"missing: model\.layers\.1\.mlp\.up_proj\.weight"),
        (more, r"read by nothing: model\.layers\.1\.self_attn\.k_norm\.weight"),
        (more_bias, r"read by nothing: model\.layers\.1\.self_attn\.bias\)"),
        (misshapen, r"of another shape: model\.layers\.0\.mlp\.up_proj\.weight \[41, 24\] for \[40, 24\]"),
        (no_head, r"missing: lm_head\.weight"),
    ],
)
def test_weights_that_are_not_those_of_the_architecture(tmp_path, change, words):
    with pytest.raises(UserError, match=words) as refused:
        load_model(changed(tmp_path, hf.LlamaConfig(**SMALL, tie_word_embeddings=False), change))
    assert len(str(refused.value).splitlines()) <= 4, "one message"


def inverse_frequencies(tensors):
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(3)


def causal_masks(tensors):
    tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 32, 32)
    tensors["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)


def masks_without_the_models_name(tensors):
    """As the checkpoint of OpenAI itself."""
    causal_masks(tensors)
    for name in list(tensors):
        tensors[name.removeprefix("transformer.")] = tensors.pop(name)


def masks_of_neo(tensors):
    tensors["transformer.h.0.attn.attention.bias"] = torch.ones(1, 1, 32, 32).bool()
    tensors["transformer.h.0.attn.attention.masked_bias"] = torch.tensor(-1e9)


def masks_of_pythia(tensors):
    tensors["gpt_neox.layers.0.attention.bias"] = torch.ones(1, 1, 32, 32).bool()
    tensors["gpt_neox.layers.0.attention.masked_bias"] = torch.tensor(-1e4)
    tensors["gpt_neox.layers.0.attention.rotary_emb.inv_freq"] = torch.ones(3)


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (hf.LlamaConfig(**SMALL, tie_word_embeddings=True), lambda tensors: None),
        (hf.LlamaConfig(**SMALL), inverse_frequencies),
        (HANDWRITTEN["gpt2"], causal_masks),
        (HANDWRITTEN["gpt2"], masks_without_the_models_name),
        (CONFIGS["gpt_neo"], masks_of_neo),
        (CONFIGS["gptj"], causal_masks),
        (hf.GPTNeoXConfig(**SMALL), masks_of_pythia),
    ],
    ids=["tied", "inv_freq", "gpt2", "gpt2 without a head", "gpt-neo", "gpt-j", "pythia"],
)
def test_what_is_tied_or_computed_anew_need_not_be_there_and_may_be(tmp_path, config, change):
    model = load_model(changed(tmp_path, config, change))
    torch.manual_seed(0)
    made = hf.AutoModelForCausalLM.from_config(config)
    tokens = torch.arange(8)[None]
    torch.testing.assert_close(model.run(tokens).logits, made.eval()(tokens).logits)


def bert(**options):
    return hf.BertConfig(**SMALL, **options)


def test_a_model_that_sees_later_tokens_is_refused(tmp_path):
    """Whatever its kind: an encoder's loss would be a figure like any other."""
    with pytest.raises(UserError, match="sees later tokens"):
        load_model(saved(tmp_path, bert()))


@pytest.mark.parametrize(
    "config",
    [
        hf.LlamaConfig(**SMALL, is_causal=False),
        hf.Gemma3TextConfig(**SMALL, head_dim=8, use_bidirectional_attention=True),
    ],
    ids=["is_causal", "use_bidirectional_attention"],
)
def test_a_known_family_that_is_told_to_see_them_is_refused(tmp_path, config):
    with pytest.raises(UserError, match="sees later tokens"):
        load_model(saved(tmp_path, config))


def test_attention_that_there_is_not_is_told_of_attention(tmp_path):
    folder = saved(tmp_path, hf.LlamaConfig(**SMALL))
    with pytest.raises(UserError, match="cannot compute attention as 'nonsense'") as caught:
        load_model(ModelConfig(name=str(folder), attention="nonsense"))
    assert "--attention" in str(caught.value) and "network" not in str(caught.value)


def test_a_decoder_of_the_same_architecture_is_not(tmp_path):
    assert load_model(saved(tmp_path, bert(is_decoder=True))).run(torch.arange(8)[None]).logits.shape == (
        1,
        8,
        SMALL["vocab_size"],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "note"),
    [
        (hf.MambaConfig(vocab_size=4096, hidden_size=24, num_hidden_layers=2, state_size=4), "direct path"),
        (hf.OPTConfig(**OPT_350M | OF_TEXT), "normalise the stream itself"),
        (hf.MptConfig(**MPT | {"vocab_size": 4096, "max_seq_len": 64}), "one linear step"),
    ],
    ids=["no heads", "no final norm", "no names"],
)
def test_models_are_read_as_far_as_they_go(tmp_path, config, note):
    """Every stage, whatever an architecture lacks; the index says why there are no logit effects."""
    hook = "module:transformer.blocks.0" if config.model_type == "mpt" else "blocks.0.hook_resid_post"
    (tmp_path / "model").mkdir()
    training = {"expansion": 2, "k": 4, "n_tokens": 4_000}
    model = saved(tmp_path / "model", config)
    run = small_run(tmp_path, training, model=model, hook=hook, n_tokens=8_000)
    for verb in ("train", "index", "explain", "evaluate"):
        run.do(verb)
    assert note in run.index.manifest.notes["logits"]


def test_a_padding_token_that_was_added_to_the_tokenizer_alone(tmp_path):
    """The embedding has no row for it: rows are padded with another special token, and every stage goes on."""
    (tmp_path / "model").mkdir()
    name = saved(tmp_path / "model", hf.LlamaConfig(**OF_TEXT))
    tokenizer = hf.AutoTokenizer.from_pretrained(name)
    tokenizer.add_special_tokens({"pad_token": "<pad of its own>"})
    tokenizer.save_pretrained(name)
    assert tokenizer.pad_token_id >= 4096
    model = load_model(name)
    assert model.tokenizer.pad_id is None and model.tokenizer.eos_id is not None
    run = small_run(tmp_path, model=name, hook="blocks.1.hook_resid_post")
    run.do("harvest")
    assert run.corpus.pad_id == model.tokenizer.eos_id


def test_a_device_without_float64(tmp_path, monkeypatch):
    """As Apple's: models run there, dictionaries beside them on the CPU; no such device is here, so its answer is
    played."""
    held = load._lacks
    answer = lambda name, dtype: "no float64" if dtype == torch.float64 and name != "cpu" else held(name, dtype)
    monkeypatch.setattr(load, "_lacks", answer)
    assert load.float64_device("cpu:0") == "cpu"
    load.check_device("cpu:0")
    run = small_run(tmp_path, {"expansion": 0.5, "k": 8, "n_tokens": 8_000}, device="cpu:0")
    config = train_config(run, TrainingChoice(expansion=0.5, k=8))
    assert config.device == "cpu" and run.model.config.device == "cpu:0"
    with pytest.raises(UserError, match="has no float64"):
        train_run(run, Train(config=config.to_json() | {"device": "cpu:0"}))


def test_a_device_that_is_not_here_is_not_taken_for_one_without_float64():
    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    assert load.float64_device(absent) == absent
    with pytest.raises(UserError, match="cannot be used"):
        load_model(ModelConfig(name="embedded", device=absent))
