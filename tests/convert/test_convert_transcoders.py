"""Transcoders of other projects: each format written by hand and held against its project's formula; and written for
them."""

import json

import pytest
import torch
from safetensors.torch import save_file

from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.base.staging import stage
from sparselex.convert.doors import export_dictionary, import_dictionary
from sparselex.dictionaries.files import load_dictionary, write_dictionary
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.archetypal import ArchetypalConfig
from sparselex.dictionaries.types.batchtopk import BatchTopKConfig
from sparselex.dictionaries.types.gated import GatedConfig
from sparselex.dictionaries.types.jumprelu import JumpReLUConfig
from sparselex.dictionaries.types.relu import ReLUConfig
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.testing import check_dictionary
from tests.support.foreign import (
    B_DEC,
    B_ENC,
    B_OUT,
    D_IN,
    D_OUT,
    D_SAE,
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


def saelens(folder, cfg, **tensors):
    folder.mkdir()
    about = {"model_name": "m", "hook_name": IN, "hook_name_out": OUT}
    values = {"d_in": D_IN, "d_out": D_OUT, "d_sae": D_SAE, "apply_b_dec_to_input": False, "metadata": about, **cfg}
    (folder / "cfg.json").write_text(json.dumps(values))
    base = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_OUT, "b_dec": B_OUT} | tensors
    tensors = {name: value.contiguous() for name, value in base.items() if value is not None}
    save_file(tensors, folder / "sae_weights.safetensors")


SAELENS = {
    "transcoder": ({}, RAW.relu(), False),
    "skip_transcoder": ({"W_skip": W_SKIP}, RAW.relu(), True),
    "jumprelu_transcoder": ({"threshold": THRESHOLD}, jump(RAW, THRESHOLD), False),
    "jumprelu_skip_transcoder": ({"threshold": THRESHOLD, "W_skip": W_SKIP}, jump(RAW, THRESHOLD), True),
}


@pytest.mark.parametrize("kind", SAELENS)
def test_saelens(kind, tmp_path):
    tensors, acts, skip = SAELENS[kind]
    saelens(tmp_path / "d", {"architecture": kind}, **tensors)
    found = import_dictionary(tmp_path / "d")
    # SAELens' `hook_mlp_in` is the residual stream before the norm.
    assert (found.hooks, found.target, found.model_name) == (("blocks.1.hook_resid_mid",), (OUT,), "m")
    assert (found.dictionary.d_in, found.dictionary.d_out) == (D_IN, D_OUT)
    agree(found, acts, W_OUT, acts @ W_OUT + B_OUT + (X @ W_SKIP.T if skip else 0))


@pytest.mark.parametrize(
    ("cfg", "tensors", "words"),
    [
        ({"architecture": "skip_transcoder"}, {}, "'W_skip' is missing"),
        ({"architecture": "skip_transcoder"}, {"W_skip": W_SKIP.T}, r"'W_skip' has shape \[8, 6\], not \[6, 8\]"),
        ({"architecture": "transcoder"}, {"W_skip": W_SKIP}, "'W_skip' has no place"),
        ({"architecture": "transcoder", "d_out": 7}, {}, "d_out is 7 in the settings and 6 in the weights"),
        ({"architecture": "transcoder"}, {"b_dec": B_DEC}, r"'b_dec' has shape \[8\], not \[6\]"),
        ({"architecture": "jumprelu_transcoder"}, {}, "'threshold' is missing"),
        (
            {"architecture": "transcoder", "normalize_activations": "layer_norm"},
            {},
            "transcoder that normalises each token",
        ),
        ({"architecture": "topk_transcoder"}, {}, "'topk_transcoder' is not one of"),
    ],
    ids=range(8),
)
def test_faults_of_saelens_transcoders_are_named(cfg, tensors, words, tmp_path):
    saelens(tmp_path / "d", cfg, **tensors)
    with pytest.raises(UserError, match=words):
        import_dictionary(tmp_path / "d")


def sparsify(folder, cfg, **tensors):
    folder.mkdir()
    values = {"activation": "topk", "k": 5, "d_in": D_IN, "num_latents": D_SAE, "transcode": True, **cfg}
    (folder / "cfg.json").write_text(json.dumps(values))
    base = {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "W_dec": UNIT, "b_dec": B_DEC} | tensors
    save_file({name: value.contiguous() for name, value in base.items()}, folder / "sae.safetensors")


