"""Fields of foreign files: none that changes numbers is left out in silence."""

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from sparselex.base.errors import UserError
from sparselex.convert.doors import export_dictionary, import_dictionary
from sparselex.testing import check_dictionary
from tests.support.foreign import (
    B_DEC,
    B_ENC,
    D_IN,
    D_SAE,
    PRE,
    RAW,
    THRESHOLD,
    UNIT,
    W_DEC,
    W_ENC,
    X,
    agree,
    jump,
    top,
)

ROWS = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
COLUMNS = {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC}
STREAM = "blocks.1.hook_resid_pre"


def plain(tensors):
    return {name: value.contiguous() for name, value in tensors.items()}


def saelens(folder, cfg=None, **tensors):
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps({"architecture": "standard", "hook_name": STREAM} | (cfg or {})))
    save_file(plain(ROWS | tensors), folder / "sae_weights.safetensors")
    return folder


FACTORS = torch.linspace(0.5, 2, D_SAE)


@pytest.mark.parametrize("name", ["scaling_factor", "finetuning_scaling_factor"])
def test_factors_of_finetuning_multiply_activations(name, tmp_path):
    folder = saelens(tmp_path / "d", {"finetuning_scaling_factor": True}, **{name: FACTORS})
    rows = W_DEC * FACTORS[:, None]
    agree(import_dictionary(folder), PRE.relu(), rows)
    with pytest.raises(UserError, match="its settings do not say finetuning_scaling_factor"):
        import_dictionary(saelens(tmp_path / "e", {"finetuning_scaling_factor": False}, **{name: FACTORS}))


CENTRED = X - X.mean(-1, keepdim=True)
CENTRING = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}


def test_a_stream_that_was_centred_is_centred_and_put_back(tmp_path):
    found = import_dictionary(saelens(tmp_path / "d", CENTRING))
    acts = ((CENTRED - B_DEC) @ W_ENC + B_ENC).relu()
    agree(found, acts, W_DEC, acts @ W_DEC + B_DEC + X.mean(-1, keepdim=True))
    assert found.dictionary.config.token_norm == "mean"
    assert any("center_writing_weights: the mean" in warning for warning in found.warnings)
    with pytest.raises(UserError, match="no place in the layout of SAELens"):
        export_dictionary(found.dictionary, tmp_path / "e", "saelens")


@pytest.mark.parametrize(
    ("hook", "options"),
    [("blocks.1.mlp.hook_post", {}), (STREAM, {"model_from_pretrained_kwargs": {}})],
    ids=["inside the MLP", "as the person says"],
)
def test_values_that_centring_leaves_are_read_as_they_are(hook, options, tmp_path):
    found = import_dictionary(saelens(tmp_path / "d", CENTRING | {"hook_name": hook}), options=options)
    agree(found, PRE.relu(), W_DEC)


@pytest.mark.parametrize(
    ("cfg", "words"),
    [
        (
            CENTRING | {"architecture": "transcoder", "hook_name_out": STREAM},
            "a transcoder on a stream that was centred",
        ),
        (
            CENTRING | {"normalize_activations": "constant_norm_rescale"},
            "scales the length of tokens that were centred",
        ),
        (
            {"hook_name": "blocks.1.attn.hook_z", "model_from_pretrained_kwargs": {"fold_value_biases": True}},
            "a model with fold_value_biases, which changes the values of blocks.1.attn.hook_z",
        ),
        (
            {"hook_name": "blocks.1.ln2.hook_normalized", "model_from_pretrained_kwargs": {"fold_ln": True}},
            "a model with fold_ln",
        ),
        ({"model_from_pretrained_kwargs": 3}, "model_from_pretrained_kwargs is 3, and no table"),
        ({"hook_name": "blocks.1.attn.hook_z", "hook_head_index": 1.5}, "hook_head_index is 1.5"),
        ({"hook_name": "blocks.0.hook_mlp_out+blocks.1.hook_mlp_out", "hook_head_index": 1}, "reads several places"),
        ({"normalize_activations": True}, "normalises its inputs"),
    ],
    ids=range(8),
)
def test_what_saelens_does_and_ours_do_not_is_refused(cfg, words, tmp_path):
    with pytest.raises(UserError, match=words):
        import_dictionary(saelens(tmp_path / "d", cfg))


@pytest.mark.parametrize("name", ["hook_head_index", "hook_point_head_index"])
def test_the_head_that_is_meant(name, tmp_path):
    found = import_dictionary(saelens(tmp_path / "d", {"hook_name": "blocks.1.attn.hook_z", name: 3}))
    assert found.hooks == ("blocks.1.attn.hook_z:3",)


@pytest.mark.parametrize(
    ("cfg", "words"),
    [
        ({"seqpos_slice": [5, -5]}, "seqpos_slice is [5, -5]: it was trained on these tokens alone"),
        ({"model_from_pretrained_kwargs": {"revision": "step1000"}}, "revision is 'step1000'"),
        ({"model_from_pretrained_kwargs": {"fold_all": 1}}, "fold_all=1"),
        ({"temperature": 2.5, "metadata": {"tone": "warm"}}, "temperature=2.5, tone='warm'"),
    ],
    ids=str,
)
def test_what_saelens_says_besides_is_told(cfg, words, tmp_path):
    assert any(words in warning for warning in import_dictionary(saelens(tmp_path / "d", cfg)).warnings)


