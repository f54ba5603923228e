"""Tensors by themselves: recognised by names and shapes, with what was assumed said, and what no file says given by
the person."""

import json

import pytest
import torch
from safetensors.torch import save_file

from sparselex.base.errors import UserError
from sparselex.convert.doors import import_dictionary
from tests.support.foreign import (
    B_DEC,
    B_ENC,
    B_MAG,
    B_OUT,
    D_IN,
    D_SAE,
    PRE,
    R_MAG,
    RAW,
    THRESHOLD,
    UNIT,
    W_DEC,
    W_ENC,
    W_OUT,
    X,
    agree,
    gated,
    jump,
    numbers,
    top,
)

COLUMNS = {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "decoder.weight": UNIT.T}
ROWS = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
MEAN = numbers(D_IN, seed=23)
ONE_CUT = torch.tensor(0.7)


def stated(found):
    return " ".join(found.warnings)


PUBLIC = {
    "a ReLU with one bias": (COLUMNS | {"bias": B_DEC}, {}, PRE.relu()),
    "a threshold for all": (
        COLUMNS | {"b_dec": B_DEC, "k": torch.tensor(4), "threshold": ONE_CUT},
        {},
        jump(PRE, ONE_CUT),
    ),
    "the same as TopK": (
        COLUMNS | {"b_dec": B_DEC, "k": torch.tensor(4), "threshold": ONE_CUT},
        {"kind": "topk"},
        top(PRE, PRE, 4),
    ),
    "a threshold that was never set": (
        COLUMNS | {"b_dec": B_DEC, "k": torch.tensor(4), "threshold": torch.tensor(-1.0)},
        {},
        top(PRE, PRE, 4),
    ),
    "words for names": (
        {"pre_bias": B_DEC, "encoder_bias": B_ENC, "encoder_weights": W_ENC, "decoder_weights": UNIT},
        {"options": {"k": 4}},
        top(PRE, PRE, 4),
    ),
    "a decoder with a bias of its own": (COLUMNS | {"decoder.bias": B_DEC}, {}, RAW.relu()),
    "a threshold each": (ROWS | {"W_dec": UNIT, "threshold": THRESHOLD}, {}, jump(RAW, THRESHOLD)),
    "logarithms of thresholds": (
        COLUMNS | {"b_dec": B_DEC, "log_threshold": THRESHOLD.log()},
        {},
        jump(PRE, THRESHOLD),
    ),
    "gated": (
        {"encoder.weight": W_ENC.T, "decoder.weight": UNIT.T, "decoder_bias": B_DEC}
        | {"r_mag": R_MAG, "gate_bias": B_ENC, "mag_bias": B_MAG},
        {},
        gated((X - B_DEC) @ W_ENC),
    ),
    "gated, not centred": (
        {"W_enc": W_ENC, "W_dec": UNIT, "b_dec": B_DEC, "b_gate": B_ENC, "r_mag": R_MAG, "b_mag": B_MAG},
        {"options": {"centred": False}},
        gated(X @ W_ENC),
    ),
    "names of nobody": (
        {"reads": W_ENC, "writes": UNIT.T, "cut": B_ENC, "mid": B_DEC},
        {"names": {"W_enc": "reads", "W_dec": "writes", "b_enc": "cut", "b_dec": "mid"}},
        PRE.relu(),
    ),
    "not centred, as the person says": (ROWS | {"W_dec": UNIT}, {"options": {"centred": False}}, RAW.relu()),
    "a threshold that the person gives": (
        ROWS | {"W_dec": UNIT},
        {"kind": "batchtopk", "options": {"threshold": 0.7}},
        jump(PRE, ONE_CUT),
    ),
}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("name", PUBLIC)
def test_state_dicts_alone(name, suffix, tmp_path):
    tensors, given, acts = PUBLIC[name]
    path = tmp_path / f"sae.{suffix}"
    if suffix == "pt":
        torch.save(tensors, path)
    else:
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    for source in (path, tmp_path):
        found = import_dictionary(source, **given)
        assert found.format == "tensors" and "recognised by names and shapes: W_enc = " in stated(found)
        agree(found, acts, UNIT)