@pytest.mark.parametrize("skip", [False, True])
def test_sparsify(skip, tmp_path):
    folder = tmp_path / "layers.3.mlp"
    sparsify(folder, {"skip_connection": skip}, **({"W_skip": W_SQUARE} if skip else {}))
    found = import_dictionary(folder)
    assert (found.hooks, found.target) == (("blocks.3.hook_mlp_in",), ())
    acts = top(RAW, RAW, 5)
    agree(found, acts, UNIT, acts @ UNIT + B_DEC + (X @ W_SQUARE.T if skip else 0))


def test_sparsify_with_rows_of_unequal_norm(tmp_path):
    """As its transcoders are: never brought to unit norm, and zero where a latent was never chosen. It ranks by
    activation."""
    rows = W_DEC.clone()
    rows[3:6] = 0
    for name, bias in (("a", B_ENC), ("b", B_ENC.index_fill(0, torch.arange(3, 6), 9.0))):
        folder = tmp_path / name
        sparsify(folder, {}, W_dec=rows, **{"encoder.bias": bias})
        found = import_dictionary(folder)
        assert found.dictionary.config.rank_by == "activation"
        check_dictionary(found.dictionary)
        pre = X @ W_ENC + bias
        acts = top(pre, pre, 5)
        torch.testing.assert_close(found.dictionary(X), acts @ rows + B_DEC, rtol=1e-4, atol=1e-4)
        assert not torch.equal(acts, top(pre * rows.norm(dim=-1), pre, 5))
        torch.testing.assert_close(found.dictionary.encode(X) > 0, acts > 0)
        for layout in ("sparsify", "circuit-tracer"):
            export_dictionary(found.dictionary, tmp_path / f"{name}-{layout}", layout, sites=Sites.at(IN, OUT))
            again = import_dictionary(tmp_path / f"{name}-{layout}").dictionary
            torch.testing.assert_close(again(X), found.dictionary(X), rtol=1e-4, atol=1e-4)
        with pytest.raises(UserError, match="no place in the layout of SAELens"):
            export_dictionary(found.dictionary, tmp_path / "d", "saelens")