def test_what_is_known_and_changes_nothing_is_not_told(tmp_path):
    cfg = {
        "d_in": D_IN,
        "d_sae": D_SAE,
        "dtype": "float32",
        "device": "cuda",
        "model_name": "gpt2-small",
        "hook_layer": 1,
        "hook_head_index": None,
        "activation_fn_str": "relu",
        "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False,
        "context_size": 256,
        "prepend_bos": True,
        "dataset_path": "a/b",
        "dataset_trust_remote_code": True,
        "normalize_activations": "none",
        "sae_lens_training_version": None,
        "seqpos_slice": [None],
        "model_from_pretrained_kwargs": {"center_writing_weights": False},
        "l1_coefficient": 5,
        "lr_scheduler_name": "constant",
    }
    found = import_dictionary(saelens(tmp_path / "d", cfg))
    assert found.warnings == ()
    assert found.stated == {"context_size": 256, "prepend_bos": True, "dataset": "a/b"}


def test_the_new_autoencoder_of_dictionary_learning(tmp_path):
    """Neither input nor output is centred: both biases are those of its layers."""
    trainer = {"dict_class": "AutoEncoderNew", "lm_name": "m", "activation_dim": D_IN, "dict_size": D_SAE, "lr": 1e-4}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
    torch.save(COLUMNS | {"decoder.weight": W_DEC.T, "decoder.bias": B_DEC}, tmp_path / "ae.pt")
    found = import_dictionary(tmp_path)
    agree(found, RAW.relu(), W_DEC)
    assert found.warnings == () and found.stated == {"context_size": 128}


def test_a_jumprelu_of_dictionary_learning_may_centre_its_input(tmp_path):
    trainer = {"dict_class": "JumpReluAutoEncoder", "apply_b_dec_to_input": True}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer}))
    torch.save(ROWS | {"threshold": THRESHOLD}, tmp_path / "ae.pt")
    agree(import_dictionary(tmp_path), jump(PRE, THRESHOLD), W_DEC)


def _sparsify(folder, cfg, extra):
    (folder / "cfg.json").write_text(json.dumps({"k": 4, "d_in": D_IN} | cfg))
    save_file(plain(COLUMNS | {"W_dec": UNIT, "b_dec": B_DEC} | extra), folder / "sae.safetensors")


def _dictionary_learning(folder, cfg, extra):
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoder"} | cfg}))
    torch.save(COLUMNS | {"decoder.weight": W_DEC.T, "bias": B_DEC} | extra, folder / "ae.pt")


def _crosscoder(folder, cfg, extra):
    (folder / "config.json").write_text(json.dumps({"dict_class": "CrossCoder"} | cfg))
    encoder = torch.stack([W_ENC, W_ENC])
    tensors = {"encoder.weight": encoder, "encoder.bias": B_ENC, "decoder.weight": torch.stack([W_DEC, W_DEC])}
    save_file(plain(tensors | {"decoder.bias": torch.stack([B_DEC, B_DEC])} | extra), folder / "model.safetensors")


def _llama_scope(folder, cfg, extra):
    (folder / "checkpoints").mkdir()
    settings = {"act_fn": "relu", "norm_activation": "none", "hook_point_in": STREAM}
    (folder / "hyperparams.json").write_text(json.dumps(settings | cfg))
    tensors = COLUMNS | {"decoder.weight": W_DEC.T, "decoder.bias": B_DEC} | extra
    save_file(plain(tensors), folder / "checkpoints" / "final.safetensors")


def _llamascopium(folder, cfg, extra):
    settings = {"act_fn": "relu", "norm_activation": "none", "hook_point_in": STREAM, "d_model": D_IN}
    (folder / "config.json").write_text(json.dumps(settings | cfg))
    save_file(
        plain({"W_E": W_ENC, "b_E": B_ENC, "W_D": W_DEC, "b_D": B_DEC} | extra), folder / "sae_weights.safetensors"
    )


def _gemma_scope(folder, cfg, extra):
    tensors = ROWS | {"threshold": THRESHOLD} | extra
    np.savez(folder / "params.npz", **{name: value.numpy() for name, value in tensors.items()})


def _gemma_scope_2(folder, cfg, extra):
    (folder / "config.json").write_text(json.dumps({"architecture": "jump_relu"} | cfg))
    tensors = {name.lower(): value for name, value in ROWS.items()} | {"threshold": THRESHOLD}
    save_file(plain(tensors | extra), folder / "params.safetensors")


def _circuit_tracer(folder, cfg, extra):
    (folder / "config.yaml").write_text(yaml.safe_dump({"model_kind": "transcoder_set"} | cfg))
    save_file(plain(ROWS | {"W_enc": W_ENC.T} | extra), folder / "layer_1.safetensors")


