"""OpenAI, Llama Scope, Llamascopium, Gemma Scope 2 and circuit-tracer: each file written by hand, held against its
project's formula."""

import json
import math
import pickle

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file

from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.convert.doors import _wanted, export_dictionary, import_dictionary
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.batchtopk import BatchTopKConfig
from sparselex.dictionaries.types.gated import GatedConfig
from sparselex.dictionaries.types.jumprelu import JumpReLUConfig
from sparselex.dictionaries.types.relu import ReLUConfig
from sparselex.dictionaries.types.topk import TopKConfig
from tests.support.foreign import (
    B_DEC,
    B_ENC,
    B_OUT,
    D_IN,
    D_OUT,
    D_SAE,
    DEVIATION,
    LAYER,
    LENGTH,
    MEAN,
    PRE,
    RAW,
    THRESHOLD,
    UNIT,
    W_DEC,
    W_ENC,
    W_OUT,
    W_SKIP,
    W_SQUARE,
    X,
    agree,
    changed,
    jump,
    top,
)

IN, OUT = "blocks.1.hook_mlp_in", "blocks.1.hook_mlp_out"
NORMS = W_DEC.norm(dim=-1)


def safetensors(path, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in tensors.items() if value is not None}, path)


# OpenAI


def openai(path, **values):
    path.parent.mkdir(parents=True, exist_ok=True)
    base = {
        "pre_bias": B_DEC,
        "encoder.weight": W_ENC.T,
        "latent_bias": B_ENC,
        "decoder.weight": UNIT.T,
        "stats_last_nonzero": torch.zeros(D_SAE, dtype=torch.long),
        **values,
    }
    torch.save({name: value for name, value in base.items() if value is not None}, path)
    return path


TOPK = {"activation": "TopK", "activation_state_dict": {"k": 4, "postact_fn": "ReLU"}}


@pytest.mark.parametrize(
    ("values", "acts"),
    [
        ({"activation": "ReLU", "activation_state_dict": {}}, PRE.relu()),
        ({}, PRE.relu()),
        (TOPK | {"normalize": False}, top(PRE, PRE, 4)),
        (TOPK | {"normalize": torch.tensor(False)}, top(PRE, PRE, 4)),
    ],
    ids=["relu", "no activation named", "topk", "topk, as a tensor"],
)
def test_openai(values, acts, tmp_path):
    path = openai(tmp_path / "7.pt", **values)
    for source in (path, path.parent):
        found = import_dictionary(source)
        assert (found.format, found.hooks, found.target) == ("openai", (), ())
        agree(found, acts, UNIT)


@pytest.mark.parametrize(
    "values",
    [TOPK, TOPK | {"normalize": True}, {"activation": "ReLU", "normalize": True}],
    ids=["topk", "topk, as it says", "relu, as it says"],
)
def test_openai_files_that_normalise_each_token(values, tmp_path):
    """As those it published: mean and deviation are taken out of each token and put back."""
    pre = (LAYER - B_DEC) @ W_ENC + B_ENC
    acts = top(pre, pre, 4) if "activation_state_dict" in values else pre.relu()
    found = import_dictionary(openai(tmp_path / "7.pt", **values))
    agree(found, acts * DEVIATION, UNIT, (acts @ UNIT + B_DEC) * DEVIATION + MEAN)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"activation": "GELU"}, "'GELU' is not ReLU or TopK"),
        (
            TOPK | {"normalize": False, "activation_state_dict": {"k": 4, "postact_fn": "Identity"}},
            "'Identity', not ReLU",
        ),
        (TOPK | {"normalize": False, "activation_state_dict": {"k": 99}}, "k is 99"),
        (TOPK | {"normalize": False, "activation_state_dict": 3}, "activation_state_dict is 3, and no table"),
        ({"encoder.weight": None, "pre_bias": None}, "it is not OpenAI's(?s:.*)none of its tensors is known as an enc"),
        ({"decoder.weight": UNIT}, r"'decoder.weight' has shape \[24, 8\], not \[8, 24\]"),
        ({"latent_bias": torch.full((D_SAE,), float("nan"))}, "'latent_bias' holds NaN"),
        ({"latent_bias": torch.zeros(D_SAE).to_sparse()}, "holds more than plain tensors"),
    ],
    ids=range(8),
)
def test_faults_of_openai_files_are_named(values, words, tmp_path):
    with pytest.raises(UserError, match=words):
        import_dictionary(openai(tmp_path / "7.pt", **values))