@pytest.mark.parametrize("parts", [{}, {"d_out": D_OUT, "skip": True}, {"parts": (3, 5)}], ids=str)
def test_ranking_by_activation_is_kept_by_folding_and_on_disk(parts, tmp_path):
    config = TopKConfig(d_in=D_IN, d_sae=D_SAE, k=4, rank_by="activation", **parts)
    dictionary = new_dictionary(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        dictionary.W_dec.mul_(1 + 3 * torch.rand(D_SAE, 1, generator=torch.Generator().manual_seed(1)))
        dictionary.b_enc.copy_(B_ENC)
        pre, before, n = dictionary.pre_acts(X), dictionary(X), len(dictionary.parts_in)
        torch.testing.assert_close(dictionary.encode(X), top(pre, pre, 4))
        trained = dictionary.training_codes(X)
        torch.testing.assert_close(trained.dense(), dictionary.encode(X))
        coarse = new_dictionary(config.model_copy(update={"selection": "bfloat16"}))
        coarse.load_state_dict(dictionary.state_dict())
        torch.testing.assert_close(coarse.training_codes(X).dense(), dictionary.encode(X))
        dictionary.fold([1.3] * n, [0.7] * len(dictionary.parts_out))
        folded = dictionary(X / 1.3)
        torch.testing.assert_close(folded * 0.7, before, rtol=1e-4, atol=1e-4)
        with stage(tmp_path / "d", "dictionary", config, {}) as staging:
            write_dictionary(dictionary, staging.folder)
            staging.finish()
        torch.testing.assert_close(load_dictionary(tmp_path / "d")(X / 1.3), folded)
    assert not (tmp_path / "d" / "cfg.json").exists()


@pytest.mark.parametrize(
    ("cfg", "tensors", "words"),
    [
        ({"skip_connection": True}, {}, "'W_skip' is missing"),
        ({}, {"W_skip": W_SQUARE}, "'W_skip' has no place"),
        ({"transcode": False, "skip_connection": True}, {"W_skip": W_SQUARE}, "may copy its input"),
        ({"activation": "groupmax"}, {}, "'groupmax' is not topk"),
        ({"signed": True}, {}, "is not topk"),
    ],
    ids=range(5),
)
def test_faults_of_sparsify_transcoders_are_named(cfg, tensors, words, tmp_path):
    sparsify(tmp_path / "d", cfg, **tensors)
    with pytest.raises(UserError, match=words):
        import_dictionary(tmp_path / "d")


def test_hooks_of_sparsify_folders(tmp_path):
    for name, cfg, hooks, said in [
        ("layers.3", {"transcode": False}, ("blocks.3.hook_resid_post",), ""),
        ("layers.3.mlp", {"transcode": False}, (), "layers.3.mlp"),
        ("seed0", {}, (), ""),
    ]:
        sparsify(tmp_path / name, cfg)
        found = import_dictionary(tmp_path / name)
        assert (found.hooks, found.said) == (hooks, said)


SIZE = {"d_in": D_IN, "d_sae": D_SAE}
WIDE, SQUARE = SIZE | {"d_out": D_OUT}, SIZE | {"d_out": D_IN}


@pytest.mark.parametrize(
    ("layout", "config"),
    [
        ("saelens", ReLUConfig(**WIDE)),
        ("saelens", ReLUConfig(**WIDE, skip=True)),
        ("saelens", JumpReLUConfig(**WIDE)),
        ("saelens", JumpReLUConfig(**WIDE, skip=True)),
        ("saelens", BatchTopKConfig(**WIDE, k=4, skip=True)),
        ("sparsify", TopKConfig(**SQUARE, k=4)),
        ("sparsify", TopKConfig(**SQUARE, k=4, skip=True)),
        ("sparsify", ArchetypalConfig(**SIZE, k=4, n_points=10)),
    ],
    ids=str,
)
def test_round_trips(layout, config, tmp_path):
    dictionary = changed(new_dictionary(config, torch.Generator().manual_seed(0)))
    sites = Sites.at(IN, None if dictionary.is_autoencoder else OUT)
    export_dictionary(dictionary, tmp_path / "d", layout, model_name="m", sites=sites)
    found = import_dictionary(tmp_path / "d")
    assert found.format == layout and found.dictionary.config.to_json().get("skip") == config.skip
    with torch.no_grad():
        torch.testing.assert_close(found.dictionary.encode(X), dictionary.encode(X))
        torch.testing.assert_close(found.dictionary(X), dictionary(X))
    if layout == "saelens":
        assert (found.hooks, found.target) == (sites.hooks, sites.target)


@pytest.mark.parametrize(
    ("kind", "layout"),
    [("topk", "circuit-tracer"), ("topk", "sparsify"), ("jumprelu", "circuit-tracer"), ("jumprelu", "saelens")],
)
def test_a_row_of_zeros_is_written_as_it_is(kind, layout, tmp_path):
    config = TopKConfig(d_in=6, d_out=6, d_sae=9, k=3) if kind == "topk" else JumpReLUConfig(d_in=6, d_out=6, d_sae=9)
    dictionary, x = new_dictionary(config, torch.Generator().manual_seed(0)).requires_grad_(False), torch.randn(30, 6)
    dictionary.W_dec[4] = 0
    dictionary.fold([0.5], [0.5])
    export_dictionary(dictionary, tmp_path / "d", layout)
    torch.testing.assert_close(import_dictionary(tmp_path / "d").dictionary(x), dictionary(x))


@pytest.mark.parametrize(
    ("config", "layout", "words"),
    [
        (GatedConfig(**WIDE), "saelens", "A Gated transcoder has no place in the layout of SAELens"),
        (GatedConfig(**SIZE, parts=(3, 5)), "saelens", "A Gated crosscoder has no place"),
        (ReLUConfig(**SIZE, parts=(3, 5)), "saelens", "A ReLU crosscoder has no place"),
        (TopKConfig(**WIDE, k=2), "saelens", "A TopK transcoder has no place"),
        (TopKConfig(**WIDE, k=2), "sparsify", "one width"),
        (TopKConfig(**SIZE, k=2, parts=(3, 5)), "sparsify", "A TopK crosscoder has no place"),
        (ReLUConfig(**SQUARE), "sparsify", "A ReLU transcoder has no place"),
    ],
    ids=str,
)
def test_what_a_layout_cannot_hold_is_refused_and_leaves_nothing(config, layout, words, tmp_path):
    with pytest.raises(UserError, match=words):
        export_dictionary(new_dictionary(config), tmp_path / "d", layout)
    assert list(tmp_path.iterdir()) == []
