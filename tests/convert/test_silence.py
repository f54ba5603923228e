"""Nothing that changes numbers is ignored in silence: what a person gives is used or refused, what a file says is used,
refused or named, and two places that say one thing say the same."""

import json

import pytest
import torch
from safetensors.torch import save_file

from sparselex.base.errors import UserError
from sparselex.convert.doors import import_dictionary
from sparselex.convert.table import FORMATS
from tests.convert.test_fields import WRITERS, plain, saelens
from tests.support.foreign import (
    B_DEC,
    B_ENC,
    B_MAG,
    D_IN,
    D_SAE,
    PRE,
    R_MAG,
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

ROWS = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": UNIT, "b_dec": B_DEC}
BIASED = {"pre_bias": B_DEC, "latent_bias": B_ENC, "encoder.weight": W_ENC.T, "decoder.weight": UNIT.T}


def bare(folder, tensors, cfg=None):
    folder.mkdir(exist_ok=True)
    torch.save({"state_dict": tensors} | ({"cfg": cfg} if cfg else {}), folder / "1.pt")
    return folder / "1.pt"


def theirs(folder, name, cfg=None, extra=None):
    folder.mkdir()
    WRITERS[name](folder, cfg or {}, extra or {})
    return folder


def told(found):
    return " ".join(found.warnings)


# What a person gives


@pytest.mark.parametrize(
    ("tensors", "given", "words"),
    [
        (ROWS, {"kind": "relu", "options": {"k": 5}}, "--option k=5 changes nothing: .* read as a ReLU"),
        (ROWS, {"kind": "topk", "options": {"k": 5, "threshold": 0.5}}, "--option threshold=0.5 changes nothing"),
        (ROWS, {"kind": "batchtopk", "options": {"k": 5, "threshold": 0.5}}, "--option k=5 changes nothing"),
        (ROWS, {"options": {"threshold": 0.5}}, "whether k or a threshold decides"),
        (ROWS | {"threshold": THRESHOLD[0]}, {"options": {"k": 5}}, "whether k or a threshold decides"),
        (ROWS, {"options": {"lr": 0.1}}, "--option lr=0.1 changes nothing"),
        (ROWS, {"options": {"tied": True}}, "tied is true, and W_dec is another matrix"),
        (ROWS, {"transcoder": True, "options": {"centred": True}}, "--option centred=True changes nothing"),
        (ROWS | {"gain": B_ENC}, {"names": {"scale": "gain"}}, "--map scale='gain' changes nothing"),
    ],
    ids=range(9),
)
def test_what_a_person_gives_bare_tensors_is_used_or_refused(tensors, given, words, tmp_path):
    with pytest.raises(UserError, match=words):
        import_dictionary(bare(tmp_path, tensors), **given)


def test_a_decoder_that_is_the_transpose_is_tied(tmp_path):
    path = bare(tmp_path, ROWS | {"W_enc": UNIT.T.contiguous()})
    agree(import_dictionary(path, options={"tied": True}), ((X - B_DEC) @ UNIT.T + B_ENC).relu(), UNIT)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sparsify", {"expansion_factor": 3}),
        ("dictionary_learning", {"k": 5}),
        ("dictionary_learning", {"apply_b_dec_to_input": True}),
        ("crosscoder_learning", {"lr": 3}),
        ("llama_scope", {"jump_relu_threshold": 0.5}),
        ("llamascopium", {"top_k": 5}),
        ("gemma_scope_2", {"width": 3}),
        ("circuit-tracer", {"k": 5}),
        ("circuit-tracer-clt", {"k": 5}),
        ("openai", {"activation_state_dict": {"k": 5}}),
    ],
    ids=str,
)
def test_an_option_without_a_use_is_refused(name, options, tmp_path):
    with pytest.raises(UserError, match=f"--option {next(iter(options))}=.* changes nothing"):
        import_dictionary(theirs(tmp_path / "d", name), options=options)