# Llama Scope

WHERE = "blocks.1.hook_resid_post"
S_IN, S_OUT = math.sqrt(D_IN) / 5.0, math.sqrt(D_IN) / 3.0


def llama_scope(folder, cfg, **tensors):
    folder.mkdir()
    values = {
        "hook_point_in": WHERE,
        "hook_point_out": WHERE,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.6,
        "top_k": 4,
        "d_model": D_IN,
        "d_sae": D_SAE,
        "use_decoder_bias": True,
        "apply_decoder_bias_to_pre_encoder": False,
        "sparsity_include_decoder_norm": True,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 5.0, "out": 5.0},
        **cfg,
    }
    (folder / "hyperparams.json").write_text(json.dumps(values))
    base = {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "decoder.weight": W_DEC.T, "decoder.bias": B_DEC}
    safetensors(folder / "checkpoints" / "final.safetensors", base | tensors)


def llama_scope_acts(b_dec=B_DEC, s_out=S_IN, centred=False, cut=0.6):
    """As its project loads a file: scales into the weights, decoder rows to unit norm, then the threshold."""
    rows = W_DEC * (S_IN / s_out)
    read = X - b_dec / S_IN if centred else X
    pre = (read @ W_ENC + B_ENC / S_IN) * rows.norm(dim=-1)
    acts = torch.where(pre > cut, pre, 0)
    return acts, acts @ UNIT + b_dec / s_out


LLAMA_SCOPE = {
    "jumprelu": ({}, *llama_scope_acts()),
    "topk with a threshold": ({"act_fn": "topk"}, *llama_scope_acts()),
    "in and out": ({"dataset_average_activation_norm": {"in": 5.0, "out": 3.0}}, *llama_scope_acts(s_out=S_OUT)),
    "centred": ({"apply_decoder_bias_to_pre_encoder": True}, *llama_scope_acts(centred=True)),
    "no decoder bias": ({"use_decoder_bias": False}, *llama_scope_acts(torch.zeros(D_IN))),
}


@pytest.mark.parametrize("name", LLAMA_SCOPE)
def test_llama_scope(name, tmp_path):
    cfg, acts, target = LLAMA_SCOPE[name]
    llama_scope(tmp_path / "d", cfg)
    for source in ("d", "d/hyperparams.json"):
        found = import_dictionary(tmp_path / source)
        assert (found.format, found.hooks, found.target) == ("llama_scope", (WHERE,), ())
        agree(found, acts, UNIT, target)


def test_llama_scope_without_decoder_norms(tmp_path):
    llama_scope(tmp_path / "d", {"sparsity_include_decoder_norm": False})
    acts = jump(X @ W_ENC + B_ENC / S_IN, 0.6)
    agree(import_dictionary(tmp_path / "d"), acts, W_DEC, acts @ W_DEC + B_DEC / S_IN)


def test_llama_scope_unscaled_topk_and_relu(tmp_path):
    plain = {"norm_activation": "inference", "jump_relu_threshold": 0}
    llama_scope(tmp_path / "a", plain | {"act_fn": "topk"})
    agree(import_dictionary(tmp_path / "a"), top(RAW * NORMS, RAW, 4), W_DEC)
    llama_scope(tmp_path / "b", plain | {"act_fn": "relu"})
    agree(import_dictionary(tmp_path / "b"), RAW.relu(), W_DEC)


