"""Crosscoders of dictionary_learning's fork: files written by hand, held against its formula."""

import json

import pytest
import torch
from safetensors.torch import save_file

from sparselex.base.errors import UserError
from sparselex.convert.doors import import_dictionary
from sparselex.testing import check_dictionary
from tests.support.foreign import numbers

N, D, D_SAE = 3, 5, 16
ENCODER, DECODER = numbers(N, D, D_SAE, seed=10), numbers(N, D_SAE, D, seed=11)
B_ENC, B_DEC = 0.3 * numbers(D_SAE, seed=12), numbers(N, D, seed=13)
MEAN, STD = numbers(N, D, seed=14), numbers(N, D, seed=15).abs() + 0.1
SCALES = 1 / STD.square().sum(-1).sqrt()
X = 2 * numbers(50, N, D, seed=16)
SUM, JOINT = DECODER.norm(dim=-1).sum(0), DECODER.norm(dim=(0, 2))
NORMS = {None: SUM, 1: SUM, 2: JOINT, 3: JOINT + 0.1 * SUM, 4: torch.ones(D_SAE)}


def tensors(threshold=None, kind=1, normalises=False, **changed):
    values = {"encoder.weight": ENCODER, "encoder.bias": B_ENC, "decoder.weight": DECODER, "decoder.bias": B_DEC}
    if kind is not None:
        values["code_normalization_id"] = torch.tensor(kind)
    if threshold is not None:
        values |= {"threshold": torch.tensor(threshold), "k": torch.tensor(4)}
    nothing = torch.full((N, D), torch.nan)
    values |= {
        "activation_mean": MEAN if normalises else nothing,
        "activation_std": STD if normalises else nothing.clone(),
        "activation_global_scale": SCALES if normalises else torch.ones(N),
        "target_rms": torch.tensor(1.0),
    }
    return {name: value for name, value in (values | changed).items() if value is not None}


def from_hub(folder, values, **cfg):
    folder.mkdir()
    save_file({name: value.contiguous() for name, value in values.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"activation_dim": D, "dict_size": D_SAE, "num_layers": N, **cfg}))
    return folder


def from_trainer(folder, values, kind):
    folder.mkdir()
    torch.save(values, folder / "ae.pt")
    (folder / "config.json").write_text(
        json.dumps({"trainer": {"dict_class": kind, "lm_name": "m", "submodule_name": "s"}})
    )
    return folder


def by_hand(threshold=None, norms=SUM, normalises=False):
    each = SCALES[:, None] if normalises else torch.ones(N, 1)
    mean = MEAN if normalises else torch.zeros(N, D)
    acts = (torch.einsum("nld,ldf->nf", (X - mean) * each, ENCODER) + B_ENC).relu()
    if threshold is not None:
        acts = acts * (acts * norms > threshold)
    return acts, (torch.einsum("nf,lfd->nld", acts, DECODER) + B_DEC) / each + mean


def agree(found, acts, x_hat):
    check_dictionary(found.dictionary)
    assert found.dictionary.parts_in == (D,) * N
    torch.testing.assert_close(found.dictionary(X.flatten(1)), x_hat.flatten(1), rtol=1e-4, atol=1e-4)
    # Ours is the sum of the norms at all sites, each in its own units, as theirs with the kind CROSSCODER.
    torch.testing.assert_close(found.dictionary.encode(X.flatten(1)), acts * SUM, rtol=1e-4, atol=1e-4)
    assert 0 < int((acts != 0).sum()) < acts.numel()


@pytest.mark.parametrize("normalises", [False, True], ids=["raw", "normalised"])
@pytest.mark.parametrize("kind", [1, 5])
def test_relu(kind, normalises, tmp_path):
    values = tensors(kind=kind, normalises=normalises)
    found = import_dictionary(from_hub(tmp_path / "a", values))
    assert (found.format, found.hooks, found.dictionary.config.kind) == ("crosscoder_learning", (), "relu")
    agree(found, *by_hand(normalises=normalises))
    found = import_dictionary(from_trainer(tmp_path / "b", values, "CrossCoder"))
    assert (found.format, found.hooks, found.said, found.model_name) == ("dictionary_learning", (), "s", "m")
    agree(found, *by_hand(normalises=normalises))


