"""Other people's files: each format written by hand from its definition and held against that definition's own
formula."""

import contextlib
import json
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.convert.doors import export_dictionary, import_dictionary
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.abstopk import AbsTopKConfig
from sparselex.dictionaries.types.archetypal import ArchetypalConfig
from sparselex.dictionaries.types.gated import GatedConfig
from sparselex.dictionaries.types.jumprelu import JumpReLUConfig
from sparselex.dictionaries.types.matching_pursuit import MatchingPursuitConfig
from sparselex.dictionaries.types.panneal import PAnnealConfig
from sparselex.dictionaries.types.relu import ReLUConfig
from sparselex.dictionaries.types.topk import TopKConfig
from tests.support.foreign import (
    B_DEC,
    B_ENC,
    B_MAG,
    D_IN,
    D_SAE,
    DEVIATION,
    LAYER,
    LENGTH,
    MEAN,
    PRE,
    R_MAG,
    RAW,
    THRESHOLD,
    UNIT,
    W_DEC,
    W_ENC,
    X,
    agree,
    gated,
    jump,
    numbers,
    top,
)


def saelens(folder, cfg, **tensors):
    folder.mkdir()
    values = {
        "d_in": D_IN,
        "d_sae": D_SAE,
        "metadata": {"model_name": "m", "hook_name": "blocks.0.hook_mlp_out"},
        **cfg,
    }
    (folder / "cfg.json").write_text(json.dumps(values))
    base = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC} | tensors
    save_file(
        {name: value.contiguous() for name, value in base.items() if value is not None},
        folder / "sae_weights.safetensors",
    )


def largest(scores, pre, k):
    return torch.zeros_like(pre).scatter(1, scores.abs().topk(k, dim=1).indices, 1.0) * pre


SAELENS = {
    "standard": ({"architecture": "standard"}, {}, PRE.relu(), W_DEC),
    "no architecture named": ({}, {}, PRE.relu(), W_DEC),
    "uncentred": ({"architecture": "standard", "apply_b_dec_to_input": False}, {}, RAW.relu(), W_DEC),
    "jumprelu": ({"architecture": "jumprelu"}, {"threshold": THRESHOLD}, jump(PRE, THRESHOLD), W_DEC),
    "jumprelu uncentred": (
        {"architecture": "jumprelu", "apply_b_dec_to_input": False},
        {"threshold": THRESHOLD},
        jump(RAW, THRESHOLD),
        W_DEC,
    ),
    "topk": ({"architecture": "topk", "k": 4}, {"W_dec": UNIT}, top(PRE, PRE, 4), UNIT),
    "topk, rows of unequal norm": ({"architecture": "topk", "k": 4}, {}, top(PRE, PRE, 4), W_DEC),
    "topk rescaled": (
        {"architecture": "topk", "k": 4, "rescale_acts_by_decoder_norm": True},
        {},
        top(PRE * W_DEC.norm(dim=-1), PRE, 4),
        W_DEC,
    ),
    "topk before 6": (
        {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}},
        {"W_dec": UNIT},
        top(PRE, PRE, 3),
        UNIT,
    ),
    "abstopk": ({"architecture": "abstopk", "k": 4}, {}, largest(PRE, PRE, 4), W_DEC),
    "abstopk rescaled": (
        {"architecture": "abstopk", "k": 4, "rescale_acts_by_decoder_norm": True},
        {},
        largest(PRE * W_DEC.norm(dim=-1), PRE, 4),
        W_DEC,
    ),
    "batchtopk": (
        {"architecture": "batchtopk", "k": 4},
        {"topk_threshold": torch.tensor(0.7)},
        jump(PRE, 0.7 / W_DEC.norm(dim=-1)),
        W_DEC,
    ),
    "gated": (
        {"architecture": "gated"},
        {"b_enc": None, "b_gate": B_ENC, "r_mag": R_MAG, "b_mag": B_MAG},
        gated((X - B_DEC) @ W_ENC),
        W_DEC,
    ),
    "gated uncentred": (
        {"architecture": "gated", "apply_b_dec_to_input": False},
        {"b_enc": None, "b_gate": B_ENC, "r_mag": R_MAG, "b_mag": B_MAG},
        gated(X @ W_ENC),
        W_DEC,
    ),
}


@pytest.mark.parametrize("name", SAELENS)
def test_saelens(name, tmp_path):
    cfg, tensors, acts, W_dec = SAELENS[name]
    saelens(tmp_path / "d", cfg, **tensors)
    found = import_dictionary(tmp_path / "d")
    assert found.format == "saelens" and found.hooks == ("blocks.0.hook_mlp_out",) and found.model_name == "m"
    agree(found, acts, W_dec)
    assert type(import_dictionary(tmp_path / "d" / "cfg.json").dictionary) is type(found.dictionary)