def test_llama_scope_transcoder(tmp_path):
    cfg = {"hook_point_in": IN, "hook_point_out": OUT, "dataset_average_activation_norm": {"in": 5.0, "out": 3.0}}
    llama_scope(tmp_path / "d", cfg)
    found = import_dictionary(tmp_path / "d")
    # Its `hook_mlp_in` is TransformerLens's: the residual stream before the norm.
    assert (found.hooks, found.target) == (("blocks.1.hook_resid_mid",), (OUT,)) and found.named == (IN, OUT)
    assert not found.dictionary.is_autoencoder
    acts, target = llama_scope_acts(s_out=S_OUT)
    agree(found, acts, UNIT, target)


@pytest.mark.parametrize(
    ("cfg", "tensors", "words"),
    [
        ({"act_fn": "gelu"}, {}, "'gelu' is not one of relu, jumprelu, topk"),
        ({"use_glu_encoder": True}, {}, "gated linear unit"),
        ({"norm_activation": "batch-wise"}, {}, "scales its inputs batch-wise"),
        ({"norm_activation": "token-wise", "hook_point_out": OUT}, {}, "scales its inputs token-wise"),
        ({"dataset_average_activation_norm": {"in": 5.0}}, {}, "mean norm of 'blocks.1.hook_resid_post'"),
        ({"dataset_average_activation_norm": {"in": 0, "out": 1}}, {}, "mean norm of"),
        ({"dataset_average_activation_norm": [5.0]}, {}, r"average_activation_norm is \[5.0\], and no table"),
        ({"jump_relu_threshold": float("nan")}, {}, "jump_relu_threshold is nan"),
        ({"jump_relu_threshold": "high"}, {}, "jump_relu_threshold is 'high', which is no number"),
        ({"d_model": 9}, {}, "d_model is 9 in the settings and 8 in the weights"),
        ({}, {"decoder.bias": None}, "'decoder.bias' is missing"),
        ({}, {"decoder.weight": W_DEC}, r"'decoder.weight' has shape \[24, 8\], not \[8, 24\]"),
        ({}, {"encoder.bias": torch.full((D_SAE,), float("nan"))}, "'encoder.bias' holds NaN"),
    ],
    ids=range(13),
)
def test_faults_of_llama_scope_files_are_named(cfg, tensors, words, tmp_path):
    llama_scope(tmp_path / "d", cfg, **tensors)
    with pytest.raises(UserError, match=words):
        import_dictionary(tmp_path / "d")


# Llamascopium


def llamascopium(folder, cfg, **tensors):
    values = {
        "sae_type": "sae",
        "hook_point_in": WHERE,
        "hook_point_out": WHERE,
        "act_fn": "jumprelu",
        "top_k": 4,
        "d_model": D_IN,
        "expansion_factor": 3,
        "use_decoder_bias": True,
        "sparsity_include_decoder_norm": True,
        "norm_activation": "dataset-wise",
        **cfg,
    }
    base = {
        "W_E": W_ENC,
        "b_E": B_ENC,
        "W_D": W_DEC,
        "b_D": B_DEC,
        "activation_function.log_jumprelu_threshold": THRESHOLD.log(),
        f"dataset_average_activation_norm.{values['hook_point_in']}": torch.tensor(5.0),
        f"dataset_average_activation_norm.{values['hook_point_out']}": torch.tensor(3.0),
    }
    if values["hook_point_in"] == values["hook_point_out"]:
        base[f"dataset_average_activation_norm.{WHERE}"] = torch.tensor(5.0)
    safetensors(folder / "sae_weights.safetensors", base | tensors)
    (folder / "config.json").write_text(json.dumps(values))


SCALED = X * S_IN @ W_ENC + B_ENC
GATED = torch.where(SCALED * NORMS > THRESHOLD, SCALED, 0)
LLAMASCOPIUM = {
    "jumprelu": ({}, GATED),
    "no decoder norms": ({"sparsity_include_decoder_norm": False}, jump(SCALED, THRESHOLD)),
    "topk": ({"act_fn": "topk"}, top(SCALED * NORMS, SCALED, 4)),
    "relu": ({"act_fn": "relu"}, SCALED.relu()),
}