@pytest.mark.parametrize("name", sorted({*WRITERS} - {"tensors", "openai"}))
def test_a_name_and_a_target_without_a_use_are_refused(name, tmp_path):
    folder = theirs(tmp_path / "d", name, extra={"gain": torch.ones(3)})
    with pytest.raises(UserError, match=r"--map scale='gain' changes nothing|holds no tensor gain"):
        import_dictionary(folder, names={"scale": "gain"})
    if import_dictionary(folder).dictionary.is_autoencoder and name not in ("gemma_scope", "gemma_scope_2"):
        with pytest.raises(UserError, match="reconstructs its own input"):
            import_dictionary(folder, transcoder=True)


# What a file says


@pytest.mark.parametrize("kind", ["relu", "topk", "gated"])
def test_tensors_without_a_use_are_named_also_where_they_tell_the_number_of_latents(kind, tmp_path):
    """There is no `b_enc` to tell it."""
    others = {"threshold": THRESHOLD, "log_threshold": THRESHOLD.log(), "r_mag": R_MAG, "b_mag": B_MAG}
    tensors = {name: value for name, value in ROWS.items() if kind == "gated" or name != "b_enc"} | others
    found = import_dictionary(bare(tmp_path, tensors), kind=kind, options={"k": 5} if kind == "topk" else {})
    left = told(found).partition("no use here were left out: ")[2].split(", ")
    assert left == (["log_threshold", "threshold"] if kind == "gated" else sorted(others))


@pytest.mark.parametrize(
    ("name", "cfg", "words"),
    [
        ("tensors", {"kind": "relu", "k": 5}, "k=5"),
        ("tensors", {"kind": "topk", "k": 5, "threshold": 0.5}, "threshold=0.5"),
        ("tensors", {"architecture": "lorsa"}, "architecture='lorsa'"),
        ("dictionary_learning", {"k": 5}, "k=5"),
        ("dictionary_learning", {"apply_b_dec_to_input": True}, "apply_b_dec_to_input=True"),
        ("llama_scope", {"jump_relu_threshold": 0.5}, "jump_relu_threshold=0.5"),
        ("circuit-tracer", {"k": 5}, "k=5"),
    ],
    ids=str,
)
def test_settings_without_a_use_for_that_type_are_named(name, cfg, words, tmp_path):
    found = import_dictionary(theirs(tmp_path / "d", name, cfg))
    assert f"without a use in a dictionary of this type were left out: {words}" in told(found)


@pytest.mark.parametrize("name", FORMATS.names())
def test_no_pattern_hides_a_field_that_changes_numbers_elsewhere(name):
    fields = FORMATS.get(name).fields
    known = {*fields.used.split(), *fields.only, *fields.warned, *fields.stated}
    formats = dict(FORMATS.items()).values()
    others = {word for form in formats for word in [*form.fields.used.split(), *form.fields.only]}
    decoys = {"log_threshold", "jumprelu_threshold", "threshold_scale", "n_steps", "k_ratio", "input_scale"}
    patterns = {pattern for pattern in fields.harmless.split() if "*" in pattern}
    hiding = fields._replace(harmless=" ".join(patterns))
    assert [word for word in (others | decoys) - known if hiding.is_harmless(word)] == []


@pytest.mark.parametrize("name", ["sparsity_include_decoder_norm", "rescale_acts_by_decoder_norm"])
def test_bare_tensors_ranked_by_contribution_are_refused(name, tmp_path):
    path = bare(tmp_path, ROWS, {name: True, "k": 5})
    with pytest.raises(UserError, match=f"{name} is True, which changes numbers"):
        import_dictionary(path)
    agree(import_dictionary(path, options={name: False}), top(PRE, PRE, 5), UNIT)


@pytest.mark.parametrize(
    ("cfg", "hooks"),
    [
        ({"hook_name": "blocks.3.hook_resid_pre"}, ("blocks.3.hook_resid_pre",)),
        ({"hook_point": "blocks.3.hook_mlp_in"}, ("blocks.3.hook_resid_mid",)),
        ({"submodule_name": "resid_post_layer_3"}, ("blocks.3.hook_resid_post",)),
        ({"hook_name": "blocks.3.attn.hook_z", "hook_head_index": 2}, ("blocks.3.attn.hook_z:2",)),
        ({"hook_name_out": "blocks.3.hook_mlp_out"}, ()),
    ],
    ids=str,
)
def test_places_in_the_settings_of_bare_tensors_are_used(cfg, hooks, tmp_path):
    found = import_dictionary(bare(tmp_path, ROWS, cfg))
    assert found.hooks == hooks and found.target == ()
    assert ("hook_name_out='blocks.3.hook_mlp_out'" in told(found)) == ("hook_name_out" in cfg)