@pytest.mark.parametrize("table", ["state_dict", "model_state_dict"])
def test_a_table_inside_with_a_mean_that_is_taken_off_first(table, tmp_path):
    """The figures of a training beside it change nothing; its k is the type's."""
    torch.save(
        {
            table: {f"module.{name}": value for name, value in (COLUMNS | {"b_dec": B_DEC}).items()},
            "cfg": {"k": 4, "lr": 1e-3, "d_in": D_IN, "prepend_bos": False},
            "act_mean": MEAN,
            "epoch": 3,
        },
        tmp_path / "7.pt",
    )
    found = import_dictionary(tmp_path / "7.pt")
    pre = (X - MEAN - B_DEC) @ W_ENC + B_ENC
    acts = top(pre, pre, 4)
    agree(found, acts, UNIT, acts @ UNIT + B_DEC + MEAN)
    assert "act_mean is taken off the input first and added to the reconstruction" in stated(found)
    assert found.stated == {"prepend_bos": False}
    found = import_dictionary(tmp_path / "7.pt", options={"centred": False})
    pre = (X - MEAN) @ W_ENC + B_ENC
    agree(found, top(pre, pre, 4), UNIT, top(pre, pre, 4) @ UNIT + B_DEC + MEAN)


def test_settings_beside_it_are_read(tmp_path):
    torch.save(ROWS | {"W_dec": UNIT}, tmp_path / "layer5.sae.pt")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "topk_sae", "k": 4, "base_model": "m"}))
    found = import_dictionary(tmp_path)
    assert found.model_name == "m"
    agree(found, top(PRE, PRE, 4), UNIT)