@pytest.mark.parametrize("name", LLAMASCOPIUM)
def test_llamascopium(name, tmp_path):
    cfg, acts = LLAMASCOPIUM[name]
    llamascopium(tmp_path / "d", cfg)
    found = import_dictionary(tmp_path / "d")
    assert (found.format, found.hooks, found.target) == ("llamascopium", (WHERE,), ())
    agree(found, acts, W_DEC / S_IN, (acts @ W_DEC + B_DEC) / S_IN)


def test_llamascopium_pickled(tmp_path):
    llamascopium(tmp_path / "d", {})
    path = tmp_path / "d" / "sae_weights.safetensors"
    torch.save({"sae": load_file(path), "version": "2"}, path.with_suffix(".pt"))
    with pytest.raises(UserError, match="holds 2 dictionaries"):
        import_dictionary(tmp_path / "d")
    path.unlink()
    for source in (tmp_path / "d", path.with_suffix(".pt")):
        found = import_dictionary(source)
        assert found.format == "llamascopium"
        agree(found, GATED, W_DEC / S_IN, (GATED @ W_DEC + B_DEC) / S_IN)
    data = path.with_suffix(".pt").read_bytes()
    path.with_suffix(".pt").write_bytes(data[:-40])
    with pytest.raises(UserError, match=r"sae_weights\.pt cannot be read as a dictionary"):
        import_dictionary(tmp_path / "d")
    torch.save({"version": "2"}, path.with_suffix(".pt"))
    with pytest.raises(UserError, match="holds no table 'sae'"):
        import_dictionary(tmp_path / "d")


@pytest.mark.parametrize("kind", ["jumprelu", "topk", "relu"])
def test_llamascopium_scaled_by_token(kind, tmp_path):
    llamascopium(tmp_path / "d", {"norm_activation": "token-wise", "act_fn": kind})
    pre = X / LENGTH @ W_ENC + B_ENC
    match kind:
        case "jumprelu":
            acts = torch.where(pre * NORMS > THRESHOLD, pre, 0)
        case "topk":
            acts = top(pre * NORMS, pre, 4)
        case "relu":
            acts = pre.relu()
    agree(import_dictionary(tmp_path / "d"), acts * LENGTH, W_DEC, (acts @ W_DEC + B_DEC) * LENGTH)


def test_llamascopium_transcoder(tmp_path):
    llamascopium(tmp_path / "d", {"hook_point_in": IN, "hook_point_out": OUT})
    found = import_dictionary(tmp_path / "d")
    # Its `hook_mlp_in` is TransformerLens's: the residual stream before the norm.
    assert (found.hooks, found.target) == (("blocks.1.hook_resid_mid",), (OUT,)) and found.named == (IN, OUT)
    assert not found.dictionary.is_autoencoder
    agree(found, GATED, W_DEC / S_OUT, (GATED @ W_DEC + B_DEC) / S_OUT)


def test_llamascopium_folded_for_inference(tmp_path):
    nothing = {f"dataset_average_activation_norm.{WHERE}": torch.tensor(float("nan"))}  # it writes what it never set
    llamascopium(tmp_path / "d", {"norm_activation": "inference"}, **nothing)
    acts = torch.where(RAW * NORMS > THRESHOLD, RAW, 0)
    agree(import_dictionary(tmp_path / "d"), acts, W_DEC)


def test_llamascopium_with_the_names_of_the_r1_release(tmp_path):
    llamascopium(tmp_path / "d", {"dataset_average_activation_norm": {"in": 5.0, "out": 5.0}})
    tensors = {
        "encoder.weight": W_ENC.T,
        "encoder.bias": B_ENC,
        "decoder.weight": W_DEC.T,
        "decoder.bias": B_DEC,
        "log_jumprelu_threshold": THRESHOLD.log(),
    }
    safetensors(tmp_path / "d" / "sae_weights.safetensors", tensors)
    agree(import_dictionary(tmp_path / "d"), GATED, W_DEC / S_IN, (GATED @ W_DEC + B_DEC) / S_IN)