def test_a_kind_that_the_person_names_keeps_what_saelens_says(tmp_path):
    cfg = {"apply_b_dec_to_input": False, "metadata": {"hook_name_out": "blocks.2.hook_mlp_out", "model_name": "m"}}
    folder = saelens(tmp_path / "d", cfg, W_dec=UNIT)
    found = import_dictionary(folder, kind="relu")
    assert found.hooks == ("blocks.1.hook_resid_pre",) and found.model_name == "m"
    agree(found, RAW.relu(), UNIT)
    assert import_dictionary(folder, kind="relu", transcoder=True).target == ("blocks.2.hook_mlp_out",)


@pytest.mark.parametrize(
    ("values", "beside", "options"),
    [
        ({"k": 5}, None, {}),
        ({"k": torch.tensor(5)}, None, {}),
        ({"cfg": {"top_k": 5}}, None, {}),
        ({}, {"k": 5, "architecture": "topk"}, {}),
        ({}, None, {"k": 5}),
    ],
    ids=str,
)
def test_a_file_with_a_k_beside_its_biases_is_not_openais(values, beside, options, tmp_path):
    torch.save(BIASED | values, tmp_path / "7.pt")
    if beside:
        (tmp_path / "config.json").write_text(json.dumps(beside))
    found = import_dictionary(tmp_path, options=options)
    assert found.format == "tensors"
    agree(found, top(PRE, PRE, 5), UNIT)


def test_what_openai_gives_its_activation_besides_is_named(tmp_path):
    torch.save(BIASED | {"activation": "TopK", "activation_state_dict": {"k": 5, "slope": 2}}, tmp_path / "7.pt")
    assert "slope=2" in told(import_dictionary(tmp_path))


# Two places that say one thing


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda d: bare(d, ROWS | {"sae.W_enc": 2 * W_ENC}), "holds both W_enc and sae.W_enc"),
        (lambda d: bare(d, ROWS | {"module.sae.b_enc": B_ENC}), "b_enc"),
        (
            lambda d: theirs(d, "crosscoder_learning", {}, {"_orig_mod.encoder.bias": 2 * B_ENC}),
            "holds both encoder.bias and _orig_mod.encoder.bias",
        ),
        (lambda d: bare(d, ROWS, {"k": 4, "top_k": 5}), "k is 4 and top_k is 5, which mean the same"),
        (lambda d: bare(d, ROWS | {"k": torch.tensor(4)}, {"k": 5}), "k is 5 in the settings and 4 in the tensor 'k'"),
        (
            lambda d: theirs(d, "dictionary_learning", {"dict_class": "AutoEncoderTopK", "k": 5}, _topk(4)),
            "k is 5 in the settings and 4 in the tensor 'k'",
        ),
        (
            lambda d: theirs(d, "circuit-tracer", {"activation": "topk", "k": 5}, {"k": torch.tensor(4)}),
            "k is 5 in the settings and 4 in the tensor 'k'",
        ),
        (
            lambda d: saelens(d, {"architecture": "topk", "k": 4, "activation_fn_kwargs": {"k": 5}}),
            "k is 4 in the settings and 5 in their activation_fn_kwargs",
        ),
        (lambda d: saelens(d, {"metadata": {"d_in": 9}, "d_in": D_IN}), "d_in stands there twice, and not the same"),
        (lambda d: saelens(d, {"hook_point": "blocks.2.hook_resid_pre"}), "hook_point is .*which mean the same"),
        (lambda d: saelens(d, {"architecture": "jumprelu", "activation_fn": "tanh-relu"}), "'tanh-relu' is not relu"),
        (
            lambda d: theirs(
                d, "crosscoder_learning", {"code_normalization": "SAE"}, {"code_normalization_id": torch.tensor(1)}
            ),
            "code_normalization is SAE in the settings and 1 in the weights",
        ),
        (lambda d: theirs(d, "crosscoder_learning", {"dict_size": 7}), "dict_size is 7"),
        (lambda d: theirs(d, "circuit-tracer", {"activation": "jumprelu"}), "jumprelu, and it holds no threshold"),
        (lambda d: theirs(d, "circuit-tracer-clt", {"activation": "jumprelu"}), "and relu in the weights"),
        (lambda d: bare(d, ROWS | {"threshold": THRESHOLD}, {"kind": "jumprelu", "threshold": 9.0}), "has others"),
        (
            lambda d: saelens(
                d, {"finetuning_scaling_factor": True}, scaling_factor=2 * B_ENC, finetuning_scaling_factor=3 * B_ENC
            ),
            "factors of the activations twice, scaling_factor and finetuning_scaling_factor",
        ),
        (lambda d: _two_files(d), "k stands there twice, and not the same"),
    ],
    ids=range(18),
)
def test_what_stands_there_twice_and_differs_is_refused(write, words, tmp_path):
    source = write(tmp_path / "d")
    with pytest.raises(UserError, match=words):
        import_dictionary(source)