@pytest.mark.parametrize("normalises", [False, True], ids=["raw", "normalised"])
@pytest.mark.parametrize("kind", NORMS)
def test_batchtopk(kind, normalises, tmp_path):
    values = tensors(6.0, kind, normalises)
    agree(import_dictionary(from_hub(tmp_path / "a", values)), *by_hand(6.0, NORMS[kind], normalises))
    found = import_dictionary(from_trainer(tmp_path / "b", values, "BatchTopKCrossCoder"))
    agree(found, *by_hand(6.0, NORMS[kind], normalises))


def test_mixed_norms_have_their_weights_in_the_settings(tmp_path):
    cfg = {"code_normalization_alpha_sae": 0.4, "code_normalization_alpha_cc": 0.7}
    found = import_dictionary(from_hub(tmp_path / "d", tensors(6.0, 3), **cfg))
    agree(found, *by_hand(6.0, 0.4 * JOINT + 0.7 * SUM))


def test_latents_that_write_nothing_stay_silent(tmp_path):
    decoder = DECODER.clone()
    decoder[:, 2] = 0
    dictionary = import_dictionary(from_hub(tmp_path / "d", tensors(6.0, **{"decoder.weight": decoder}))).dictionary
    assert all(value.isfinite().all() for value in dictionary.state_dict().values())
    assert not dictionary.encode(X.flatten(1))[:, 2].any()


def test_files_of_compiled_and_of_older_ones(tmp_path):
    values = {f"_orig_mod.{name}": value for name, value in tensors(6.0).items() if not name.startswith("activation")}
    agree(import_dictionary(from_trainer(tmp_path / "d", values, "BatchTopKCrossCoder")), *by_hand(6.0))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"threshold": [1.0] * N, "kind": 5}, "open at each site by themselves"),
        ({"code_normalization_id": torch.tensor(9)}, "code_normalization_id is 9"),
        ({"encoder.weight": None}, "no crosscoder of dictionary_learning"),
        ({"encoder.weight": ENCODER[0]}, r"'encoder.weight' has shape \[5, 16\], not \[any, any, any\]"),
        ({"encoder.weight": ENCODER[:1]}, "it reads one site"),
        ({"decoder.weight": ENCODER.clone()}, r"'decoder.weight' has shape \[3, 5, 16\], not \[3, 16, 5\]"),
        ({"decoder.bias": B_DEC[0]}, r"'decoder.bias' has shape \[5\], not \[3, 5\]"),
        ({"encoder.bias": torch.full((D_SAE,), float("nan"))}, "'encoder.bias' holds NaN"),
        (
            {"activation_mean": MEAN, "activation_std": STD, "activation_global_scale": None},
            "'activation_global_scale' is missing",
        ),
        ({"activation_mean": MEAN}, "numbers in activation_mean alone"),
    ],
    ids=range(10),
)
def test_faults_are_named(changed, words, tmp_path):
    with pytest.raises(UserError, match=words):
        import_dictionary(from_hub(tmp_path / "d", tensors(**changed)))


def test_truncated_files_are_named(tmp_path):
    for folder, name in (
        (from_hub(tmp_path / "a", tensors()), "model.safetensors"),
        (from_trainer(tmp_path / "b", tensors(), "CrossCoder"), "ae.pt"),
    ):
        data = (folder / name).read_bytes()
        for size in (0, 7, len(data) // 2, len(data) - 40):
            (folder / name).write_bytes(data[:size])
            with pytest.raises(UserError, match=f"{name} cannot be read as a dictionary"):
                import_dictionary(folder)