@pytest.mark.parametrize(
    ("cfg", "tensors", "words"),
    [
        ({"sae_type": "clt"}, {}, "the architecture 'clt' is not 'sae'"),
        ({"act_fn": "batchtopk"}, {}, "'batchtopk' chooses among the tokens of a batch and keeps no threshold"),
        ({"act_fn": "layertopk"}, {}, "'layertopk' is not one of"),
        ({"norm_activation": "batch-wise"}, {}, "scales its inputs batch-wise"),
        ({}, {f"dataset_average_activation_norm.{WHERE}": None}, "mean norm of"),
        ({}, {"activation_function.log_jumprelu_threshold": None}, "log_jumprelu_threshold' is missing"),
        ({}, {"W_D": W_DEC.T}, r"'W_D' has shape \[8, 24\], not \[24, 8\]"),
        ({}, {"b_E": torch.full((D_SAE,), float("inf"))}, "'b_E' holds NaN or infinity"),
        ({"d_model": None}, {}, "it has no d_model"),
    ],
    ids=range(9),
)
def test_faults_of_llamascopium_files_are_named(cfg, tensors, words, tmp_path):
    llamascopium(tmp_path / "d", cfg, **tensors)
    with pytest.raises(UserError, match=words):
        import_dictionary(tmp_path / "d")


# Gemma Scope

GEMMA = {"w_enc": W_ENC, "b_enc": B_ENC, "threshold": THRESHOLD}
AUTOENCODER = GEMMA | {"w_dec": W_DEC, "b_dec": B_DEC}
TRANSCODER = GEMMA | {"w_dec": W_OUT, "b_dec": B_OUT}
JUMPED = jump(RAW, THRESHOLD)


def test_gemma_scope_2(tmp_path):
    safetensors(tmp_path / "params.safetensors", AUTOENCODER)
    found = import_dictionary(tmp_path)
    assert (found.format, found.hooks, found.model_name) == ("gemma_scope_2", (), "")
    agree(found, JUMPED, W_DEC)
    cfg = {"architecture": "jump_relu", "model_name": "gemma-3", "hf_hook_point_in": "model.layers.12.output"}
    (tmp_path / "config.json").write_text(json.dumps(cfg))
    found = import_dictionary(tmp_path)
    assert (found.hooks, found.target, found.model_name) == (("blocks.12.hook_resid_post",), (), "gemma-3")
    agree(found, JUMPED, W_DEC)


@pytest.mark.parametrize("known_by", ["skip", "settings", "folder", "person"])
def test_gemma_scope_2_transcoder(known_by, tmp_path):
    folder = tmp_path / "transcoder_all" / "layer_1_width_16k" if known_by == "folder" else tmp_path
    skip = known_by == "skip"
    safetensors(folder / "params.safetensors", TRANSCODER | ({"affine_skip_connection": W_SKIP.T} if skip else {}))
    if known_by == "settings":
        norm = "model.layers.1.{}_feedforward_layernorm.output"
        cfg = {"hf_hook_point_in": norm.format("pre"), "hf_hook_point_out": norm.format("post")}
        (folder / "config.json").write_text(json.dumps(cfg))
    found = import_dictionary(folder, transcoder=known_by == "person")
    assert (found.dictionary.d_out, found.dictionary.config.skip) == (D_OUT, skip)
    assert (found.hooks, found.target) == (((IN,), (OUT,)) if known_by == "settings" else ((), ()))
    agree(found, JUMPED, W_OUT, JUMPED @ W_OUT + B_OUT + (X @ W_SKIP.T if skip else 0))


@pytest.mark.parametrize(
    ("folder", "hooks", "autoencoder"),
    [
        ("models--google--gemma-scope-2b-pt-res/snapshots/1/layer_20/width_16k", ("blocks.20.hook_resid_post",), True),
        ("gemma-scope-9b-pt-mlp/layer_3/width_16k", ("blocks.3.hook_mlp_out",), True),
        ("gemma-scope-9b-pt-att/layer_3", ("blocks.3.attn.hook_z",), True),
        ("gemma-scope-2b-pt-transcoders/layer_3", (), False),
        ("gemma-scope-2b-pt-res/embedding", (), True),
        ("layer_3/width_16k", (), True),
    ],
)
def test_gemma_scope_1_by_its_folders(folder, hooks, autoencoder, tmp_path):
    (tmp_path / folder).mkdir(parents=True)
    values = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC, "threshold": THRESHOLD}
    np.savez(tmp_path / folder / "params.npz", **{name: value.numpy() for name, value in values.items()})
    found = import_dictionary(tmp_path / folder)
    assert (found.hooks, found.dictionary.is_autoencoder) == (hooks, autoencoder)
    agree(found, JUMPED, W_DEC)