def _circuit_tracer_clt(folder, cfg, extra):
    (folder / "config.yaml").write_text(yaml.safe_dump({"model_kind": "cross_layer_transcoder"} | cfg))
    for layer in (0, 1):
        read = {"W_enc": W_ENC.T, "b_enc": B_ENC, "b_dec": B_DEC}
        named = {f"{name}_{layer}": value for name, value in read.items()}
        save_file(plain(named | (extra if layer else {})), folder / f"W_enc_{layer}.safetensors")
        written = {f"W_dec_{layer}": torch.stack([W_DEC] * (2 - layer), 1)}
        save_file(plain(written), folder / f"W_dec_{layer}.safetensors")


def _openai(folder, cfg, extra):
    tensors = {"encoder.weight": W_ENC.T, "latent_bias": B_ENC, "decoder.weight": UNIT.T, "pre_bias": B_DEC}
    torch.save(tensors | extra | cfg, folder / "7.pt")


def _tensors(folder, cfg, extra):
    torch.save(ROWS | extra | {"cfg": cfg}, folder / "7.pt")


WRITERS = {
    "sparsify": _sparsify,
    "dictionary_learning": _dictionary_learning,
    "crosscoder_learning": _crosscoder,
    "llama_scope": _llama_scope,
    "llamascopium": _llamascopium,
    "gemma_scope": _gemma_scope,
    "gemma_scope_2": _gemma_scope_2,
    "circuit-tracer": _circuit_tracer,
    "circuit-tracer-clt": _circuit_tracer_clt,
    "openai": _openai,
    "tensors": _tensors,
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_format_does_not_know_is_named(name, tmp_path):
    """And what it knows is not."""
    for folder, cfg, extra in (("a", {}, {}), ("b", {"temperature": 2.5}, {"gain": torch.ones(3)})):
        (tmp_path / folder).mkdir()
        WRITERS[name](tmp_path / folder, cfg, extra)
    known, unknown = (import_dictionary(tmp_path / folder) for folder in "ab")
    assert known.format == name
    check_dictionary(known.dictionary)
    assert not any("left out" in warning for warning in known.warnings)
    told = " ".join(unknown.warnings)
    assert "gain" in told
    assert "temperature=2.5" in told or name == "gemma_scope", "which has no settings"
    with pytest.raises(UserError, match="--option colour is no field of this format"):
        import_dictionary(tmp_path / "a", options={"colour": "red"})


def test_the_norms_of_a_crosscoder_by_their_name_in_the_settings(tmp_path):
    """Where no tensor has their number."""
    for name, norms in (("SAE", 2**0.5), ("NONE", 1 / W_DEC.norm(dim=-1)), ("CROSSCODER", 2)):
        folder = tmp_path / name
        folder.mkdir()
        _crosscoder(folder, {"code_normalization": name}, {"threshold": torch.tensor(6.0)})
        pre = 2 * X @ W_ENC + B_ENC
        acts = jump(pre, 6.0 / (W_DEC.norm(dim=-1) * norms))
        codes = import_dictionary(folder).dictionary.encode(torch.cat([X, X], 1))
        torch.testing.assert_close(codes > 0, acts > 0)


def test_a_field_that_the_files_lack_is_given_by_the_person(tmp_path):
    _sparsify(tmp_path, {"k": None}, {})
    with pytest.raises(UserError, match="k is 0"):
        import_dictionary(tmp_path)
    agree(import_dictionary(tmp_path, options={"k": 3}), top(PRE, PRE, 3), UNIT)


def test_a_field_with_another_value_than_we_read_is_refused(tmp_path):
    _gemma_scope_2(tmp_path, {"apply_b_dec_to_input": True}, {})
    with pytest.raises(UserError, match="apply_b_dec_to_input is True, which changes numbers"):
        import_dictionary(tmp_path)
    agree(import_dictionary(tmp_path, options={"apply_b_dec_to_input": False}), jump(RAW, THRESHOLD), W_DEC)


@pytest.mark.parametrize(
    ("writer", "cfg", "words"),
    [
        (_gemma_scope_2, {"type": "crosscoder"}, "the type 'crosscoder' is not sae or transcoder"),
        (_gemma_scope_2, {"affine_connection": True}, "the weights have none"),
        (_crosscoder, {"encoder_layers": [0]}, r"encoder_layers is \[0\], which changes numbers"),
        (_crosscoder, {"code_normalization": "SUM"}, "code_normalization is 'SUM', not one of"),
        (_llama_scope, {"use_encoder_bias": False}, "use_encoder_bias is False, which changes numbers"),
        (_sparsify, {"num_latents": 7}, "num_latents is 7 in the settings and 24 in the weights"),
        (_dictionary_learning, {"dict_size": 7}, "dict_size is 7 in the settings and 24 in the weights"),
        (_llama_scope, {"d_sae": 7}, "d_sae is 7 in the settings and 24 in the weights"),
    ],
    ids=range(8),
)
def test_what_disagrees_or_is_not_read_is_refused(writer, cfg, words, tmp_path):
    writer(tmp_path, cfg, {})
    with pytest.raises(UserError, match=words):
        import_dictionary(tmp_path)