def _topk(k):
    return {"b_dec": B_DEC, "k": torch.tensor(k)}


def _two_files(folder):
    bare(folder, ROWS, {"k": 4})
    (folder / "config.json").write_text(json.dumps({"k": 5}))
    return folder


def test_what_a_person_says_decides_between_two(tmp_path):
    folder = theirs(tmp_path / "d", "dictionary_learning", {"dict_class": "AutoEncoderTopK", "k": 5}, _topk(4))
    agree(import_dictionary(folder, options={"k": 3}), top(PRE, PRE, 3), W_DEC)
    agree(import_dictionary(_two_files(tmp_path / "e"), options={"k": 3}), top(PRE, PRE, 3), UNIT)


def test_a_tensor_that_gives_way_to_another_name_is_named(tmp_path):
    found = import_dictionary(bare(tmp_path, ROWS | {"new": 2 * B_ENC}), names={"b_enc": "new"})
    assert "left out: b_enc of the file" in told(found)


# Numbers and truth values of another kind


@pytest.mark.parametrize("k", [4.7, 4.0, True, "4"], ids=str)
@pytest.mark.parametrize(
    ("name", "cfg", "extra"),
    [
        ("tensors", {}, {}),
        ("sparsify", {}, {}),
        ("dictionary_learning", {"dict_class": "AutoEncoderTopK"}, {"b_dec": B_DEC}),
        ("circuit-tracer", {"activation": "topk"}, {}),
    ],
    ids=["tensors", "sparsify", "dictionary_learning", "circuit-tracer"],
)
def test_a_number_of_latents_is_whole_and_written_as_such(name, cfg, extra, k, tmp_path):
    with pytest.raises(UserError, match=f"k is {k!r}, which is no whole number"):
        import_dictionary(theirs(tmp_path / "a", name, cfg | {"k": k}, extra))
    if name not in ("sparsify", "circuit-tracer") and not isinstance(k, str):
        with pytest.raises(UserError, match=r"tensor 'k' of (float32|bool) \[\] is no single whole number"):
            import_dictionary(theirs(tmp_path / "b", name, cfg | {"kind": "topk"}, extra | {"k": torch.tensor(k)}))


@pytest.mark.parametrize(
    ("name", "cfg"),
    [
        ("saelens", {"apply_b_dec_to_input": "false"}),
        ("saelens", {"finetuning_scaling_factor": "false"}),
        ("saelens", {"architecture": "topk", "k": 4, "rescale_acts_by_decoder_norm": "false"}),
        ("saelens", {"model_from_pretrained_kwargs": {"center_writing_weights": "false"}}),
        ("sparsify", {"transcode": "false"}),
        ("sparsify", {"signed": "false"}),
        ("llama_scope", {"use_glu_encoder": "false"}),
        ("llama_scope", {"use_decoder_bias": 0}),
        ("gemma_scope_2", {"affine_connection": "false"}),
        ("tensors", {"tied": "false"}),
        ("tensors", {"apply_b_dec_to_input": "false"}),
        ("openai", {"normalize": "false"}),
    ],
    ids=str,
)
def test_words_and_numbers_are_no_truth_values(name, cfg, tmp_path):
    with pytest.raises(UserError, match=r"is ('false'|0), and neither true nor false"):
        import_dictionary(saelens(tmp_path / "d", cfg) if name == "saelens" else theirs(tmp_path / "d", name, cfg))