@pytest.mark.parametrize("width", ["same", "other"])
def test_gemma_scope_1_transcoder(width, tmp_path):
    W, b = (W_DEC, B_DEC) if width == "same" else (W_OUT, B_OUT)
    values = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W, "b_dec": b, "threshold": THRESHOLD}
    np.savez(tmp_path / "params.npz", **{name: value.numpy() for name, value in values.items()})
    found = import_dictionary(tmp_path, transcoder=True)
    assert not found.dictionary.is_autoencoder and found.dictionary.d_out == W.shape[1]
    agree(found, JUMPED, W, JUMPED @ W + b)
    if width == "same":
        assert import_dictionary(tmp_path).dictionary.is_autoencoder
    else:
        with pytest.raises(UserError, match="a transcoder, whose target must be named"):
            import_dictionary(tmp_path)


@pytest.mark.parametrize(
    ("cfg", "tensors", "words"),
    [
        ({"architecture": "topk"}, {}, "'topk' is not jump_relu"),
        ({}, {"w_dec": W_OUT, "b_dec": B_OUT}, "a transcoder, whose target must be named"),
        ({}, {"threshold": None}, "'threshold' is missing"),
        ({}, {"affine_skip_connection": W_SKIP}, r"'affine_skip_connection' has shape \[6, 8\], not \[8, 8\]"),
        ({}, {"w_dec": torch.zeros(D_SAE, 2, D_IN)}, r"'w_dec' has shape \[24, 2, 8\], not \[24, any\]"),
        ({}, {"b_enc": torch.full((D_SAE,), float("nan"))}, "'b_enc' holds NaN"),
        ([], {}, "is no table of settings"),
    ],
    ids=range(7),
)
def test_faults_of_gemma_scope_2_files_are_named(cfg, tensors, words, tmp_path):
    safetensors(tmp_path / "params.safetensors", AUTOENCODER | tensors)
    (tmp_path / "config.json").write_text(json.dumps(cfg))
    with pytest.raises(UserError, match=words):
        import_dictionary(tmp_path)


# circuit-tracer

CONFIG = {
    "model_kind": "transcoder_set",
    "model_name": "m",
    "feature_input_hook": "mlp.hook_in",
    "feature_output_hook": "hook_mlp_out",
    "scan": "m",
}


def circuit_tracer(folder, cfg, layer=1, **tensors):
    base = {"W_enc": W_ENC.T, "b_enc": B_ENC, "W_dec": W_OUT, "b_dec": B_OUT}
    safetensors(folder / f"layer_{layer}.safetensors", base | tensors)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | cfg))


CIRCUIT_TRACER = {
    "relu": ({}, {}, RAW.relu()),
    "relu named": ({"activation": "relu"}, {}, RAW.relu()),
    "jumprelu": ({}, {"activation_function.threshold": THRESHOLD}, JUMPED),
    "one threshold": ({}, {"activation_function.threshold": torch.tensor(0.4)}, jump(RAW, torch.tensor(0.4))),
    "skip": ({}, {"W_skip": W_SKIP}, RAW.relu()),
}


@pytest.mark.parametrize("name", CIRCUIT_TRACER)
def test_circuit_tracer(name, tmp_path):
    cfg, tensors, acts = CIRCUIT_TRACER[name]
    circuit_tracer(tmp_path / "d", cfg, **tensors)
    found = import_dictionary(tmp_path / "d")
    assert (found.format, found.hooks, found.target, found.model_name) == ("circuit-tracer", (IN,), (OUT,), "m")
    agree(found, acts, W_OUT, acts @ W_OUT + B_OUT + (X @ W_SKIP.T if name == "skip" else 0))