def pursued(rows, steps, left, stop_at_repeat, b_dec):
    """Each token by itself, step by step, with the rows as they are."""
    acts = torch.zeros(len(X), len(rows))
    for token, act in zip(X, acts, strict=True):
        rest = token - b_dec
        for _ in range(steps):
            value, best = (rows @ rest).relu().max(0)
            repeated = bool(act[best] != 0) or not value
            act[best] += value
            rest = rest - value * rows[best]
            if float(rest.norm()) < left or (stop_at_repeat and repeated):
                break
    return acts


@pytest.mark.parametrize("rows", ["unit", "free"])
@pytest.mark.parametrize(
    ("cfg", "steps", "left", "repeat"),
    [
        ({}, D_IN, 0.01, True),
        ({"residual_threshold": 1.5}, D_IN, 1.5, True),
        ({"residual_threshold": 0.0, "max_iterations": 5}, 5, 0.0, True),
        ({"residual_threshold": 0.0, "max_iterations": 5, "stop_on_duplicate_support": False}, 5, 0.0, False),
        ({"residual_threshold": -1, "max_iterations": 5, "apply_b_dec_to_input": False}, 5, 0.0, True),
    ],
    ids=range(5),
)
def test_saelens_matching_pursuit(rows, cfg, steps, left, repeat, tmp_path):
    W = (
        UNIT
        if rows == "unit"
        else UNIT * (0.7 + 0.5 * torch.rand(D_SAE, 1, generator=torch.Generator().manual_seed(0)))
    )
    b_dec = B_DEC if cfg.get("apply_b_dec_to_input", True) else torch.zeros(D_IN)
    saelens(tmp_path / "d", {"architecture": "matching_pursuit", **cfg}, W_enc=None, b_enc=None, W_dec=W)
    acts = pursued(W, steps, left, repeat, b_dec)
    found = import_dictionary(tmp_path / "d")
    agree(found, acts, W, acts @ W + b_dec)
    export_dictionary(found.dictionary, tmp_path / "e", "saelens")
    again = import_dictionary(tmp_path / "e")
    assert again.dictionary.config == found.dictionary.config.model_copy(
        update={"stop_left": again.dictionary.config.stop_left}
    )
    agree(again, acts, W, acts @ W + b_dec)


NORMALISED = {"layer_norm": (LAYER, DEVIATION, MEAN), "constant_norm_rescale": (X / LENGTH, LENGTH, 0 * MEAN)}


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("norm", NORMALISED)
@pytest.mark.parametrize("kind", ["standard", "topk", "jumprelu", "gated"])
def test_saelens_files_that_normalise_each_token(kind, norm, centred, tmp_path):
    tokens, size, mean = NORMALISED[norm]
    z = (tokens - B_DEC if centred else tokens) @ W_ENC
    pre, tensors = z + B_ENC, {}
    match kind:
        case "standard":
            acts = pre.relu()
        case "topk":
            acts = top(pre, pre, 4)
        case "jumprelu":
            acts, tensors = jump(pre, THRESHOLD), {"threshold": THRESHOLD}
        case "gated":
            acts, tensors = gated(z), {"b_enc": None, "b_gate": B_ENC, "r_mag": R_MAG, "b_mag": B_MAG}
    cfg = {"architecture": kind, "normalize_activations": norm, "apply_b_dec_to_input": centred, "k": 4}
    saelens(tmp_path / "d", cfg, W_dec=UNIT, **tensors)
    agree(import_dictionary(tmp_path / "d"), acts * size, UNIT, (acts @ UNIT + B_DEC) * size + mean)


def test_sparsify(tmp_path):
    folder = tmp_path / "layers.3"
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps({"activation": "topk", "k": 5, "d_in": D_IN, "num_latents": D_SAE}))
    tensors = {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "W_dec": UNIT, "b_dec": B_DEC}
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "sae.safetensors")
    agree(import_dictionary(folder), top(PRE, PRE, 5), UNIT)


