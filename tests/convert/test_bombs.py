"""Files that are made to cost more than they weigh, or to end in what no message says: each is one refusal, before
memory or time is spent."""

import json
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from sparselex.base.artifacts import MANIFEST
from sparselex.base.errors import UserError
from sparselex.base.staging import stage
from sparselex.convert.doors import import_dictionary
from sparselex.dictionaries.files import CONFIG, WEIGHTS, write_dictionary
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.archetypal import ArchetypalConfig
from sparselex.dictionaries.types.matching_pursuit import MatchingPursuitConfig
from sparselex.dictionaries.types.topk import TopKConfig
from tests.support.foreign import B_DEC, B_ENC, D_IN, D_SAE, R_MAG, UNIT, W_DEC, W_ENC

PLAIN = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": UNIT, "b_dec": B_DEC}
OPENAI = {"encoder.weight": W_ENC.T, "latent_bias": B_ENC, "decoder.weight": UNIT.T, "pre_bias": B_DEC}
CROSSCODER = {
    "encoder.weight": torch.ones(2, 3, 4),
    "encoder.bias": torch.ones(4),
    "decoder.weight": torch.ones(2, 4, 3),
    "decoder.bias": torch.ones(2, 3),
}


def refused(folder, words):
    with pytest.raises(UserError, match=words) as refusal:
        import_dictionary(folder)
    assert len(str(refusal.value)) < 1200 and len(str(refusal.value).splitlines()) == 3
    assert "pydantic" not in str(refusal.value)


def written(folder, weights, tensors, settings=None, name="cfg.json"):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / weights)
    if settings is not None:
        text = yaml.safe_dump(settings) if name.endswith(".yaml") else json.dumps(settings)
        (folder / name).write_text(text)
    return folder


def saelens(folder, settings, **changed):
    tensors = {name: value for name, value in (PLAIN | changed).items() if value is not None}
    return written(folder, WEIGHTS, tensors, settings)


# Pickles


class Called:
    def __init__(self, what, *arguments):
        self.called = what, arguments

    def __reduce__(self):
        return self.called


def doubled():
    """A tuple whose hash takes a thousand years."""
    value = (0,)
    for _ in range(60):
        value = (value, value)
    return value


PICKLES = {
    "an array of zeros": (lambda: Called(bytearray, 2_500_000_000), "more than plain tensors"),
    "tuples of tuples": (lambda: Called(OrderedDict, [[doubled(), 1]]), "refers to parts of itself"),
    "a long list": (lambda: list(range(300_000)), "longer than that of a table of tensors"),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zipped", "old"])
@pytest.mark.parametrize("name", PICKLES)
def test_pickles_that_call_for_memory_or_time(name, zipped, tmp_path):
    value, words = PICKLES[name]
    torch.save(OPENAI | {"normalize": value()}, tmp_path / "7.pt", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "7.pt", words)


def test_a_tensor_that_claims_more_numbers_than_its_old_file_has(tmp_path):
    torch.save(OPENAI | {"encoder.weight": torch.ones(100)}, tmp_path / "7.pt", _use_new_zipfile_serialization=False)
    data, many = (tmp_path / "7.pt").read_bytes(), b"J" + struct.pack("<i", 10**9)
    assert data.count(b"Kd") == 2  # the length of what is stored, and of the tensor
    data = data.replace(b"Kd", many)
    # No names of what is stored: nothing is read, and what was to hold it is still there.
    (tmp_path / "7.pt").write_bytes(data[: data.rindex(b"\x80\x02]")] + b"\x80\x02].")
    refused(tmp_path / "7.pt", "'encoder.weight' is no plain table of real numbers")


def test_files_that_unpack_to_many_times_their_size(tmp_path):
    (tmp_path / "a").mkdir()
    torch.save(OPENAI, tmp_path / "a" / "7.pt")
    with zipfile.ZipFile(tmp_path / "a" / "7.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("7/more", bytes(2**27))
    np.savez_compressed(tmp_path / "params.npz", W_enc=np.zeros((16, 2**21), dtype=np.float32), b_enc=np.zeros(2**23))
    for name in ("a/7.pt", "params.npz"):
        assert (tmp_path / name).stat().st_size < 2**19
        refused(tmp_path / name, "it unpacks to .* bytes, and in a file of its size 67108864 at most are read")


def test_what_is_packed_within_reason_is_read(tmp_path):
    np.savez_compressed(tmp_path / "params.npz", **{k: v.numpy() for k, v in PLAIN.items()}, threshold=B_ENC.numpy())
    assert import_dictionary(tmp_path).dictionary.d_sae == D_SAE


# Sizes that are only promised


def test_layers_that_hold_nothing(tmp_path):
    first = {"W_enc_0": torch.zeros(10_000, 8), "b_enc_0": torch.zeros(10_000), "b_dec_0": torch.zeros(8)}
    written(tmp_path, "W_enc_0.safetensors", first)
    written(tmp_path, "W_dec_0.safetensors", {"W_dec_0": torch.zeros(10_000, 1, 8)})
    for layer in range(1, 200):
        written(tmp_path, f"W_enc_{layer}.safetensors", {})
    refused(tmp_path, r"'W_dec_0' has shape \[10000, 1, 8\], not \[10000, 200, 8\]")


OWN = {
    "latents": (TopKConfig(d_in=6, d_sae=20, k=3), {"d_sae": 10**7}),
    "more latents than there are numbers": (TopKConfig(d_in=6, d_sae=20, k=3), {"d_sae": 10**30}),
    "a skip": (TopKConfig(d_in=600, d_sae=20, k=3), {"skip": True, "d_out": 10**6}),
    "points": (ArchetypalConfig(d_in=6, d_sae=20, k=3, n_points=5), {"n_points": 10**8}),
}


def own(folder, config, **changed):
    """A finished dictionary of ours with a manifest that agrees, and other settings than it was made of."""
    with stage(folder, "dictionary", config, {}) as staging:
        dictionary = new_dictionary(config)
        dictionary.fold([1.0], [1.0])
        write_dictionary(dictionary, staging.folder)
        path = staging.folder / CONFIG
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))
        staging.finish()
    return folder