@pytest.mark.parametrize(("cfg", "tensors"), [({"activation": "topk", "k": 4}, {}), ({}, {"k": torch.tensor(4)})])
def test_circuit_tracer_topk(cfg, tensors, tmp_path):
    circuit_tracer(tmp_path / "d", cfg, W_dec=UNIT, b_dec=B_DEC, **tensors)
    found = import_dictionary(tmp_path / "d")
    agree(found, top(RAW, RAW, 4), UNIT)


def test_one_layer_of_a_set_is_chosen_by_its_file(tmp_path):
    circuit_tracer(tmp_path, {}, layer=0)
    circuit_tracer(tmp_path, {}, layer=12, b_dec=B_OUT + 1)
    with pytest.raises(UserError, match="holds 2 dictionaries"):
        import_dictionary(tmp_path)
    found = import_dictionary(tmp_path / "layer_12.safetensors")
    assert found.hooks == ("blocks.12.hook_mlp_in",) and torch.equal(found.dictionary.b_dec, B_OUT + 1)


@pytest.mark.parametrize(
    ("cfg", "tensors", "words"),
    [
        ({"model_kind": "cross_layer_transcoder"}, {}, "'cross_layer_transcoder' is not transcoder_set"),
        ({"activation": "gelu"}, {}, "'gelu' is not one of"),
        ({"activation": "topk"}, {"W_dec": UNIT, "b_dec": B_DEC}, "k is 0"),
        ({}, {"W_skip": W_SKIP.T}, r"'W_skip' has shape \[8, 6\], not \[6, 8\]"),
        ({}, {"W_dec": W_OUT.T}, r"'W_dec' has shape \[6, 24\], not \[24, any\]"),
        ({}, {"b_enc": None}, "'b_enc' is missing"),
        ({}, {"b_enc": torch.full((D_SAE,), float("nan"))}, "'b_enc' holds NaN"),
        ({}, {"activation_function.threshold": THRESHOLD[:3]}, r"threshold' has shape \[3\], not \[24\]"),
    ],
    ids=range(8),
)
def test_faults_of_circuit_tracer_files_are_named(cfg, tensors, words, tmp_path):
    circuit_tracer(tmp_path / "d", cfg, **tensors)
    with pytest.raises(UserError, match=words):
        import_dictionary(tmp_path / "d")


SIZE = {"d_in": D_IN, "d_sae": D_SAE, "d_out": D_IN}


@pytest.mark.parametrize(
    "config",
    [
        ReLUConfig(**SIZE),
        ReLUConfig(**SIZE, skip=True),
        JumpReLUConfig(**SIZE),
        BatchTopKConfig(**SIZE, k=4),
        TopKConfig(**SIZE, k=4, skip=True),
    ],
    ids=str,
)
def test_circuit_tracer_round_trips(config, tmp_path):
    dictionary = changed(new_dictionary(config, torch.Generator().manual_seed(0)))
    export_dictionary(dictionary, tmp_path / "d", "circuit-tracer", model_name="m", sites=Sites.at(IN, OUT))
    found = import_dictionary(tmp_path / "d")
    assert (found.format, found.hooks, found.target, found.model_name) == ("circuit-tracer", (IN,), (OUT,), "m")
    with torch.no_grad():
        torch.testing.assert_close(found.dictionary.encode(X), dictionary.encode(X))
        torch.testing.assert_close(found.dictionary(X), dictionary(X))
    cfg = yaml.safe_load((tmp_path / "d" / "config.yaml").read_text())
    assert cfg["feature_input_hook"] == "mlp.hook_in" and cfg["feature_output_hook"] == "hook_mlp_out"
    tensors = load_file(tmp_path / "d" / "layer_1.safetensors")
    allowed = {"W_enc", "b_enc", "W_dec", "b_dec", "W_skip", "activation_function.threshold"}
    assert set(tensors) <= allowed and tensors["W_enc"].shape == (D_SAE, D_IN)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ReLUConfig(d_in=8, d_sae=24), "A ReLU dictionary has no place in the layout of circuit-tracer"),
        (GatedConfig(**SIZE), "A Gated transcoder has no place"),
        (ReLUConfig(d_in=8, d_sae=24, parts=(3, 5)), "A ReLU crosscoder has no place"),
        (ReLUConfig(**SIZE | {"d_out": 6}), "one width"),
    ],
    ids=str,
)
def test_what_circuit_tracer_cannot_hold_is_refused(config, words, tmp_path):
    with pytest.raises(UserError, match=words):
        export_dictionary(new_dictionary(config), tmp_path / "d", "circuit-tracer")
    assert list(tmp_path.iterdir()) == []