DICTIONARY_LEARNING = {
    "AutoEncoder": (
        {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "decoder.weight": W_DEC.T, "bias": B_DEC},
        PRE.relu(),
        W_DEC,
    ),
    "AutoEncoderTopK": (
        {
            "encoder.weight": W_ENC.T,
            "encoder.bias": B_ENC,
            "decoder.weight": UNIT.T,
            "b_dec": B_DEC,
            "k": torch.tensor(4),
        },
        top(PRE, PRE, 4),
        UNIT,
    ),
    "BatchTopKSAE": (
        {
            "encoder.weight": W_ENC.T,
            "encoder.bias": B_ENC,
            "decoder.weight": UNIT.T,
            "b_dec": B_DEC,
            "k": torch.tensor(4),
            "threshold": torch.tensor(0.9),
        },
        jump(PRE, 0.9),
        UNIT,
    ),
    "GatedAutoEncoder": (
        {
            "encoder.weight": W_ENC.T,
            "decoder.weight": W_DEC.T,
            "decoder_bias": B_DEC,
            "r_mag": R_MAG,
            "gate_bias": B_ENC,
            "mag_bias": B_MAG,
        },
        gated((X - B_DEC) @ W_ENC),
        W_DEC,
    ),
    "JumpReluAutoEncoder": (
        {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC, "threshold": THRESHOLD},
        jump(RAW, THRESHOLD),
        W_DEC,
    ),
    "MatryoshkaBatchTopKSAE": (
        {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": UNIT, "b_dec": B_DEC, "threshold": torch.tensor(0.5)},
        jump(PRE, 0.5),
        UNIT,
    ),
}


def dictionary_learning(folder, kind, tensors):
    folder.mkdir()
    torch.save(tensors, folder / "ae.pt")
    (folder / "config.json").write_text(
        json.dumps({"trainer": {"dict_class": kind, "lm_name": "m", "submodule_name": "s"}})
    )


@pytest.mark.parametrize("kind", DICTIONARY_LEARNING)
def test_dictionary_learning(kind, tmp_path):
    tensors, acts, W_dec = DICTIONARY_LEARNING[kind]
    dictionary_learning(tmp_path / "d", kind, tensors)
    agree(import_dictionary(tmp_path / "d"), acts, W_dec)


def test_gemma_scope(tmp_path):
    values = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC, "threshold": THRESHOLD}
    np.savez(tmp_path / "params.npz", **{name: value.numpy() for name, value in values.items()})
    agree(import_dictionary(tmp_path / "params.npz"), jump(RAW, THRESHOLD), W_DEC)


SIZE = {"d_in": D_IN, "d_sae": D_SAE}


