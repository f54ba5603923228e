"""Places by the names of every project that is read: our hooks where one means the same in all models, else paths that
a model may have."""

import pytest

from sparselex.convert.places import module_paths, place_here


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("layers.3", "blocks.3.hook_resid_post"),
        ("model.layers.3", "blocks.3.hook_resid_post"),
        ("transformer.h.3", "blocks.3.hook_resid_post"),
        ("h.3", "blocks.3.hook_resid_post"),
        ("gpt_neox.layers.3", "blocks.3.hook_resid_post"),
        ("model.layers.12.output", "blocks.12.hook_resid_post"),
        ("model.language_model.layers.12.self_attn.o_proj.input", "blocks.12.attn.hook_z"),
        ("model.layers.5.pre_feedforward_layernorm.output", "blocks.5.hook_mlp_in"),
        ("model.layers.5.post_feedforward_layernorm.output", "blocks.5.hook_mlp_out"),
        ("resid_post_layer_8", "blocks.8.hook_resid_post"),
        ("resid_pre_layer_8", "blocks.8.hook_resid_pre"),
        ("layers.0+layers.1", "blocks.0.hook_resid_post+blocks.1.hook_resid_post"),
        ("blocks.2.hook_mlp_out", "blocks.2.hook_mlp_out"),
        # What joins the stream differs between models: a module, and no site of all.
        ("layers.3.mlp", "layers.3.mlp"),
        ("mlp_out_layer_3", "mlp_out_layer_3"),
        ("model.layers.5.mlp.down_proj", "model.layers.5.mlp.down_proj"),
        ("a place", "a place"),
        ("", ""),
    ],
)
def test_names_here(theirs, ours):
    assert place_here(theirs) == ours


@pytest.mark.parametrize(
    ("theirs", "path"),
    [
        ("layers.3.mlp", "model.layers.3.mlp"),
        ("h.3.attn", "transformer.h.3.attn"),
        ("layers.3.attention", "gpt_neox.layers.3.attention"),
        ("model.layers.5.mlp.output", "model.layers.5.mlp"),
        ("mlp_out_layer_3", "gpt_neox.layers.3.mlp"),
        ("attn_out_layer_3", "model.layers.3.self_attn"),
        ("mlp_layer3", "transformer.h.3.mlp"),
        ("embed_tokens", "model.embed_tokens"),
    ],
)
def test_paths_that_a_model_may_have(theirs, path):
    assert path in module_paths(theirs)


@pytest.mark.parametrize("name", ["a place", "../up", "layers.3;x", ""])
def test_what_is_no_path(name):
    assert module_paths(name) == []