@pytest.mark.parametrize("whole", [True, False], ids=["zipped", "as of old"])
def test_tensors_that_were_saved_on_another_device(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    torch.save(COLUMNS | {"bias": B_DEC}, tmp_path / "1.pt", _use_new_zipfile_serialization=whole)
    assert b"cuda:0" in (tmp_path / "1.pt").read_bytes()
    agree(import_dictionary(tmp_path), PRE.relu(), UNIT)


def test_a_transcoder_is_one_where_a_target_is_named(tmp_path):
    torch.save(COLUMNS | {"decoder.weight": W_OUT.T, "decoder.bias": B_OUT}, tmp_path / "1.pt")
    acts = RAW.relu()
    agree(import_dictionary(tmp_path, transcoder=True), acts, W_OUT, acts @ W_OUT + B_OUT)
    with pytest.raises(UserError, match="a transcoder, whose target must be named"):
        import_dictionary(tmp_path)


def test_square_matrices_are_told_by_their_names(tmp_path):
    """A linear layer's `weight` is `[out, in]`; all else is `[d_in, d_sae]`, `[d_sae, d_out]`."""
    W, D, b = numbers(D_IN, D_IN, seed=1), numbers(D_IN, D_IN, seed=2), numbers(D_IN, seed=3)
    acts = ((X - B_DEC) @ W + b).relu()
    for number, tensors in enumerate(
        (
            {"encoder.weight": W.T, "encoder.bias": b, "decoder.weight": D.T, "bias": B_DEC},
            {"W_enc": W, "b_enc": b, "W_dec": D, "b_dec": B_DEC},
        )
    ):
        torch.save(tensors, tmp_path / f"{number}.pt")
        agree(import_dictionary(tmp_path / f"{number}.pt"), acts, D)


def test_a_square_matrix_keeps_its_orientation_under_another_name(tmp_path):
    """Which way it lies is told by the file's own name, whatever a person calls it; what was taken is said."""
    W, D, b = numbers(D_IN, D_IN, seed=1), numbers(D_IN, D_IN, seed=2), numbers(D_IN, seed=3)
    tensors = {
        "enc_layer.weight": W.T.contiguous(),
        "encoder.bias": b,
        "decoder.weight": D.T.contiguous(),
        "bias": B_DEC,
    }
    torch.save(tensors, tmp_path / "1.pt")
    found = import_dictionary(tmp_path / "1.pt", names={"W_enc": "enc_layer.weight"})
    agree(found, ((X - B_DEC) @ W + b).relu(), D)
    assert "the rows of enc_layer.weight, which is square, are its latents" in stated(found)


@pytest.mark.parametrize(
    ("cfg", "options", "words"),
    [
        ({"activation": "gelu"}, {}, "activation is 'gelu', which no kind here has"),
        ({"architecture": "gated", "dict_class": "AutoEncoderTopK"}, {}, "contradict each other"),
        ({}, {"centred": "False"}, "centred is 'False', and neither true nor false"),
        ({}, {"kind": "batchtopk", "threshold": float("nan")}, "no finite number"),
    ],
)
def test_settings_that_mean_nothing_here_are_refused(tmp_path, cfg, options, words):
    torch.save({"state_dict": ROWS, "cfg": cfg}, tmp_path / "1.pt")
    kind = options.pop("kind", None)
    with pytest.raises(UserError, match=words):
        import_dictionary(tmp_path / "1.pt", kind=kind, options=options)


def test_what_says_more_than_a_relu_is_taken(tmp_path):
    torch.save(
        {"state_dict": ROWS | {"W_dec": UNIT}, "cfg": {"activation": "relu", "architecture": "topk", "k": 4}},
        tmp_path / "1.pt",
    )
    agree(import_dictionary(tmp_path / "1.pt"), top(PRE, PRE, 4), UNIT)


def test_a_kind_that_the_person_names_is_read_whatever_lies_beside(tmp_path):
    (tmp_path / "cfg.json").write_text(json.dumps({"architecture": "lorsa"}))
    save_file(ROWS | {"W_dec": UNIT}, tmp_path / "sae_weights.safetensors")
    with pytest.raises(UserError, match="architecture 'lorsa' is not one of"):
        import_dictionary(tmp_path)
    agree(import_dictionary(tmp_path, kind="topk", options={"k": 4}), top(PRE, PRE, 4), UNIT)


def test_a_dictionary_with_the_files_of_a_crosscoder(tmp_path):
    """As the Hub has any module: `model.safetensors`, and arguments in `config.json`."""
    (tmp_path / "config.json").write_text(json.dumps({"activation_dim": D_IN, "dict_size": D_SAE}))
    save_file(
        {name: value.contiguous() for name, value in (COLUMNS | {"bias": B_DEC}).items()},
        tmp_path / "model.safetensors",
    )
    found = import_dictionary(tmp_path)
    assert found.format == "tensors"
    agree(found, PRE.relu(), UNIT)


def test_an_encoder_alone_is_its_own_decoder_where_the_person_says_so(tmp_path):
    torch.save({"W_enc": UNIT.T.contiguous(), "b_enc": B_ENC}, tmp_path / "1.pt")
    with pytest.raises(UserError, match="none of its tensors is known as a decoder"):
        import_dictionary(tmp_path)
    found = import_dictionary(tmp_path, options={"tied": True})
    acts = (X @ UNIT.T + B_ENC).relu()
    agree(found, acts, UNIT, acts @ UNIT)
    assert "b_dec is 0, for there is none" in stated(found)


@pytest.mark.parametrize(
    ("tensors", "given", "words"),
    [
        (
            {"a": W_ENC, "b": W_DEC},
            {},
            r"known as an encoder. It holds a \[8, 24\], b \[24, 8\](?s:.*)topk, abstopk: besid",
        ),
        (ROWS | {"pre_bias": B_DEC}, {"names": {"W_enc": "gone"}}, "holds no tensor gone"),
        ({"w_enc": W_ENC, "W_E": W_ENC, "W_dec": W_DEC}, {}, r"could both be W_enc(?s:.*)--map W_enc="),
        (ROWS, {"kind": "topk"}, r"read as topk, and nothing says k(?s:.*)--option k=32"),
        (ROWS, {"kind": "jumprelu"}, "read as jumprelu, and there is no threshold"),
        (ROWS, {"kind": "gated"}, "a gated one needs r_mag, b_mag"),
        (ROWS, {"options": {"k": 2.5}}, "k is 2.5, which is no whole number"),
        (ROWS, {"options": {"k": 99}}, "k is 99"),
        (ROWS, {"kind": "jumprelu", "options": {"threshold": "high"}}, "threshold is 'high', which is no number"),
        (ROWS, {"options": {"d_sae": 7}}, "d_sae is 7 in the settings and 24 in the weights"),
        (ROWS, {"options": {"input_scale": 2.0}}, "input_scale is 2.0, which changes numbers"),
        (ROWS | {"b_enc": B_ENC[:-1]}, {}, "W_enc has no side of 23 latents"),
        (ROWS | {"b_enc": torch.full((D_SAE,), float("nan"))}, {}, "'b_enc' holds NaN"),
        ({"W_enc": numbers(2, D_IN, D_SAE)}, {}, r"'W_enc' has shape \[2, 8, 24\], not \[any, any\]"),
        ({"text": "no tensors at all"}, {}, "It holds no tensors"),
    ],
    ids=range(15),
)
def test_what_does_not_suffice_is_said_with_what_would(tensors, given, words, tmp_path):
    torch.save(tensors, tmp_path / "1.pt")
    with pytest.raises(UserError, match=words):
        import_dictionary(tmp_path, **given)


def test_what_was_assumed_is_said_with_how_to_have_it_otherwise(tmp_path):
    torch.save(ROWS | {"gain": torch.ones(3)}, tmp_path / "1.pt")
    told = stated(import_dictionary(tmp_path))
    assert "b_dec is subtracted from the input first (--option centred=false for the other)" in told
    assert "the activation is a ReLU: nothing says k or a threshold" in told
    assert "tensors that have no use here were left out: gain" in told
