"""Files that are whole, with a manifest that agrees, and still no dictionary: the fault is named, not the traceback."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from sparselex.base.errors import UserError
from sparselex.base.staging import stage
from sparselex.dictionaries.files import load_dictionary, write_dictionary
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.batchtopk import BatchTopKConfig

CONFIG = BatchTopKConfig(d_in=6, d_sae=20, k=3)


def write(path, *, tensors=None, drop=(), settings=None):
    """A finished dictionary with some tensors replaced or dropped and some settings changed."""
    with stage(path, "dictionary", CONFIG, {}) as staging:
        write_dictionary(new_dictionary(CONFIG, torch.Generator().manual_seed(0)), staging.folder)
        weights, config = staging.folder / "sae_weights.safetensors", staging.folder / "config.json"
        kept = {name: value for name, value in (load_file(weights) | (tensors or {})).items() if name not in drop}
        save_file(kept, weights)
        config.write_text(json.dumps(json.loads(config.read_text()) | (settings or {})))
        staging.finish()
    return path


def test_what_was_not_changed_loads(tmp_path):
    assert load_dictionary(write(tmp_path / "d")).config == CONFIG


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"drop": ["b_enc"]}, "tensor 'b_enc' is missing"),
        ({"tensors": {"W_enc": torch.zeros(20, 6)}}, r"tensor 'W_enc' has shape \[20, 6\], not \[6, 20\]"),
        ({"tensors": {"b_dec": torch.full((6,), float("nan"))}}, "tensor 'b_dec' holds NaN or infinity"),
        ({"tensors": {"W_skip": torch.zeros(6, 6)}}, "tensor 'W_skip' is unknown"),
        ({"settings": {"threshold": "high"}}, "threshold is 'high', which is no finite number"),
        ({"settings": {"threshold": None}}, "threshold is None"),
        ({"settings": {"k": 99}}, "lower k or raise d_sae"),
        ({"settings": {"kind": "gate"}}, "gate"),
    ],
    ids=str,
)
def test_the_fault_is_named(tmp_path, change, fault):
    name = "config.json" if "settings" in change else "sae_weights.safetensors"
    with pytest.raises(UserError, match=rf"{name} cannot be read as a dictionary: .*{fault}"):
        load_dictionary(write(tmp_path / "d", **change))
