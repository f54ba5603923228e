"""Cross-layer transcoders of circuit-tracer: files written by hand, held against its formula; and written for it."""

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from sparselex.base.errors import UserError
from sparselex.base.sites import Sites, hooks_of
from sparselex.base.staging import stage
from sparselex.convert.doors import export_dictionary, import_dictionary
from sparselex.dictionaries.files import load_dictionary, write_dictionary
from sparselex.dictionaries.types.clt import CrossLayerConfig, CrossLayerTranscoder
from sparselex.testing import check_dictionary
from sparselex.training.config import TrainConfig
from tests.support.foreign import numbers

LAYERS, D, N = 3, 5, 12
W_ENC = [numbers(N, D, seed=10 + layer) for layer in range(LAYERS)]
W_DEC = [numbers(N, LAYERS - layer, D, seed=20 + layer) for layer in range(LAYERS)]
B_ENC = [0.3 * numbers(N, seed=30 + layer) for layer in range(LAYERS)]
B_DEC = [numbers(D, seed=40 + layer) for layer in range(LAYERS)]
THRESHOLD = [numbers(N, seed=50 + layer).abs() for layer in range(LAYERS)]
X = numbers(40, LAYERS, D, seed=60)
CONFIG = {
    "model_kind": "cross_layer_transcoder",
    "model_name": "m",
    "feature_input_hook": "mlp.hook_in",
    "feature_output_hook": "hook_mlp_out",
}
IN = "+".join(f"blocks.{layer}.hook_mlp_in" for layer in range(LAYERS))
OUT = "+".join(f"blocks.{layer}.hook_mlp_out" for layer in range(LAYERS))


def write(folder, jumps=True, cfg=CONFIG, **changed):
    folder.mkdir()
    for layer in range(LAYERS):
        read = {"W_enc": W_ENC, "b_enc": B_ENC, "b_dec": B_DEC} | ({"threshold": THRESHOLD} if jumps else {})
        for file, tables in (("W_enc", read), ("W_dec", {"W_dec": W_DEC})):
            tensors = {f"{name}_{layer}": table[layer] for name, table in tables.items()}
            tensors = {name: changed.get(name, tensor) for name, tensor in tensors.items()}
            kept = {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}
            save_file(kept, folder / f"{file}_{layer}.safetensors")
    if cfg is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump(cfg))
    return folder


def by_hand(jumps):
    """Activations and reconstruction, latent by latent and site by site."""
    acts, x_hat = [], torch.stack(B_DEC).repeat(len(X), 1, 1)
    for layer in range(LAYERS):
        pre = X[:, layer] @ W_ENC[layer].T + B_ENC[layer]
        acts.append(torch.where(pre > THRESHOLD[layer], pre, 0) if jumps else pre.relu())
        for latent in range(N):
            for site in range(layer, LAYERS):
                x_hat[:, site] += acts[-1][:, latent, None] * W_DEC[layer][latent, site - layer]
    sizes = torch.cat([rows.norm(dim=-1).sum(-1) for rows in W_DEC])
    return torch.cat(acts, dim=-1) * sizes, x_hat.flatten(1)