@pytest.mark.parametrize("name", OWN)
def test_our_own_settings_that_ask_for_more_than_the_weights_hold(name, tmp_path):
    config, changed = OWN[name]
    words = r"it holds \d+ numbers, and config\.json asks for \d+|weights, which no machine holds"
    refused(own(tmp_path / "d", config, **changed), words)


def test_points_of_a_small_dictionary_may_be_many(tmp_path):
    config = ArchetypalConfig(d_in=6, d_sae=20, k=3, n_points=1024)
    assert import_dictionary(own(tmp_path / "d", config)).dictionary.config == config


@pytest.mark.parametrize("n", [100_000, 10**30])
def test_a_pursuit_without_end(n, tmp_path):
    settings = {"architecture": "matching_pursuit", "max_iterations": n, "residual_threshold": 0}
    words = f"k={n} steps are too many for a pursuit"
    refused(saelens(tmp_path / "a", settings, W_enc=None, b_enc=None), words)
    refused(own(tmp_path / "b", MatchingPursuitConfig(d_in=6, d_sae=20, k=3), k=n), words)


def test_headers_that_name_thousands_of_tensors(tmp_path):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({str(number): entry for number in range(20_000)}).encode()
    saelens(tmp_path / "d", {})
    (tmp_path / "d" / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header)
    refused(tmp_path / "d", "its header has .* bytes")


# Settings


def test_settings_as_large_as_weights(tmp_path):
    tensors = {"W_enc": W_ENC.T, "W_dec": W_DEC, "b_enc": B_ENC, "b_dec": B_DEC}
    written(tmp_path / "a", "layer_1.safetensors", tensors)
    (tmp_path / "a" / "config.yaml").write_text("\n".join(f"k{number}: 0" for number in range(20_000)))
    saelens(tmp_path / "b", {"architecture": "standard", "more": [[]] * 2**19})
    for folder in (tmp_path / "a", tmp_path / "b"):
        refused(folder, "is larger than settings are")
    refused(own(tmp_path / "c", TopKConfig(d_in=6, d_sae=20, k=3), more="x" * 2**20), "its kind is None")


def test_manifests_of_many_mistakes(tmp_path):
    folder = own(tmp_path / "d", TopKConfig(d_in=6, d_sae=20, k=3))
    values = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(values | {f"n{number}": 0 for number in range(1000)}))
    with pytest.raises(UserError, match="unknown key 'n0'") as refusal:
        import_dictionary(folder)
    assert str(refusal.value).count("unknown key") == 20
    (folder / MANIFEST).write_text(json.dumps(values | {"more": "x" * 2**24}))
    refused(folder, "cannot be read as JSON")


def test_what_a_file_says_of_itself_is_cut_short(tmp_path):
    refused(saelens(tmp_path / "d", {"architecture": "x" * 100_000}), "the architecture 'xxx")