@pytest.mark.parametrize("name", ["prepend_bos", "context_size", "dataset"])
def test_what_is_stated_of_the_text_in_another_kind_is_named(name, tmp_path):
    found = import_dictionary(bare(tmp_path, ROWS, {name: 2.5}))
    assert found.stated == {} and f"{name} is 2.5, which says nothing of the text" in told(found)


def test_factors_without_their_flag_are_refused(tmp_path):
    factors = torch.linspace(0.5, 2, D_SAE)
    folder = saelens(tmp_path / "d", scaling_factor=factors)
    with pytest.raises(UserError, match="its settings do not say finetuning_scaling_factor"):
        import_dictionary(folder)
    agree(import_dictionary(folder, options={"finetuning_scaling_factor": True}), PRE.relu(), W_DEC * factors[:, None])
    agree(import_dictionary(saelens(tmp_path / "e", scaling_factor=factors * 0 + 1)), PRE.relu(), W_DEC)
    with pytest.raises(UserError, match="holds no factors of the activations"):
        import_dictionary(saelens(tmp_path / "f", {"finetuning_scaling_factor": True}))


# Thresholds below 0


@pytest.mark.parametrize("sign", [1, -1], ids=["above", "below"])
@pytest.mark.parametrize(
    ("write", "given"),
    [
        (lambda d, cut: bare(d, ROWS | {"threshold": cut[0]}), {"kind": "batchtopk"}),
        (lambda d, cut: bare(d, ROWS | {"threshold": cut}), {"options": {"centred": True}}),
        (lambda d, cut: saelens(d, {"architecture": "jumprelu"}, W_dec=UNIT, threshold=cut), {}),
        (lambda d, cut: saelens(d, {"architecture": "batchtopk"}, W_dec=UNIT, topk_threshold=cut[0]), {}),
        (lambda d, cut: _batch_topk(d, cut[0]), {}),
    ],
    ids=range(5),
)
def test_a_threshold_below_0_is_0_and_that_is_said(write, given, sign, tmp_path):
    found = import_dictionary(write(tmp_path / "d", sign * THRESHOLD.clamp_min(0.1)), **given)
    assert ("is below 0 (lowest -" in told(found) and "taken as 0" in told(found)) == (sign < 0)
    if sign < 0:
        agree(found, jump(PRE, 0), UNIT)


def _batch_topk(folder, cut):
    cfg = {"dict_class": "BatchTopKSAE", "k": 4}
    return theirs(folder, "dictionary_learning", cfg, _topk(4) | {"threshold": cut, "decoder.weight": UNIT.T})


def test_thresholds_that_let_negative_values_through_are_refused(tmp_path):
    cut = THRESHOLD.clone()
    cut[3] = -0.5
    one = theirs(tmp_path / "a", "circuit-tracer", {}, {"activation_function.threshold": cut})
    all_layers = theirs(tmp_path / "b", "circuit-tracer-clt", {}, {"threshold_1": cut})
    save_file(plain({"W_enc_0": W_ENC.T, "b_enc_0": B_ENC, "b_dec_0": B_DEC, "threshold_0": cut}), all_layers / "x")
    (all_layers / "x").rename(all_layers / "W_enc_0.safetensors")
    save_file(plain({"W_enc_1": W_ENC.T, "b_enc_1": B_ENC, "b_dec_1": B_DEC, "threshold_1": cut}), all_layers / "x")
    (all_layers / "x").rename(all_layers / "W_enc_1.safetensors")
    for folder in (one, all_layers):
        with pytest.raises(UserError, match="a threshold below 0, so that activations may be negative"):
            import_dictionary(folder)


# Weights that were quantised


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.int64, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("name", ["W_enc", "b_dec"])
def test_quantised_weights_without_their_scales_are_refused(name, kind, tmp_path):
    save_file(plain(ROWS | {name: ROWS[name].to(kind)}), tmp_path / "1.safetensors")
    with pytest.raises(UserError, match=f"'{name}' holds numbers of the kind .*and weights are float16"):
        import_dictionary(tmp_path)