# All of them


def test_what_is_fetched_of_a_repository():
    files = [
        "README.md",
        "config.yaml",
        "layer_0.safetensors",
        "layer_12.safetensors",
        "a/hyperparams.json",
        "a/checkpoints/final.safetensors",
        "ab/hyperparams.json",
    ]

    def fetched(inside):
        return sorted(filter_repo_objects(files, allow_patterns=_wanted(inside)))

    assert fetched("layer_12.safetensors") == ["config.yaml", "layer_12.safetensors"]
    assert fetched("a") == ["a/checkpoints/final.safetensors", "a/hyperparams.json", "config.yaml"]
    assert fetched("") == sorted(files)


def write_each(folder):
    """A file of each format with the place where its weights lie."""
    llama_scope(folder / "llama_scope", {})
    llamascopium(folder / "llamascopium", {})
    safetensors(folder / "gemma_scope_2" / "params.safetensors", AUTOENCODER)
    circuit_tracer(folder / "circuit-tracer", {})
    openai(folder / "openai" / "7.pt")
    return {
        "llama_scope": "checkpoints/final.safetensors",
        "llamascopium": "sae_weights.safetensors",
        "gemma_scope_2": "params.safetensors",
        "circuit-tracer": "layer_1.safetensors",
        "openai": "7.pt",
    }


def test_truncated_files_are_named(tmp_path):
    for name, inside in write_each(tmp_path).items():
        assert import_dictionary(tmp_path / name).format == name
        path = tmp_path / name / inside
        data = path.read_bytes()
        for size in (0, 7, len(data) // 2, len(data) - 40):
            path.write_bytes(data[:size])
            with pytest.raises(UserError, match=f"{path.name} cannot be read as a dictionary"):
                import_dictionary(tmp_path / name)


@pytest.mark.parametrize("text", ["a: [1", "- 1", "!!python/object/apply:os.system ['true']", "\x00"])
def test_settings_that_are_no_table_are_named(text, tmp_path):
    circuit_tracer(tmp_path, {})
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml is no"):
        import_dictionary(tmp_path)


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_code_in_foreign_files_is_never_run(tmp_path):
    mark = tmp_path / "ran"
    openai(tmp_path / "7.pt", activation_state_dict=Evil(mark))
    (tmp_path / "8.pt").write_bytes(pickle.dumps(Evil(mark)))
    for name in ("7.pt", "8.pt"):
        with pytest.raises(UserError, match="cannot be read as a dictionary"):
            import_dictionary(tmp_path / name)
    circuit_tracer(tmp_path / "c", {})
    (tmp_path / "c" / "config.yaml").write_text(f"model_kind: !!python/object/apply:builtins.open ['{mark}', w]")
    with pytest.raises(UserError, match="is no YAML"):
        import_dictionary(tmp_path / "c")
    assert not mark.exists()


def test_a_skip_connection_of_a_transcoder_is_square_there(tmp_path):
    circuit_tracer(tmp_path / "d", {}, W_dec=W_DEC, b_dec=B_DEC, W_skip=W_SQUARE)
    acts = RAW.relu()
    agree(import_dictionary(tmp_path / "d"), acts, W_DEC, acts @ W_DEC + B_DEC + X @ W_SQUARE.T)