@pytest.mark.parametrize("jumps", [True, False], ids=["jumprelu", "relu"])
def test_all_layers_are_read_and_written(jumps, tmp_path):
    acts, x_hat = by_hand(jumps)
    found = import_dictionary(write(tmp_path / "d", jumps))
    assert (found.format, found.model_name) == ("circuit-tracer-clt", "m")
    assert (found.hooks, found.target) == (hooks_of(IN), hooks_of(OUT))
    for number in range(3):
        dictionary = found.dictionary
        check_dictionary(dictionary)
        torch.testing.assert_close(dictionary.encode(X.flatten(1)), acts, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(dictionary(X.flatten(1)), x_hat, rtol=1e-4, atol=1e-4)
        assert 0 < int((acts != 0).sum()) < acts.numel()
        export_dictionary(dictionary, tmp_path / str(number), "circuit-tracer", model_name="m", sites=Sites.at(IN, OUT))
        found = import_dictionary(tmp_path / str(number))
        assert (found.hooks, found.target) == (hooks_of(IN), hooks_of(OUT))
    cfg = yaml.safe_load((tmp_path / "0" / "config.yaml").read_text())
    assert cfg == CONFIG | {"scan": ""}
    tensors = load_file(tmp_path / "0" / "W_enc_1.safetensors")
    assert set(tensors) == {"W_enc_1", "b_enc_1", "b_dec_1"} | ({"threshold_1"} if jumps else set())
    assert load_file(tmp_path / "0" / "W_dec_1.safetensors")["W_dec_1"].shape == (N, LAYERS - 1, D)
    with stage(tmp_path / "own", "dictionary", dictionary.config, {}) as staging:
        write_dictionary(dictionary, staging.folder)
        staging.finish()
    assert torch.equal(load_dictionary(tmp_path / "own")(X.flatten(1)), dictionary(X.flatten(1)))


def test_settings_may_be_missing(tmp_path):
    found = import_dictionary(write(tmp_path / "d", cfg=None))
    assert (found.hooks, found.target, found.model_name) == ((), (), "")


def test_one_threshold_is_spread_over_all_latents(tmp_path):
    config = CrossLayerConfig(d_in=10, d_out=10, d_sae=8, layers_in=(5, 5), layers_out=(5, 5), k=3)
    dictionary = CrossLayerTranscoder(config, torch.Generator().manual_seed(0)).requires_grad_(False)
    dictionary.threshold.fill_(0.4)
    dictionary.fold([1.3, 0.7], [1.1, 0.9])
    export_dictionary(dictionary, tmp_path / "d", "circuit-tracer")
    found = import_dictionary(tmp_path / "d").dictionary
    x = numbers(40, 10)
    assert found.config.thresholds == "each" and (dictionary.encode(x) > 0).any()
    torch.testing.assert_close(found(x), dictionary(x))
    # The sum of norms is of plain units there: the sites' scales are not in the files.
    torch.testing.assert_close(found.encode(x) > 0, dictionary.encode(x) > 0)


@pytest.mark.parametrize("thresholds", ["one", "each"])
def test_a_latent_that_writes_nothing_is_written_and_stays_silent(thresholds, tmp_path):
    sizes = {"d_in": 10, "d_out": 10, "d_sae": 8, "layers_in": (5, 5), "layers_out": (5, 5), "k": 3}
    config = CrossLayerConfig(**sizes, thresholds=thresholds)
    dictionary = CrossLayerTranscoder(config, torch.Generator().manual_seed(0)).requires_grad_(False)
    for layer, latent in ((0, 1), (1, 2)):
        dictionary.W_write[layer][latent] = 0
    dictionary.threshold.fill_(0.4)
    if thresholds == "each":
        dictionary.threshold[6] = 0
    dictionary.fold([1.0, 1.0], [1.0, 1.0])
    export_dictionary(dictionary, tmp_path / "d", "circuit-tracer")
    for layer, latent in ((0, 1), (1, 2)):
        tensors = load_file(tmp_path / "d" / f"W_enc_{layer}.safetensors")
        assert all(tensor.isfinite().all() for tensor in tensors.values())
        assert tensors[f"threshold_{layer}"][latent] > 1e30
    found, x = import_dictionary(tmp_path / "d").dictionary, numbers(40, 10)
    torch.testing.assert_close(found(x), dictionary(x))
    assert torch.equal(found.encode(x) > 0, dictionary.encode(x) > 0)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"W_enc_1": W_ENC[1].T}, r"'W_enc_1' has shape \[5, 12\], not \[12, 5\]"),
        ({"W_dec_1": W_DEC[0]}, r"'W_dec_1' has shape \[12, 3, 5\], not \[12, 2, 5\]"),
        ({"b_dec_2": None}, "'b_dec_2' is missing"),
        ({"threshold_2": None}, "'threshold_2' is missing"),
        ({"b_enc_0": torch.full((N,), float("nan"))}, "'b_enc_0' holds NaN"),
        ({"cfg": CONFIG | {"model_kind": "transcoder_set"}}, "'transcoder_set' is not cross_layer_transcoder"),
    ],
    ids=range(6),
)
def test_faults_are_named(changed, words, tmp_path):
    with pytest.raises(UserError, match=words):
        import_dictionary(write(tmp_path / "d", **changed))


def test_missing_and_truncated_files_are_named(tmp_path):
    folder = write(tmp_path / "d")
    for name in ("W_dec_2.safetensors", "W_enc_1.safetensors", "W_enc_0.safetensors"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-30])
        with pytest.raises(UserError, match=f"{name} cannot be read as a dictionary"):
            import_dictionary(folder)
        (folder / name).write_bytes(data)
    (folder / "W_dec_1.safetensors").unlink()
    with pytest.raises(UserError, match=r"W_dec_1\.safetensors cannot be read as a dictionary"):
        import_dictionary(folder)
    for layer in (1, 2):
        (folder / f"W_enc_{layer}.safetensors").unlink()
    with pytest.raises(UserError, match="two or more"):
        import_dictionary(folder)


@pytest.mark.parametrize(
    ("hook", "widths", "words"),
    [
        ("blocks.1.hook_mlp_in+blocks.2.hook_mlp_in", (5, 5), "one place in every layer from the first"),
        ("blocks.0.hook_mlp_in+blocks.1.hook_resid_mid", (5, 5), "one place in every layer"),
        ("", (6, 4), "all sites have one width"),
    ],
)
def test_what_circuit_tracer_cannot_hold_is_refused(hook, widths, words, tmp_path):
    config = CrossLayerConfig(d_in=10, d_out=10, d_sae=8, layers_in=widths, layers_out=widths, k=3)
    dictionary, sites = CrossLayerTranscoder(config), Sites.at(hook) if hook else None
    with pytest.raises(UserError, match=words):
        export_dictionary(dictionary, tmp_path / "d", "circuit-tracer", sites=sites)
    assert list(tmp_path.iterdir()) == []


def test_thresholds_of_each_latent_are_not_trained():
    values = {
        "kind": "clt",
        "d_in": 8,
        "d_out": 8,
        "d_sae": 12,
        "layers_in": (4, 4),
        "layers_out": (4, 4),
        "k": 2,
        "thresholds": "each",
    }
    with pytest.raises(UserError, match="thresholds=each is for dictionaries that are read"):
        TrainConfig.parse({"dictionary": values, "n_tokens": 1000})
    with pytest.raises(UserError, match="step=product is for dictionaries that are read"):
        TrainConfig.parse(
            {"dictionary": {"kind": "matching_pursuit", "d_in": 8, "d_sae": 12, "step": "product"}, "n_tokens": 1000}
        )


def test_thresholds_that_only_some_layers_have_are_refused(tmp_path):
    folder = write(tmp_path / "d", jumps=False)
    last = load_file(folder / f"W_enc_{LAYERS - 1}.safetensors")
    save_file(
        last | {f"threshold_{LAYERS - 1}": THRESHOLD[-1].contiguous()}, folder / f"W_enc_{LAYERS - 1}.safetensors"
    )
    with pytest.raises(UserError, match=f"threshold_{LAYERS - 1}"):
        import_dictionary(folder)