@pytest.mark.parametrize(
    ("layout", "config"),
    [
        ("sparsify", TopKConfig(**SIZE, k=4)),
        ("saelens", TopKConfig(**SIZE, k=4)),
        ("saelens", GatedConfig(**SIZE)),
        ("saelens", AbsTopKConfig(**SIZE, k=4)),
        ("saelens", MatchingPursuitConfig(**SIZE, k=4)),
        ("saelens", ReLUConfig(**SIZE)),
        ("saelens", JumpReLUConfig(**SIZE)),
        ("saelens", PAnnealConfig(**SIZE)),
        ("saelens", ArchetypalConfig(**SIZE, k=4, n_points=10)),
    ],
)
def test_round_trips(layout, config, tmp_path):
    dictionary = new_dictionary(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        dictionary.fold([1.3], [1.3])
        export_dictionary(dictionary, tmp_path / "d", layout, model_name="m", sites=Sites.at("blocks.0.hook_resid_pre"))
        found = import_dictionary(tmp_path / "d")
        assert found.format == layout
        torch.testing.assert_close(found.dictionary.encode(X), dictionary.encode(X))
        torch.testing.assert_close(found.dictionary(X), dictionary(X))
    with pytest.raises(UserError, match="exists"):
        export_dictionary(dictionary, tmp_path / "d", layout)


@pytest.mark.parametrize(
    ("config", "layout", "words"),
    [
        (AbsTopKConfig, "sparsify", "no place in the layout"),
        (partial(MatchingPursuitConfig, stop_below=0.1), "saelens", "no place in the layout"),
        (GatedConfig, "sparsify", "no place"),
        (TopKConfig, "yaml", "Unknown layout 'yaml'"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused_and_leaves_nothing(config, layout, words, tmp_path):
    values = {"d_in": 4, "d_sae": 8} | ({} if config is GatedConfig else {"k": 2})
    with pytest.raises(UserError, match=words):
        export_dictionary(new_dictionary(config(**values)), tmp_path / "d", layout)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("cfg", "tensors", "words"),
    [
        (
            {"architecture": "temporal"},
            {"W_enc": None, "b_enc": None},
            "predicts a token from those before it by attention",
        ),
        ({"architecture": "lorsa"}, {}, "architecture 'lorsa' is not one of"),
        (
            {"architecture": "matching_pursuit", "normalize_activations": "layer_norm"},
            {},
            "a pursuit that normalises each token",
        ),
        ({"architecture": "matching_pursuit", "max_iterations": 0}, {}, "max_iterations is 0"),
        ({"architecture": "matching_pursuit"}, {"b_dec": None}, "tensor 'b_dec' is missing"),
        ({"architecture": "matching_pursuit", "d_in": 9}, {}, "d_in is 9 in the settings and 8 in the weights"),
        ({"architecture": "standard"}, {"b_dec": None}, "tensor 'b_dec' is missing"),
        ({"architecture": "standard"}, {"W_dec": W_DEC.T}, r"tensor 'W_dec' has shape \[8, 24\], not \[24, 8\]"),
        ({"architecture": "standard"}, {"b_enc": torch.full((D_SAE,), float("inf"))}, "'b_enc' holds NaN or infinity"),
        ({"architecture": "topk", "k": 99}, {"W_dec": UNIT}, "k is 99"),
        ({"architecture": "topk"}, {"W_dec": UNIT}, "k is 0"),
        ({"architecture": "standard", "normalize_activations": "covariance_whitening"}, {}, "normalises its inputs"),
        ({"architecture": "standard", "reshape_activations": "heads"}, {}, "reshapes its inputs"),
        ({"architecture": "standard", "d_in": 9}, {}, "d_in is 9 in the settings and 8 in the weights"),
        ({"architecture": "standard"}, {"W_skip": numbers(D_IN, D_IN)}, "'W_skip' has no place"),
        ({"activation_fn_str": "tanh-relu"}, {}, "'tanh-relu' is not relu or topk"),
        ({"architecture": "topk", "k": "many"}, {"W_dec": UNIT}, "k is 'many', which is no whole number"),
        ({"architecture": "standard", "metadata": "m"}, {}, "what should be a table of settings is 'm'"),
    ],
    ids=str,
)
def test_faults_of_foreign_files_are_named(cfg, tensors, words, tmp_path):
    saelens(tmp_path / "d", cfg, **tensors)
    with pytest.raises(UserError, match=words):
        import_dictionary(tmp_path / "d")


def test_truncated_files_are_named(tmp_path):
    saelens(tmp_path / "a", {"architecture": "standard"})
    dictionary_learning(tmp_path / "b", "AutoEncoder", DICTIONARY_LEARNING["AutoEncoder"][0])
    (tmp_path / "c").mkdir()
    np.savez(tmp_path / "c" / "params.npz", W_enc=W_ENC.numpy())
    for name in ("a/sae_weights.safetensors", "b/ae.pt", "c/params.npz"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(UserError, match=f"{path.name} cannot be read as a dictionary"):
            import_dictionary(path.parent)


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("protocol", ["torch", "pickle", "numpy"])
def test_code_in_foreign_files_is_never_run(protocol, tmp_path):
    folder, mark = tmp_path / "d", tmp_path / "ran"
    folder.mkdir()
    (folder / "config.json").write_text('{"trainer": {"dict_class": "AutoEncoder"}}')
    if protocol == "torch":
        torch.save({"bias": Evil(mark)}, folder / "ae.pt")
    elif protocol == "pickle":
        (folder / "ae.pt").write_bytes(pickle.dumps(Evil(mark)))
    else:
        np.savez(folder / "params.npz", W_enc=np.array([Evil(mark)], dtype=object))
    with pytest.raises(UserError, match="cannot be read as a dictionary"):
        import_dictionary(folder)
    assert not mark.exists()


def test_a_checkpoint_beside_the_dictionary_is_not_mistaken_for_it(tmp_path):
    dictionary_learning(tmp_path / "d", "AutoEncoder", DICTIONARY_LEARNING["AutoEncoder"][0])
    (tmp_path / "d" / "ae_500.pt").write_bytes(b"another")
    with pytest.raises(UserError, match="is not a file we know by its name"):
        import_dictionary(tmp_path / "d" / "ae_500.pt")


@pytest.mark.parametrize("place", range(0, 200, 9))
def test_damaged_old_pickles_end_in_one_message(place, tmp_path):
    dictionary_learning(tmp_path / "d", "AutoEncoder", {})
    path = tmp_path / "d" / "ae.pt"
    torch.save(DICTIONARY_LEARNING["AutoEncoder"][0], path, _use_new_zipfile_serialization=False)
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)
    with contextlib.suppress(UserError):  # many bytes may change without harm; any other exception fails
        import_dictionary(path)


def test_a_place_without_a_dictionary(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no dictionary in a format we know"):
        import_dictionary(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        import_dictionary(tmp_path / "nowhere")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="no Hugging Face repository"):
        import_dictionary("nobody/nothing:here")


def test_our_own_folder_is_saelens(tmp_path):
    dictionary = new_dictionary(TopKConfig(d_in=D_IN, d_sae=D_SAE, k=4), torch.Generator().manual_seed(0))
    dictionary.fold([1.0], [1.0])
    export_dictionary(dictionary, tmp_path / "d", "saelens")
    assert load_file(tmp_path / "d" / "sae_weights.safetensors")["W_enc"].shape == (D_IN, D_SAE)