# What no type can be made of


EMPTY = {"W_enc": torch.zeros(D_IN, 0), "b_enc": torch.zeros(0), "W_dec": torch.zeros(0, D_IN)}


@pytest.mark.parametrize("kind", ["standard", "topk", "abstopk", "jumprelu", "matching_pursuit"])
def test_no_latents_and_no_width(kind, tmp_path):
    refused(saelens(tmp_path / "a", {"architecture": kind, "k": 3}, **EMPTY), "'W_(enc|dec)' is empty")
    narrow = {"W_enc": torch.zeros(0, D_SAE), "W_dec": torch.zeros(D_SAE, 0), "b_dec": torch.zeros(0)}
    refused(saelens(tmp_path / "b", {"architecture": kind, "k": 3}, **narrow), "'W_(enc|dec)' is empty")


def test_no_latents_of_other_projects(tmp_path):
    torch.save(
        OPENAI | {"encoder.weight": torch.zeros(0, D_IN), "activation": "TopK", "activation_state_dict": {"k": 1}},
        tmp_path / "7.pt",
    )
    refused(tmp_path / "7.pt", "'encoder.weight' is empty")
    tensors = {name: value.transpose(0, -1) for name, value in EMPTY.items()}
    written(tmp_path / "a", "layer_0.safetensors", tensors, {"activation": "topk", "k": 1}, "config.yaml")
    refused(tmp_path / "a", "'W_enc' is empty")
    crosscoder = CROSSCODER | {"encoder.weight": torch.zeros(2, 3, 0)}
    refused(written(tmp_path / "b", "model.safetensors", crosscoder, {}, "config.json"), "'encoder.weight' is empty")


def test_numbers_of_a_kind_that_cannot_be_read(tmp_path):
    header = json.dumps({"W_enc": {"dtype": "F4", "shape": [8, 8], "data_offsets": [0, 32]}}).encode()
    folder = saelens(tmp_path / "a", {"architecture": "standard"})
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + bytes(32))
    refused(folder, "'W_enc' holds numbers of the kind float4")


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.int8, torch.int64, torch.bool], ids=str)
@pytest.mark.parametrize("name", ["activation_mean", "encoder.weight"])
def test_weights_that_are_no_fractions_are_refused(kind, name, tmp_path):
    """Quantised ones come with scales, which are not read; means are looked at before they are taken."""
    means = {"activation_mean": torch.zeros(2, 3), "activation_std": torch.ones(2, 3)}
    tensors = CROSSCODER | means | {"activation_global_scale": torch.ones(2)}
    tensors[name] = tensors[name].to(kind)
    told = f"tensor '{name}' holds numbers of the kind {str(kind).removeprefix('torch.')}, and weights are float16"
    refused(written(tmp_path / "d", "model.safetensors", tensors, {}, "config.json"), told)


def test_what_is_no_number_is_refused_at_the_door(tmp_path):
    torch.save(OPENAI | {"activation": "TopK", "activation_state_dict": {"k": torch.ones(3)}}, tmp_path / "7.pt")
    refused(tmp_path / "7.pt", r"k is tensor\(\[1., 1., 1.\]\), which is no whole number")


@pytest.mark.parametrize("error", [RuntimeError("one\ntwo"), NotImplementedError("one"), MemoryError(), IndexError()])
def test_other_faults_of_readers_are_one_sentence(error, monkeypatch, tmp_path):
    def take(self, name, *shape):
        raise error

    monkeypatch.setattr("sparselex.convert.tensors.Tensors.take", take)
    said = str(error).split("\n")[0] or type(error).__name__
    refused(saelens(tmp_path / "d", {}), rf"cannot be read as a dictionary of saelens: {said}\.")


# Weights that are finite, and what they give is not


@pytest.mark.parametrize("kind", ["standard", "gated", "matching_pursuit"])
def test_codes_that_overflow(kind, tmp_path):
    if kind == "gated":
        changed = {"b_enc": None, "b_gate": B_ENC, "r_mag": torch.full_like(R_MAG, 88), "b_mag": 2 * B_ENC}
    elif kind == "standard":
        changed = {name: value * 1e15 for name, value in PLAIN.items()}
    else:
        changed = {"W_enc": None, "b_enc": None, "W_dec": W_DEC * 1e15}
    refused(saelens(tmp_path / "d", {"architecture": kind}, **changed), "its .* of tokens with entries of size 1")
