"""Hook names in other projects' files: some of theirs mean another tensor of the same width."""

import json

import pytest

from sparselex.base.errors import UserError
from sparselex.base.sites import Sites, hooks_of
from sparselex.convert.doors import export_dictionary, import_dictionary
from sparselex.dictionaries.transformer_lens import name_here, names_there
from tests.support.dictionaries import make


@pytest.mark.parametrize(
    ("theirs", "head", "ours"),
    [
        ("blocks.2.hook_mlp_in", None, "blocks.2.hook_resid_mid"),  # before the norm there, behind it here
        ("blocks.2.mlp.hook_in", None, "blocks.2.hook_mlp_in"),
        ("blocks.2.hook_mlp_out", None, "blocks.2.hook_mlp_out"),
        ("blocks.2.attn.hook_z", 3, "blocks.2.attn.hook_z:3"),
        ("blocks.2.attn.hook_z", None, "blocks.2.attn.hook_z"),
        ("blocks.0.mlp.hook_in+blocks.1.mlp.hook_in", None, "blocks.0.hook_mlp_in+blocks.1.hook_mlp_in"),
        ("no.hook", None, "no.hook"),
        ("", None, ""),
    ],
)
def test_their_names(theirs, head, ours):
    assert name_here(theirs, head) == ours


@pytest.mark.parametrize("site", ["hook_mlp_in", "hook_resid_mid", "hook_resid_post", "mlp.hook_post", "attn.hook_z"])
def test_no_name_of_ours_comes_back_as_another(site):
    hook = f"blocks.4.{site}"
    assert name_here(names_there(hooks_of(hook))) == hook
    assert names_there(hooks_of("blocks.4.hook_mlp_in")) != "blocks.4.hook_mlp_in", "which is another tensor there"


def exported(to, hook, target=""):
    dictionary = make("transcoder relu" if target else "relu").eval().requires_grad_(False)
    export_dictionary(dictionary, to, "saelens", model_name="m", sites=Sites.at(hook, target))
    return json.loads((to / "cfg.json").read_text())


@pytest.mark.parametrize(
    ("hook", "name", "head", "reshapes"),
    [
        ("blocks.2.attn.hook_z", "blocks.2.attn.hook_z", None, "hook_z"),
        ("blocks.2.attn.hook_z:3", "blocks.2.attn.hook_z", 3, "none"),
        ("blocks.2.hook_resid_post", "blocks.2.hook_resid_post", None, "none"),
        ("blocks.2.hook_mlp_in", "blocks.2.mlp.hook_in", None, "none"),
    ],
)
def test_saelens_is_told_its_own_names(tmp_path, hook, name, head, reshapes):
    cfg = exported(tmp_path / "e", hook)
    assert (cfg["metadata"]["hook_name"], cfg["metadata"].get("hook_head_index"), cfg["reshape_activations"]) == (
        name,
        head,
        reshapes,
    )
    found = import_dictionary(tmp_path / "e")
    assert found.hooks == (hook,)


def test_a_transcoder_of_saelens_is_read_where_saelens_read_it(tmp_path):
    cfg = exported(tmp_path / "e", "blocks.2.hook_mlp_in", "blocks.2.hook_mlp_out")
    cfg["metadata"]["hook_name"] = "blocks.2.hook_mlp_in"
    (tmp_path / "e" / "cfg.json").write_text(json.dumps(cfg))
    found = import_dictionary(tmp_path / "e")
    assert (found.hooks, found.target) == (("blocks.2.hook_resid_mid",), ("blocks.2.hook_mlp_out",))


def test_heads_reshaped_in_another_way_are_refused(tmp_path):
    cfg = exported(tmp_path / "e", "blocks.2.attn.hook_z") | {"reshape_activations": "heads"}
    (tmp_path / "e" / "cfg.json").write_text(json.dumps(cfg))
    with pytest.raises(UserError, match="reshapes its inputs"):
        import_dictionary(tmp_path / "e")
