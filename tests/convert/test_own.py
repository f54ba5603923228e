"""Dictionaries of our own, from the folder of a run: every type comes over as it is, wherever it belonged."""

import pytest
import torch

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.base.staging import stage
from sparselex.base.workspace import Workspace
from sparselex.convert.doors import export_dictionary, import_dictionary
from sparselex.dictionaries.files import WEIGHTS, write_dictionary
from tests.support.dictionaries import CONFIGS, inputs, make

READ, WRITTEN = "blocks.0.hook_mlp_in", "blocks.0.hook_mlp_out"


def folded(kind):
    dictionary = make(kind)
    dictionary.fold([0.5] * len(dictionary.parts_in), [0.5] * len(dictionary.parts_out))
    return dictionary.eval().requires_grad_(False)


def artifact(folder, dictionary, sites):
    with stage(folder, "dictionary", Config(), {"model": "m", **sites.names()}) as staging:
        write_dictionary(dictionary, staging.folder, model_name="m", sites=sites)
        staging.finish()
    return folder


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_type_comes_over_as_it_is(kind, tmp_path):
    dictionary, x = folded(kind), inputs()
    sites = Sites.at(READ) if dictionary.is_autoencoder else Sites.at(READ, WRITTEN)
    found = import_dictionary(artifact(tmp_path / "dictionary", dictionary, sites))
    assert (found.format, found.hooks, found.target, found.said) == ("sparselex", sites.hooks, sites.target, "")
    assert type(found.dictionary) is type(dictionary) and found.dictionary.config == dictionary.config
    state = found.dictionary.state_dict()
    assert state.keys() == dictionary.state_dict().keys()
    for name, tensor in dictionary.state_dict().items():
        assert torch.equal(state[name], tensor), name
    assert torch.equal(found.dictionary(x), dictionary(x))


def test_several_sites_are_named(tmp_path):
    sites = Sites.at(f"{READ}+{WRITTEN}")
    found = import_dictionary(artifact(tmp_path / "d", folded("crosscoder batchtopk"), sites))
    assert found.hooks == (READ, WRITTEN)


def test_a_damaged_file_is_named(tmp_path):
    folder = artifact(tmp_path / "d", folded("gated"), Sites.at(READ))
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (folder / WEIGHTS).write_bytes(weights)
    with pytest.raises(UserError, match=r"sae_weights.safetensors.*checksum"):
        import_dictionary(folder)


def test_what_was_exported_is_saelens(tmp_path):
    export_dictionary(folded("batchtopk"), tmp_path / "d", "saelens", sites=Sites.at(READ))
    assert import_dictionary(tmp_path / "d").format == "saelens"


def test_the_advice_for_a_workspace_of_an_earlier_layout_is_good(tmp_path):
    """The folder that the message names is one that `import` takes."""
    Workspace.create(tmp_path / "old")
    artifact(tmp_path / "old" / "runs" / "main" / "dictionary", folded("matching_pursuit"), Sites.at(READ))
    (tmp_path / "old" / "sparselex.json").write_text('{"workspace": 1}')
    with pytest.raises(UserError) as refused:
        Workspace(tmp_path / "old")
    (source,) = [word for word in refused.value.todo.split() if word.startswith(str(tmp_path))]
    assert import_dictionary(source.strip("`")).format == "sparselex"
